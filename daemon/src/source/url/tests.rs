//! Which URLs are allowed and which are refused, by table.

use super::cases::INSIDE;
use super::*;

fn nothing() -> AllowList {
    AllowList::default()
}

fn allow(entries: &[&str]) -> AllowList {
    AllowList::parse(&entries.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap()
}

#[test]
fn public_https_passes() {
    for url in [
        "https://example.com/a.wav",
        "https://example.com:8443/a.wav?token=s#t=1",
        "https://EXAMPLE.com./a.wav",
        "https://bücher.example.com/a.wav",
        "https://8.8.8.8/a.wav",
        "https://[2606:4700::1111]/a.wav",
        "https://172.15.255.255/",
        "https://172.32.0.1/",
        "https://100.63.255.255/",
        "https://100.128.0.0/",
        "https://192.0.1.1/",
        "https://198.17.255.255/",
        "https://198.20.0.0/",
        "https://223.255.255.255/",
        "https://localhost.example.com/",
        "https://mylocal.org/",
        "https://notinternal.com/",
        "https://bucket.oss-ap-southeast-1.aliyuncs.com/x?Signature=y",
    ] {
        assert!(vet(url, &nothing()).is_ok(), "{url}: {:?}", vet(url, &nothing()));
    }
}

#[test]
fn an_inside_address_is_refused_in_whatever_way_it_is_written() {
    for host in INSIDE {
        let url = format!("https://{host}/a.wav");
        let refused = vet(&url, &nothing()).unwrap_err();
        assert!(matches!(refused, UrlRefused::NotPublic(_)), "{url}: {refused:?}");
        let with_port = format!("https://{host}:8443/a.wav");
        assert!(vet(&with_port, &nothing()).is_err(), "{with_port}");
        let plain_http = format!("http://{host}/a.wav");
        assert!(vet(&plain_http, &nothing()).is_err(), "{plain_http}");
    }
}

#[test]
fn a_name_of_the_inside_is_refused() {
    for host in [
        "localhost",
        "LOCALHOST",
        "localhost.",
        "a.localhost",
        "a.b.localhost.",
        "nas",
        "nas.",
        "printer.local",
        "metadata.google.internal",
        "metadata",
        "x.internal.",
        "wiki.intranet",
        "router.lan",
        "box.home.arpa",
        "ｌocalhost",
        "x.corp",
        "kubernetes.default.svc.cluster.local",
        "instance-data",
    ] {
        let refused = vet(&format!("https://{host}/"), &nothing()).unwrap_err();
        assert!(matches!(refused, UrlRefused::NotPublic(_)), "{host}: {refused:?}");
    }
}

#[test]
fn what_is_no_https_url_is_refused() {
    for url in [
        "",
        "a.wav",
        "/etc/passwd",
        "//example.com/a.wav",
        "https://",
        "https:///",
        "https://exa mple.com/",
        "https://example.com:99999/",
        "https://[fe80::1%25eth0]/",
        "https://[fe80::1%eth0]/",
        "https://256.1.1.1/",
        "https://1.2.3.4.5/",
        "https://[::1",
        "https://\0/",
        "https://a%00b.com/",
    ] {
        let refused = vet(url, &nothing()).unwrap_err();
        assert!(matches!(refused, UrlRefused::Invalid(_)), "{url}: {refused:?}");
    }
    for url in [
        "file:///etc/passwd",
        "ftp://example.com/a.wav",
        "gopher://example.com/",
        "data:audio/wav;base64,AA",
        "oss://bucket/a.wav",
        "javascript:alert(1)",
        "jar:https://example.com!/",
        "localhost:80",
        "ws://example.com/",
    ] {
        let refused = vet(url, &nothing()).unwrap_err();
        assert!(matches!(refused, UrlRefused::Scheme(_)), "{url}: {refused:?}");
    }
    let refused = vet("http://example.com/a.wav", &nothing()).unwrap_err();
    assert_eq!(refused, UrlRefused::NotHttps("example.com".into()));
}

#[test]
fn credentials_and_what_hides_behind_them_are_refused() {
    for url in [
        "https://user@example.com/",
        "https://user:pw@example.com/",
        "https://:pw@example.com/",
        "https://example.com@127.0.0.1/",
        "https://example.com%2f@127.0.0.1/",
    ] {
        let refused = vet(url, &nothing()).unwrap_err();
        assert!(matches!(refused, UrlRefused::Credentials(_)), "{url}: {refused:?}");
    }
    // The parser reads a backslash as a slash, so the host is what precedes the backslash.
    assert_eq!(
        vet(r"https://127.0.0.1\@example.com/", &nothing()).unwrap_err(),
        UrlRefused::NotPublic("127.0.0.1".into())
    );
    assert_eq!(
        vet("https://127.0.0.1#@example.com/", &nothing()).unwrap_err(),
        UrlRefused::NotPublic("127.0.0.1".into())
    );
    assert_eq!(vet("https:127.0.0.1/", &nothing()).unwrap_err(), UrlRefused::NotPublic("127.0.0.1".into()));
    assert_eq!(
        vet("ht\ntps://127.0.\t0.1/", &nothing()).unwrap_err(),
        UrlRefused::NotPublic("127.0.0.1".into())
    );
}

#[test]
fn what_the_operator_names_passes_with_http_too() {
    let list =
        allow(&["127.0.0.1/32", "10.1.0.0/16", "::1", "[fd00::1]", "Files.Example.com", "nas", "0.0.0.0/32"]);
    for url in [
        "http://127.0.0.1:8700/a.wav",
        "https://127.0.0.1/",
        "http://2130706433/",
        "http://10.1.255.1/",
        "http://[::1]:80/",
        "http://[fd00::1]/",
        "http://files.example.com/",
        "https://FILES.example.com./",
        "http://nas/a",
    ] {
        assert!(vet(url, &list).is_ok(), "{url}: {:?}", vet(url, &list));
    }
    for url in [
        "http://127.0.0.2/",
        "http://10.2.0.1/",
        "http://[::2]/",
        "http://example.com/",
        "http://a.files.example.com/",
        "http://[::ffff:127.0.0.1]/",
        "ftp://127.0.0.1/",
        "http://u:p@127.0.0.1/",
    ] {
        assert!(vet(url, &list).is_err(), "{url}");
    }
    assert!(vet("http://8.8.8.8/", &allow(&["0.0.0.0/0"])).is_ok());
    assert!(vet("http://[2606::1]/", &allow(&["::/0"])).is_ok());
}

#[test]
fn an_entry_that_is_none_is_named() {
    for entry in [
        "10.0.0.0/33",
        "::/129",
        "http://example.com",
        "example.com:80",
        "*.example.com",
        "",
        "10.0.0.0/x",
        "a b",
    ] {
        let error = AllowList::parse(&[entry.to_owned()]).unwrap_err();
        assert!(error.contains(&format!("{entry:?}")), "{error}");
    }
}

#[test]
fn no_error_shows_the_query() {
    for url in [
        "http://example.com/a?secret=1",
        "https://127.0.0.1/a?secret=1",
        "https://u:secret@example.com/?secret",
        "ftp://example.com/?secret",
        "https://nas/?secret",
        "https://[::1/?secret",
    ] {
        let error = vet(url, &nothing()).unwrap_err().to_string();
        assert!(!error.contains("secret"), "{error}");
    }
    let url = "https://u:secret@example.com/a%20b.wav?secret=1#secret";
    assert_eq!(without_query(url), "https://example.com/a%20b.wav");
    assert_eq!(without_query("https://u:secret@[::1/a?secret#secret"), "[::1/a");
}

#[tokio::test]
async fn a_name_that_resolves_to_the_inside_is_refused_and_one_that_does_not_resolve_passes() {
    // `localhost` is the one name that every machine resolves without a network.
    let list = nothing();
    assert!(vet_resolved("https://localhost/", &list).await.is_err());
    assert!(vet_resolved("http://localhost/", &allow(&["localhost"])).await.is_ok());
    assert!(vet_resolved("https://no-such-name.invalid/a.wav", &list).await.is_ok());
    assert!(vet_resolved("https://127.0.0.1/", &allow(&["127.0.0.0/8"])).await.is_ok());
}

#[test]
fn what_goes_on_is_what_was_vetted_and_not_the_text() {
    // Other parsers take what follows the `@` for the host.
    let url = vet("https://example.com\\@127.0.0.1:9000/a.wav?q=1", &nothing()).unwrap();
    assert_eq!(url.as_str(), "https://example.com/@127.0.0.1:9000/a.wav?q=1");
}

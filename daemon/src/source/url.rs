//! The gate for audio URLs that come in messages.
//!
//! The service fetches them, not Hark; still a message must not turn either of us into a probe of somebody's inside. Public https
//! passes, and what the operator's `security.allow_urls` names. Everything is decided on the URL as it was parsed, never on the
//! text: `http://0x7f.1/` and `https://①②⑦.0.0.1/` are 127.0.0.1. Errors name the host and never the query, which is where
//! presigned URLs carry their secret.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use url::{Host, Url};

/// How long a name may take to resolve.
const RESOLVE_LIMIT: Duration = Duration::from_secs(2);

/// Addresses that are nobody's on the public internet (IANA's special-purpose registries).
const SPECIAL_V4: [(Ipv4Addr, u8); 16] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),        // this network
    (Ipv4Addr::new(10, 0, 0, 0), 8),       // private
    (Ipv4Addr::new(100, 64, 0, 0), 10),    // carrier-grade NAT
    (Ipv4Addr::new(127, 0, 0, 0), 8),      // loopback
    (Ipv4Addr::new(168, 63, 129, 16), 32), // Azure's host agent
    (Ipv4Addr::new(169, 254, 0, 0), 16),   // link-local, cloud metadata
    (Ipv4Addr::new(172, 16, 0, 0), 12),    // private
    (Ipv4Addr::new(192, 0, 0, 0), 24),     // protocol assignments
    (Ipv4Addr::new(192, 0, 2, 0), 24),     // documentation
    (Ipv4Addr::new(192, 88, 99, 0), 24),   // 6to4 relays
    (Ipv4Addr::new(192, 168, 0, 0), 16),   // private
    (Ipv4Addr::new(198, 18, 0, 0), 15),    // benchmarks
    (Ipv4Addr::new(198, 51, 100, 0), 24),  // documentation
    (Ipv4Addr::new(203, 0, 113, 0), 24),   // documentation
    (Ipv4Addr::new(224, 0, 0, 0), 4),      // multicast
    (Ipv4Addr::new(240, 0, 0, 0), 4),      // reserved, broadcast
];

/// Of 2000::/3, the only addresses that are given out, those that are special or carry an IPv4 address inside. Everything outside
/// of it (loopback, mapped, NAT64, unique-local, link-local, multicast) is refused as a whole.
const SPECIAL_V6: [(Ipv6Addr, u8); 4] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23), // protocol assignments, Teredo
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32), // documentation
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16), // 6to4
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20), // documentation
];

/// Endings of names that mean something only inside of a network.
const INSIDE: [&str; 9] =
    ["localhost", "local", "internal", "intranet", "lan", "home", "corp", "private", "home.arpa"];

/// Why a URL is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlRefused {
    /// It is no URL.
    #[error("the audio URL cannot be read ({0}); give an absolute https URL")]
    Invalid(String),
    /// Another scheme.
    #[error("the audio URL has the scheme {0:?}; give an https URL")]
    Scheme(String),
    /// http to a host that the operator did not name.
    #[error(
        "the audio URL of {0} is not https; give an https URL, or have the host listed in security.allow_urls"
    )]
    NotHttps(String),
    /// A user name or password in it.
    #[error("the audio URL of {0} carries a user name or password; give a presigned URL instead")]
    Credentials(String),
    /// It points to an address or name that is not public.
    #[error(
        "the audio URL points to {0}, which is not public; give a public URL, or have the host listed in security.allow_urls"
    )]
    NotPublic(String),
    /// The name's address is not public.
    #[error(
        "the audio URL points to {host}, which is at {address} and so not public; give a public URL, or have the host listed in security.allow_urls"
    )]
    ResolvesInside { host: String, address: IpAddr },
}

/// Hosts and networks that an audio URL may point to besides public https (`security.allow_urls`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AllowList {
    hosts: Vec<String>,
    networks: Vec<(IpAddr, u8)>,
}

impl AllowList {
    /// Reads the entries of the config: host names, addresses, and networks such as `10.0.0.0/8`.
    ///
    /// # Errors
    /// Says which entry is none of them.
    pub fn parse(entries: &[String]) -> Result<AllowList, String> {
        let mut list = AllowList::default();
        for entry in entries {
            let bare = entry.trim().trim_start_matches('[').trim_end_matches(']');
            if let Ok(address) = bare.parse::<IpAddr>() {
                list.networks.push((address, width(address)));
            } else if let Some((address, bits)) = bare.split_once('/') {
                let network = address.parse::<IpAddr>().ok().zip(bits.parse::<u8>().ok());
                match network.filter(|(address, bits)| *bits <= width(*address)) {
                    Some(network) => list.networks.push(network),
                    None => return Err(not_an_entry(entry)),
                }
            } else {
                match Host::parse(bare) {
                    Ok(Host::Domain(name)) if !name.is_empty() && !name.contains('*') => {
                        list.hosts.push(plain(&name));
                    }
                    _ => return Err(not_an_entry(entry)),
                }
            }
        }
        Ok(list)
    }

    fn names(&self, host: &str) -> bool {
        self.hosts.iter().any(|allowed| allowed == host)
    }

    fn contains(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|(network, bits)| is_in(address, *network, *bits))
    }
}

/// Decides on a URL without asking anybody. Use the URL that comes back, not the text.
///
/// # Errors
/// Why it is refused; the text is fit for an event.
pub fn vet(url: &str, allow: &AllowList) -> Result<Url, UrlRefused> {
    let url = Url::parse(url).map_err(|error| UrlRefused::Invalid(error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(UrlRefused::Scheme(url.scheme().to_owned()));
    }
    let host = match url.host() {
        Some(Host::Domain(name)) => Ok(plain(name)),
        Some(Host::Ipv4(address)) => Err(IpAddr::V4(address)),
        Some(Host::Ipv6(address)) => Err(IpAddr::V6(address)),
        None => return Err(UrlRefused::Invalid("it has no host".into())),
    };
    let shown = host.as_ref().map_or_else(IpAddr::to_string, Clone::clone);
    if !url.username().is_empty() || url.password().is_some() {
        return Err(UrlRefused::Credentials(shown));
    }
    let is_allowed = host.as_ref().map_or_else(|address| allow.contains(*address), |name| allow.names(name));
    if is_allowed {
        return Ok(url);
    }
    match host {
        Ok(name) if is_inside(&name) => Err(UrlRefused::NotPublic(shown)),
        Err(address) if !is_public(address) => Err(UrlRefused::NotPublic(shown)),
        _ if url.scheme() != "https" => Err(UrlRefused::NotHttps(shown)),
        _ => Ok(url),
    }
}

/// Decides as [`vet`] does, and also refuses a name of which any address is not public. A name that cannot be resolved here within two
/// seconds passes: the service may know it.
///
/// # Errors
/// As of [`vet`].
pub async fn vet_resolved(url: &str, allow: &AllowList) -> Result<Url, UrlRefused> {
    let url = vet(url, allow)?;
    let Some(Host::Domain(name)) = url.host() else { return Ok(url) };
    let host = plain(name);
    if allow.names(&host) {
        return Ok(url);
    }
    let port = url.port_or_known_default().unwrap_or(443);
    let lookup = tokio::time::timeout(RESOLVE_LIMIT, tokio::net::lookup_host((name, port)));
    let Ok(Ok(addresses)) = lookup.await else { return Ok(url) };
    let addresses: Vec<_> = addresses.collect();
    let inside = addresses.into_iter().map(|it| it.ip()).find(|ip| !is_public(*ip) && !allow.contains(*ip));
    match inside {
        Some(address) => Err(UrlRefused::ResolvesInside { host, address }),
        None => Ok(url),
    }
}

/// The URL without query, fragment, user and password: what may be shown. Of a text that is no URL, what stands before them.
pub fn without_query(url: &str) -> String {
    let Ok(mut parsed) = Url::parse(url) else {
        let front = url.split(['?', '#']).next().unwrap_or_default();
        return front.rsplit_once('@').map_or(front, |(_, rest)| rest).to_owned();
    };
    parsed.set_query(None);
    parsed.set_fragment(None);
    // Refused only for URLs that cannot have either.
    let _ = parsed.set_username("");
    let _ = parsed.set_password(None);
    parsed.into()
}

/// Whether an address is one of the public internet.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(_) => !SPECIAL_V4.iter().any(|(net, bits)| is_in(address, IpAddr::V4(*net), *bits)),
        IpAddr::V6(_) => {
            let given_out = IpAddr::V6(Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0));
            is_in(address, given_out, 3)
                && !SPECIAL_V6.iter().any(|(net, bits)| is_in(address, IpAddr::V6(*net), *bits))
        }
    }
}

/// Names without a dot, and those that end in a word of [`INSIDE`].
fn is_inside(name: &str) -> bool {
    !name.contains('.')
        || INSIDE.iter().any(|ending| {
            name.strip_suffix(ending).is_some_and(|front| front.is_empty() || front.ends_with('.'))
        })
}

/// Whether an address lies in a network of the same family. An IPv4 address in IPv6 clothes is none of IPv4's networks.
fn is_in(address: IpAddr, network: IpAddr, bits: u8) -> bool {
    let shift = width(network) - bits;
    match (address, network) {
        (IpAddr::V4(address), IpAddr::V4(network)) => {
            (address.to_bits() ^ network.to_bits()).checked_shr(shift.into()).unwrap_or(0) == 0
        }
        (IpAddr::V6(address), IpAddr::V6(network)) => {
            (address.to_bits() ^ network.to_bits()).checked_shr(shift.into()).unwrap_or(0) == 0
        }
        _ => false,
    }
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// Without the dot that ends a fully qualified name.
fn plain(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

fn not_an_entry(entry: &str) -> String {
    format!(
        "{entry:?} is neither a host name, an address nor a network; write \"files.example.com\", \"10.1.2.3\" or \"10.0.0.0/8\", without scheme, port or wildcard"
    )
}

#[cfg(test)]
mod tests {
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
        for host in [
            "127.0.0.1",
            "127.1",
            "127.0.1",
            "2130706433",
            "0x7f000001",
            "0x7f.0.0.1",
            "0177.0.0.1",
            "017700000001",
            "0x7f.1",
            "127.0.0.1.",
            "①②⑦.0.0.1",
            "127。0。0。1",
            "%31%32%37.0.0.1",
            "0.0.0.0",
            "0",
            "0.1.2.3",
            "10.0.0.1",
            "10.255.255.255",
            "012.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.0.1",
            "3232235521",
            "100.64.0.1",
            "100.127.255.255",
            "169.254.169.254",
            "2852039166",
            "0xa9fea9fe",
            "0251.0376.0251.0376",
            "168.63.129.16",
            "192.0.0.1",
            "192.0.0.192",
            "192.0.2.1",
            "192.88.99.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "[::]",
            "[::1]",
            "[0:0:0:0:0:0:0:1]",
            "[::127.0.0.1]",
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
            "[::ffff:8.8.8.8]",
            "[::ffff:0:127.0.0.1]",
            "[64:ff9b::7f00:1]",
            "[64:ff9b::8.8.8.8]",
            "[64:ff9b:1::a00:1]",
            "[100::1]",
            "[2001::1]",
            "[2001:0:4136:e378:8000:63bf:3fff:fdd2]",
            "[2001:db8::1]",
            "[2001:10::1]",
            "[2002:7f00:1::]",
            "[2002:a9fe:a9fe::1]",
            "[3fff::1]",
            "[4000::1]",
            "[fc00::1]",
            "[fd00:ec2::254]",
            "[fd12:3456::1]",
            "[fe80::1]",
            "[febf::1]",
            "[fec0::1]",
            "[ff02::1]",
            "[5f00::1]",
        ] {
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
        // A backslash is a slash, so the host is what stands before it.
        assert_eq!(
            vet(r"https://127.0.0.1\@example.com/", &nothing()).unwrap_err(),
            UrlRefused::NotPublic("127.0.0.1".into())
        );
        assert_eq!(
            vet("https://127.0.0.1#@example.com/", &nothing()).unwrap_err(),
            UrlRefused::NotPublic("127.0.0.1".into())
        );
        assert_eq!(
            vet("https:127.0.0.1/", &nothing()).unwrap_err(),
            UrlRefused::NotPublic("127.0.0.1".into())
        );
        assert_eq!(
            vet("ht\ntps://127.0.\t0.1/", &nothing()).unwrap_err(),
            UrlRefused::NotPublic("127.0.0.1".into())
        );
    }

    #[test]
    fn what_the_operator_names_passes_with_http_too() {
        let list = allow(&[
            "127.0.0.1/32",
            "10.1.0.0/16",
            "::1",
            "[fd00::1]",
            "Files.Example.com",
            "nas",
            "0.0.0.0/32",
        ]);
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
        // The one name that every machine resolves without a network.
        let list = nothing();
        assert!(vet_resolved("https://localhost/", &list).await.is_err());
        assert!(vet_resolved("http://localhost/", &allow(&["localhost"])).await.is_ok());
        assert!(vet_resolved("https://no-such-name.invalid/a.wav", &list).await.is_ok());
        assert!(vet_resolved("https://127.0.0.1/", &allow(&["127.0.0.0/8"])).await.is_ok());
    }
}

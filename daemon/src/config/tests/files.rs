use super::{mistake, mistakes, valid};

/// What keeps `run` from starting is said by `check`.
#[test]
fn files_that_hold_something_else_are_mistakes() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let (garbage, empty) = (file("garbage", "hello there"), file("empty", ""));
    let texts = mistakes(&format!("[http]\ntoken_file = {empty:?}\nread_token_file = {garbage:?}\n"));
    assert_eq!(texts.len(), 2, "{texts:#?}");
    assert!(texts.iter().all(|text| text.contains("holds no token")), "{texts:#?}");
    let text = mistake(&format!("[nats]\ncredentials_file = {garbage:?}\n"));
    assert!(text.starts_with("harkd.toml:2:20: nats.credentials_file ") && text.contains(".creds"), "{text}");
    let text = mistake(&format!("[state]\ndirectory = {garbage:?}\n"));
    assert!(text.contains("is no directory"), "{text}");
    let pair = |certificate: &str, key: &str| {
        mistake(&format!("[http]\ntls_cert = {certificate:?}\ntls_key = {key:?}\n"))
    };
    assert!(pair(&garbage, &garbage).starts_with("harkd.toml:2:12: http.tls_cert "));
    let (certificate, key) =
        (file("one.crt", include_str!("tls/one.crt")), file("one.key", include_str!("tls/one.key")));
    let foreign = file("other.key", include_str!("tls/other.key"));
    assert!(pair(&key, &certificate).contains("no certificate"));
    assert!(pair(&certificate, &certificate).contains("no private key"));
    assert!(pair(&certificate, &foreign).contains("does not go with http.tls_key"));
    valid(&format!("[http]\ntls_cert = {certificate:?}\ntls_key = {key:?}\n"));
}

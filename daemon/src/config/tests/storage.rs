use std::fs;

use super::{mistake, valid};
use crate::config::Storage;

/// A config whose keys are in a file, with these lines of `[storage]`.
fn with_keys(keys: &str, lines: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys.toml");
    fs::write(&file, keys).unwrap();
    let text = format!("[storage]\ncredentials_file = {:?}\n{lines}\n", file.display().to_string());
    (folder, text)
}

const KEYS: &str = "access_key_id = \"AKIA\"\nsecret_access_key = \"canary\"\n";

/// The address of an object of the bucket.
fn address(lines: &str) -> String {
    let (_folder, text) = with_keys(KEYS, lines);
    let bucket = valid(&text).storage.bucket().unwrap().unwrap();
    let endpoint = bucket.endpoint.as_str();
    if bucket.is_virtual { endpoint.to_owned() } else { format!("{endpoint}{}", bucket.name) }
}

#[test]
fn the_bucket_stands_in_the_host_where_the_server_wants_it_there() {
    for (lines, expected) in [
        ("url = \"s3://calls\"", "https://calls.s3.us-east-1.amazonaws.com/"),
        (
            "url = \"s3://calls/in/box/\"\nregion = \"eu-central-1\"",
            "https://calls.s3.eu-central-1.amazonaws.com/",
        ),
        ("url = \"s3://my.calls\"", "https://s3.us-east-1.amazonaws.com/my.calls"),
        (
            "url = \"s3://calls\"\nendpoint = \"https://s3.oss-eu-central-1.aliyuncs.com\"",
            "https://calls.s3.oss-eu-central-1.aliyuncs.com/",
        ),
        ("url = \"s3://calls\"\nendpoint = \"http://127.0.0.1:9000/\"", "http://127.0.0.1:9000/calls"),
        ("url = \"s3://calls\"\nendpoint = \"http://minio:9000\"", "http://minio:9000/calls"),
        (
            "url = \"s3://calls\"\nendpoint = \"http://minio:9000\"\naddressing = \"virtual\"",
            "http://calls.minio:9000/",
        ),
        ("url = \"s3://calls\"\naddressing = \"path\"", "https://s3.us-east-1.amazonaws.com/calls"),
    ] {
        assert_eq!(address(lines), expected, "{lines}");
    }
    assert!(Storage::default().bucket().unwrap().is_none());
}

#[test]
fn what_is_wrong_with_the_bucket_is_said_with_its_line() {
    for (lines, begins, has) in [
        ("url = \"https://calls\"", "harkd.toml:3:7: url = ", "s3://bucket/prefix"),
        ("url = \"oss://calls/x\"", "harkd.toml:3:7: url = ", "also for OSS"),
        ("url = \"s3://Calls\"", "harkd.toml:3:7: ", "\"Calls\""),
        ("url = \"s3://\"", "harkd.toml:3:7: ", "bucket"),
        ("url = \"s3://me:canary@calls\"", "harkd.toml:3:7: url of", "credentials_file"),
        ("url = \"s3://calls/a//b\"", "harkd.toml:3:7: ", "prefix"),
        ("url = \"s3://calls/../b\"", "harkd.toml:3:7: ", "prefix"),
        ("url = \"s3://calls\"\nendpoint = \"minio:9000\"", "harkd.toml:4:12: ", "http or https"),
        (
            "url = \"s3://calls\"\nendpoint = \"https://minio/calls\"",
            "harkd.toml:4:12: ",
            "more than scheme, host and port",
        ),
        (
            "url = \"s3://calls\"\nendpoint = \"https://me:canary@minio\"",
            "harkd.toml:4:12: ",
            "credentials_file",
        ),
        ("url = \"s3://calls\"\nendpoint = \"http://8.8.8.8\"", "harkd.toml:4:12: ", "use https"),
        ("url = \"s3://calls\"\nendpoint = \"http://169.254.1.1\"", "harkd.toml:4:12: ", "use https"),
        (
            "url = \"s3://calls\"\nendpoint = \"http://127.0.0.1\"\naddressing = \"virtual\"",
            "harkd.toml:4:12: ",
            "\"path\"",
        ),
        ("url = \"s3://calls\"\nregion = \"eu central\"", "harkd.toml:4:10: ", "region"),
        ("url = \"s3://calls\"\naddressing = \"host\"", "harkd.toml:4:14: ", "\"virtual\""),
        ("presign = \"0s\"", "harkd.toml:3:11: ", "\"7d\""),
        ("presign = \"8d\"", "harkd.toml:3:11: ", "\"7d\""),
    ] {
        let (_folder, text) = with_keys(KEYS, lines);
        let text = mistake(&text);
        assert!(text.starts_with(begins) && text.contains(has) && !text.contains("canary"), "{text}");
    }
    let (_folder, text) = with_keys(KEYS, "presign = \"7d\"");
    valid(&text);
}

#[test]
fn a_bucket_that_the_service_cannot_reach_is_a_warning() {
    let warns = |endpoint: &str, service: &str| {
        let (_folder, text) = with_keys(KEYS, &format!("url = \"s3://calls\"\nendpoint = {endpoint:?}"));
        let warnings = valid(&format!("{text}[dashscope]\nbase_url = {service:?}\n")).warnings();
        warnings.iter().any(|text| text.contains("storage.endpoint"))
    };
    assert!(warns("http://127.0.0.1:9000", "") && warns("https://minio", ""));
    assert!(!warns("", "") && !warns("https://minio.example.com", ""));
    assert!(!warns("http://127.0.0.1:9000", "http://127.0.0.1:8700/api/v1"));
}

#[test]
fn keys_that_cannot_be_used_are_a_mistake_that_does_not_quote_them() {
    let url = "url = \"s3://calls\"";
    for (keys, has) in [
        ("access_key_id = \"AKIA\"\nsecret_access_key = canary\n", "wrong in line 2"),
        ("access_key_id = \"canary\"\n", "secret_access_key"),
        ("access_key_id = \"canary\"\nsecret_access_key = \"\"\n", "is empty"),
        ("access_key_id = \"AKIA\"\nsecret_access_key = \"canary x\"\n", "characters"),
        ("access_key_id = \"AKIA\"\nsecret_access_key = \"canary\"\ntoken = \"x\"\n", "session_token"),
    ] {
        let (_folder, text) = with_keys(keys, url);
        let text = mistake(&text);
        assert!(
            text.starts_with("harkd.toml:2:20: ") && text.contains(has) && !text.contains("canary"),
            "{text}"
        );
    }
    let text = mistake(&format!("[storage]\n{url}\ncredentials_file = \"/nowhere/keys\"\n"));
    assert!(text.starts_with("harkd.toml:3:20: ") && text.contains("/nowhere/keys cannot be read"), "{text}");
    let (_folder, text) = with_keys(&format!("{KEYS}session_token = \"canary\"\n"), url);
    let config = valid(&text);
    let credentials = config.storage.credentials().unwrap();
    assert_eq!(credentials.session_token.as_ref().unwrap().reveal(), "canary");
    assert!(!format!("{credentials:?}{config:?}").contains("canary"));
    // Without a bucket nothing needs the keys.
    valid("[storage]\ncredentials_file = \"/nowhere/keys\"\n");
}

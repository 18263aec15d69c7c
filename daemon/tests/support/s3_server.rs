//! An S3 server of others, moto, that the test tools install.

use std::net::SocketAddr;
use std::process::Command;

use serde_json::json;
use tempfile::TempDir;

use super::process::Process;
use super::programs;
use super::setup::Setup;
use super::wait::{CEILING, http, wait_until};

/// A server that listens on loopback; it is killed on drop, and its objects, which it keeps in memory, go with it. It accepts any key and
/// checks no signature.
#[derive(Debug)]
pub struct S3Server {
    // Declared before the folder, so that the process is killed first.
    _process: Process,
    _folder: TempDir,
    address: SocketAddr,
}

impl S3Server {
    /// Starts a server without buckets.
    pub async fn start() -> S3Server {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new(programs::python());
        command.args(["-m", "moto.server", "--host", "127.0.0.1", "--port", "0"]);
        let mut process = Process::start("s3-server", &mut command, folder.path());
        let mut address = None;
        wait_until("the S3 server to listen", CEILING, async || {
            assert!(process.is_running(), "the S3 server ended: {}", process.log());
            address = process.log().lines().find_map(address_in);
            address.is_some()
        })
        .await;
        S3Server { _process: process, _folder: folder, address: address.unwrap() }
    }

    /// The value for `storage.endpoint`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A daemon whose recordings go through the folder `hark/inbox` of this bucket, and never through the service's own storage.
    pub fn behind(&self, setup: Setup, bucket: &str, secret: &str) -> Setup {
        let keys = setup.path("bucket.toml");
        let text = format!("access_key_id = \"AKIATEST\"\nsecret_access_key = \"{secret}\"\n");
        std::fs::write(&keys, text).unwrap();
        setup
            .set("dashscope.allow_temporary_upload", "false")
            .set("storage.url", &format!("\"s3://{bucket}/hark/inbox\""))
            .set("storage.endpoint", &format!("\"{}\"", self.endpoint()))
            .set("storage.credentials_file", &format!("'{}'", keys.display()))
    }

    pub async fn make_bucket(&self, bucket: &str) {
        self.call("PUT", &format!("/{bucket}"), "").await;
    }

    /// Refuses an action, e.g. `s3:PutObject`, to everyone; an earlier refusal of the bucket is over.
    pub async fn deny(&self, bucket: &str, action: &str) {
        let policy = json!({"Version": "2012-10-17", "Statement": [{
            "Effect": "Deny", "Principal": "*", "Action": action, "Resource": format!("arn:aws:s3:::{bucket}/*"),
        }]});
        self.call("PUT", &format!("/{bucket}?policy"), &policy.to_string()).await;
    }

    /// Refuses nothing any more.
    pub async fn allow(&self, bucket: &str) {
        self.call("DELETE", &format!("/{bucket}?policy"), "").await;
    }

    /// The names of the objects of a bucket.
    pub async fn objects(&self, bucket: &str) -> Vec<String> {
        let list = self.call("GET", &format!("/{bucket}?list-type=2"), "").await;
        list.split("<Key>").skip(1).map(|rest| rest.split("</Key>").next().unwrap().to_owned()).collect()
    }

    async fn call(&self, method: &str, path: &str, body: &str) -> String {
        let (status, answer) = http(self.address, method, path, body).await.expect("the S3 server answers");
        assert!((200..300).contains(&status), "{method} {path}: {status} {answer}");
        answer
    }
}

/// From ` * Running on http://127.0.0.1:33281`.
fn address_in(line: &str) -> Option<SocketAddr> {
    line.split_once("Running on http://")?.1.trim().parse().ok()
}

//! A bucket of the operator's own, against servers that refuse, break off or are away.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use harkd::config::{Dashscope, Secret, Storage};
use harkd::recognize::{Content, Next, Recognizer, Timeouts, Tries};
use harkd::telemetry::metrics::Metrics;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::connections::read_until;
use super::{FILETRANS, Leads, both, built, job, leads};
use crate::support::wav;

const DENIED: &str = "<Error><Code>AccessDenied</Code><Message>Access Denied, canary</Message></Error>";

/// Answers each request as soon as its head is there, and closes the connection; keeps the heads.
struct Server {
    endpoint: String,
    heads: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Server {
    async fn start(status: &'static str, body: &'static str) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let heads = Arc::<Mutex<Vec<String>>>::default();
        let kept = Arc::clone(&heads);
        let task = tokio::spawn(async move {
            loop {
                let (mut socket, _) = listener.accept().await.unwrap();
                let head = read_until(&mut socket, b"\r\n\r\n").await.unwrap();
                kept.lock().unwrap().push(String::from_utf8_lossy(&head).into_owned());
                let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                socket.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        Server { endpoint, heads, task }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn write_keys(folder: &Path, id: &str) -> std::path::PathBuf {
    let file = folder.join("keys.toml");
    let keys =
        format!("access_key_id = \"{id}\"\nsecret_access_key = \"canary\"\nsession_token = \"token\"\n");
    std::fs::write(&file, keys).unwrap();
    file
}

/// Filetrans with the bucket `calls` at this endpoint.
fn filetrans(folder: &Path, endpoint: &str) -> Arc<dyn Recognizer> {
    let storage = Storage {
        url: "s3://calls/in".into(),
        endpoint: endpoint.into(),
        credentials_file: write_keys(folder, "AKIAFIRST"),
        ..Storage::default()
    };
    let second = Duration::from_secs(1);
    let (metrics, timeouts) = (Metrics::new(), Timeouts { idle: second, silence: second });
    let key = Secret::new("sk-test-0123456789");
    let built = built(Dashscope::default(), storage, key, &metrics, timeouts);
    let [_, filetrans] = both(&built);
    filetrans
}

#[tokio::test]
async fn a_refusal_before_the_end_of_the_file_is_read_and_holds_the_jobs() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start("403 Forbidden", DENIED).await;
    let filetrans = filetrans(folder.path(), &server.endpoint);
    let mut audio = wav(1.0, 1);
    audio.resize(20 << 20, 7);
    let job = job(folder.path(), "a.wav", &audio);
    let content = || Content::of(&job, folder.path()).unwrap();
    let error = filetrans.upload(FILETRANS, content(), "a.wav").await.unwrap_err();
    assert_eq!((error.fault.code.as_str(), leads(&error)), ("StorageDenied", Leads::Hold { announce: true }));
    assert!(error.fault.message.contains("Access Denied, ***"), "{}", error.fault.message);
    // The next upload waits, tries whether the keys are good again, and uses those that are in the file by then.
    write_keys(folder.path(), "AKIASECOND");
    let error = filetrans.upload(FILETRANS, content(), "b.wav").await.unwrap_err();
    assert_eq!(leads(&error), Leads::Hold { announce: false });
    let heads = server.heads.lock().unwrap();
    assert!(heads[0].starts_with("PUT /calls/in/a.wav?") && heads[0].contains("AKIAFIRST"), "{heads:?}");
    assert!(heads[1].contains("AKIASECOND") && heads[1].contains("X-Amz-Security-Token=token"), "{heads:?}");
}

#[tokio::test]
async fn a_server_that_is_away_is_named_and_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let filetrans = filetrans(folder.path(), &endpoint);
    let job = job(folder.path(), "a.wav", &wav(1.0, 1));
    let content = Content::of(&job, folder.path()).unwrap();
    let error = filetrans.upload(FILETRANS, content, "a.wav").await.unwrap_err();
    assert_eq!(leads(&error), Leads::FreeRetry);
    assert!(error.fault.message.starts_with("the bucket of [storage] at 127.0.0.1: "), "{error}");
    let object = filetrans.object("a.wav").unwrap();
    assert_eq!(object, format!("{endpoint}/calls/in/a.wav"));
    let error = filetrans.discard(&object).unwrap().await.unwrap_err();
    assert!(matches!(error.next(Tries::default()), Next::After { .. }));
    let elsewhere = filetrans.discard("http://127.0.0.1:1/calls/in/a.wav");
    assert!(elsewhere.is_none(), "another server may have a bucket of the same name");
}

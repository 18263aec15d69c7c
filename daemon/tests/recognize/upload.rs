use std::io::Write;

use harkd::recognize::{Content, Next, Tries};

use super::{Bench, FILETRANS, Leads, job, leads, sha256};
use crate::support::wav;

#[tokio::test]
async fn a_large_file_is_streamed_and_arrives_as_it_is() {
    let bench = Bench::start(&[]).await;
    let mut audio = wav(1.0, 1);
    audio.resize(100 << 20, 7);
    let job = job(bench.folder.path(), "a.wav", &audio);
    let hash = sha256(&audio);
    drop(audio);
    let before = resident_bytes();
    let content = Content::of(&job, bench.folder.path()).unwrap();
    let upload = bench.filetrans.upload(FILETRANS, content, "unique-name.wav");
    let (url, most) = tokio::join!(upload, async {
        let mut most = 0;
        for _ in 0..200 {
            most = resident_bytes().max(most);
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        most
    });
    let url = url.unwrap().url;
    let url = url.reveal();
    assert!(url.starts_with("oss://") && url.ends_with("/unique-name.wav"), "{url}");
    let [entry] = &bench.entries("upload")[..] else { panic!("not one upload") };
    assert_eq!(entry["sha256"], hash);
    let grown = most.saturating_sub(before) >> 20;
    // The bound leaves room for other tests in this process; a file read whole would add a hundred.
    assert!(grown < 48, "memory grew by {grown} MiB");
}

#[tokio::test]
async fn an_upload_of_a_file_that_changed_never_becomes_whole() {
    let bench = Bench::start(&[]).await;
    let audio = wav(30.0, 2);
    let job = job(bench.folder.path(), "a.wav", &audio);
    let content = Content::of(&job, bench.folder.path()).unwrap();
    let mut file = std::fs::File::options().append(true).open(bench.folder.path().join("a.wav")).unwrap();
    file.write_all(b"more").unwrap();
    let error = bench.filetrans.upload(FILETRANS, content, "x.wav").await.unwrap_err();
    assert_eq!(error.fault.code, "RecordingChanged");
    assert_eq!(leads(&error), Leads::GiveUp);
    assert!(bench.entries("upload").iter().all(|entry| entry["outcome"] != "ok"));
}

#[tokio::test]
async fn a_file_over_the_storages_limit_is_given_up() {
    let bench = Bench::start(&["--upload-limit-mb", "1"]).await;
    let job = job(bench.folder.path(), "a.wav", &wav(120.0, 3));
    let content = Content::of(&job, bench.folder.path()).unwrap();
    let error = bench.filetrans.upload(FILETRANS, content, "x.wav").await.unwrap_err();
    assert_eq!((error.fault.code.as_str(), leads(&error)), ("TooLargeForUpload", Leads::GiveUp));
}

#[tokio::test]
async fn an_upload_whose_answer_is_lost_is_tried_again_for_nothing() {
    let bench = Bench::start(&["--fault", "drop_answer,on=upload,next=1"]).await;
    let job = job(bench.folder.path(), "a.wav", &wav(1.0, 4));
    let content = || Content::of(&job, bench.folder.path()).unwrap();
    let error = bench.filetrans.upload(FILETRANS, content(), "x.wav").await.unwrap_err();
    assert_ne!(error.next(Tries::default()), Next::Never);
    // The storage may refuse the same name, because the first upload is there.
    let error = bench.filetrans.upload(FILETRANS, content(), "x.wav").await;
    assert!(error.is_ok() || error.is_err_and(|error| error.fault.code == "UploadRefused"));
    bench.filetrans.upload(FILETRANS, content(), "y.wav").await.unwrap();
}

fn resident_bytes() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

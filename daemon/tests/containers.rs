//! Recordings in every container that phones, recorders and people have, through the daemon: what symphonia does not decode is decoded with
//! ffmpeg.

use std::collections::BTreeMap;

use crate::support::ffmpeg::{amr, encoded, g729, has_ffmpeg, remuxed, with_pictures};
use crate::support::{Emulator, Hark, NatsServer, ReceivedEvent, Reply, SpeechServer, sha256};

/// Name, what ffmpeg is told, the name of the format in events, channels.
const AUDIO: [(&str, &str, &str, u32); 15] = [
    ("wav49.wav", "-ar 8000 -c:a libgsm_ms -f wav", "wav", 1),
    ("asterisk.gsm", "-ar 8000 -c:a libgsm -f gsm", "gsm", 1),
    ("old.wma", "-c:a wmav2 -f asf", "wma", 2),
    ("camera.avi", "-c:a pcm_s16le -f avi", "avi", 2),
    ("player.flv", "-ar 22050 -c:a libmp3lame -f flv", "flv", 1),
    ("sony.w64", "-c:a pcm_s16le -f w64", "w64", 2),
    ("sun.au", "-c:a pcm_mulaw -f au", "au", 1),
    ("pack.wv", "-c:a wavpack -f wv", "wv", 2),
    ("broadcast.ts", "-c:a mp2 -b:a 64k -f mpegts", "ts", 1),
    ("stream.aac", "-c:a aac -f adts", "aac", 2),
    ("voice.ogg", "-ar 16000 -c:a libopus -f ogg", "opus", 1),
    ("voice.webm", "-c:a libopus -f webm", "webm", 2),
    ("film.mp4", "-c:a libmp3lame -f mp4", "mp4", 2),
    ("voice.mp4", "-c:a libopus -strict -2 -f mp4", "mp4", 1),
    ("fragments.mp4", "-c:a aac -movflags frag_keyframe+empty_moov+default_base_moof -f mp4", "m4a", 1),
];

/// The last event of each job by the recording's name.
async fn ended(hark: &mut Hark, count: usize) -> BTreeMap<String, ReceivedEvent> {
    let events = hark.ended_jobs(count).await;
    let named = |event: ReceivedEvent| (event.body["recording"]["name"].as_str().unwrap().to_owned(), event);
    events.into_iter().map(named).collect()
}

fn assert_completed(last: &ReceivedEvent, name: &str, format: &str, channels: u32, seconds: f64) {
    assert_eq!(last.kind(), "job.completed", "{name}: {}", last.body);
    let recording = &last.body["recording"];
    assert_eq!((&recording["format"], &recording["channels"]), (&format.into(), &channels.into()), "{name}");
    let measured = recording["duration_ms"].as_f64().unwrap() / 1000.0;
    assert!((measured - seconds).abs() < 0.12, "{name}: {measured} s instead of {seconds}");
}

#[tokio::test]
async fn every_container_is_heard_and_bytes_that_the_service_takes_are_sent_as_they_are() {
    if !has_ffmpeg("every_container_is_heard") {
        return;
    }
    let (nats, service) = (NatsServer::start().await, Emulator::start(&[]).await);
    let mut hark = Hark::new().nats(&nats).asr(&service).folder("calls").start().await;
    let mut files: Vec<(&str, Vec<u8>, &str, u32)> = AUDIO
        .into_iter()
        .map(|(name, options, format, channels)| (name, encoded(4, channels, options), format, channels))
        .collect();
    files.push(("phone.amr", amr(4), "amr", 1));
    files.push(("phone.3gp", remuxed(&amr(4), "amr", "-f 3gp"), "3gp", 1));
    files.push(("pbx.wav", g729(4), "wav", 1));
    files.push(("asterisk.g729", g729(4).split_off(46), "g729", 1));
    files.push(("meeting.wmv", with_pictures(4, "-c:a wmav2 -c:v wmv2 -f asf"), "wmv", 1));
    files.push(("disc.mpg", with_pictures(4, "-c:a mp2 -c:v mpeg1video -f mpeg"), "mpeg", 1));
    files.push(("film.mov", with_pictures(4, "-c:a aac -c:v mpeg4 -f mov"), "mov", 1));
    for (name, bytes, _, _) in &files {
        hark.drop_file("calls", name, bytes);
    }
    let ended = ended(&mut hark, files.len()).await;
    // Filetrans takes what flash does not.
    let journal = service.journal();
    let of_kind = |kind: &str| journal.iter().filter(|line| line["kind"] == kind).collect::<Vec<_>>();
    let sent = [of_kind("flash"), of_kind("upload")].concat();
    for (name, bytes, format, channels) in &files {
        assert_completed(&ended[*name], name, format, *channels, 4.0);
        let is_taken = !["wav", "w64", "au", "wv", "ts", "3gp", "gsm", "g729"].contains(format);
        let hash = sha256(bytes);
        assert_eq!(sent.iter().any(|line| line["sha256"] == hash.as_str()), is_taken, "{name}");
    }
    assert_eq!(sent.len(), files.len(), "each is one request");
}

#[tokio::test]
async fn recordings_that_were_cut_off_say_so_and_those_without_an_index_fail() {
    if !has_ffmpeg("recordings_that_were_cut_off") {
        return;
    }
    let (nats, service) = (NatsServer::start().await, Emulator::start(&[]).await);
    let mut hark = Hark::new().nats(&nats).asr(&service).folder("calls").start().await;
    let heard = [
        ("call.mp3", "-c:a libmp3lame -f mp3"),
        ("call.ogg", "-c:a libvorbis -f ogg"),
        ("call.webm", "-c:a libopus -f webm"),
        ("call.avi", "-c:a pcm_s16le -f avi"),
    ];
    for (name, options) in heard.into_iter().chain([("late.m4a", "-c:a aac -f mp4")]) {
        let bytes = encoded(3, 1, options);
        hark.drop_file("calls", name, &bytes[..bytes.len() * 2 / 3]);
    }
    let ended = ended(&mut hark, heard.len() + 1).await;
    for (name, _) in heard {
        let last = &ended[name];
        assert_eq!(last.kind(), "job.completed", "{name}: {}", last.body);
        assert_eq!(last.body["recording"]["truncated"], true, "{name}: {}", last.body);
        let duration = last.body["recording"]["duration_ms"].as_u64().unwrap();
        assert!((1_000..2_700).contains(&duration), "{name}: {duration}");
    }
    let error = &ended["late.m4a"].body["error"];
    assert_eq!((ended["late.m4a"].kind(), &error["code"]), ("job.failed", &"TruncatedAudio".into()));
    assert!(error["message"].as_str().unwrap().contains("index (moov) is missing"), "{error}");
}

#[tokio::test]
async fn pieces_of_what_ffmpeg_decodes_have_exact_times() {
    if !has_ffmpeg("pieces_of_what_ffmpeg_decodes") {
        return;
    }
    let (nats, server) =
        (NatsServer::start().await, SpeechServer::start(Reply::verbose("english", "hello", &[])).await);
    let mut hark =
        Hark::new().nats(&nats).folder_with("calls", "route = \"own\"\n").lines(&own(&server)).start().await;
    hark.drop_file("calls", "phone.amr", &amr(7));
    hark.drop_file("calls", "old.wma", &encoded(7, 1, "-c:a wmav2 -f asf"));
    for (name, last) in ended(&mut hark, 2).await {
        assert_eq!(last.kind(), "job.completed", "{name}: {}", last.body);
        let events = hark.events_of(last.job()).await;
        let mut spans: Vec<(u64, u64)> = events
            .iter()
            .filter(|event| event.kind() == "transcript.segment")
            .map(|event| (event.body["begin_ms"].as_u64().unwrap(), event.body["end_ms"].as_u64().unwrap()))
            .collect();
        spans.sort_unstable();
        assert!(spans.len() >= 4, "{name}: {spans:?}");
        assert!(spans.windows(2).all(|two| two[0].1 == two[1].0), "{name}: {spans:?}");
        assert!((6_900..7_200).contains(&spans.last().unwrap().1), "{name}: {spans:?}");
    }
}

#[tokio::test]
async fn without_ffmpeg_the_error_and_check_say_what_to_do() {
    let (nats, service) = (NatsServer::start().await, Emulator::start(&[]).await);
    let mut hark = Hark::new()
        .nats(&nats)
        .asr(&service)
        .folder("calls")
        .folder_with("saved", "route = \"saved\"\n")
        .lines("[[route]]\nname = \"saved\"\nskip_silence = true\n")
        .environment("PATH", "/nowhere")
        .start()
        .await;
    hark.drop_file("calls", "pbx.wav", &g729(4));
    hark.drop_file("calls", "phone.amr", &amr(4));
    // The index tells the length, and the codec is none that is decoded here.
    let mut film = include_bytes!("audio/call.m4a").to_vec();
    for name in [b"mp4a", b"esds"] {
        let at = film.windows(4).position(|four| four == name).unwrap();
        film[at..at + 4].copy_from_slice(b"xxxx");
    }
    hark.drop_file("saved", "film.m4a", &film);
    hark.drop_file("saved", "saved.amr", &amr(6));
    let ended = ended(&mut hark, 4).await;
    let error = &ended["film.m4a"].body["error"];
    assert_eq!((&error["code"], &error["blame"]), (&"UndecodableAudio".into(), &"audio".into()), "{error}");
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("xxxx in m4a; install ffmpeg, or convert it to"), "{message}");
    assert_eq!(ended["saved.amr"].kind(), "job.completed", "nor is its length known: it is sent whole");
    let failed = &ended["pbx.wav"];
    assert_eq!((failed.kind(), &failed.body["error"]["code"]), ("job.failed", &"UndecodableAudio".into()));
    let message = failed.body["error"]["message"].as_str().unwrap();
    assert!(
        message.contains("g729 in wav") && message.contains("install ffmpeg, or convert it to"),
        "{message}"
    );
    assert_eq!(ended["phone.amr"].kind(), "job.completed", "the service takes AMR as it is");
    let warned = |path: &str| {
        let output = hark.command(&["check"]).env("PATH", path).output().unwrap();
        String::from_utf8_lossy(&output.stderr).contains("ffmpeg is not installed")
    };
    assert!(warned("/nowhere"));
    if has_ffmpeg("check_does_not_warn") {
        assert!(!warned(&std::env::var("PATH").unwrap()));
    }
}

/// Files whose content makes players open other files and URLs, under names of recordings.
fn canaries(url: &str, path: &str) -> Vec<(String, Vec<u8>)> {
    let playlist = format!(
        "#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:0\n#EXTINF:10.0,\n{url}/a.ts\n#EXTINF:10.0,\nfile://{path}\n#EXT-X-ENDLIST\n"
    );
    let script = format!("ffconcat version 1.0\nfile '{path}'\nfile '{url}/b.wav'\n");
    let mut files = Vec::new();
    for ending in ["avi", "mp4", "wav", "amr", "ts"] {
        files.push((format!("playlist.{ending}"), playlist.clone().into_bytes()));
        files.push((format!("script.{ending}"), script.clone().into_bytes()));
    }
    files.push(("subtitles.avi".into(), with_subtitles(playlist.as_bytes())));
    files.push(("subtitles-script.avi".into(), with_subtitles(script.as_bytes())));
    // The first bytes of a container that only ffmpeg reads, and then a playlist.
    let head = b"\x30\x26\xb2\x75\x8e\x66\xcf\x11";
    files.push(("head.wma".into(), [&head[..], playlist.as_bytes()].concat()));
    files
}

/// An AVI file of a second of sound whose subtitles are this text: ffmpeg opens them with any demuxer that fits.
fn with_subtitles(text: &[u8]) -> Vec<u8> {
    let chunk = |name: &[u8], content: &[u8]| {
        let padding = &[0][..content.len() % 2];
        [name, &(content.len() as u32).to_le_bytes(), content, padding].concat()
    };
    let list = |name: &[u8], content: &[u8]| chunk(b"LIST", &[name, content].concat());
    let words = |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
    let header = |kind: &[u8], scale: u32, rate: u32, length: u32| {
        chunk(
            b"strh",
            &[kind, &[0; 4], &words(&[0, 0, 0, scale, rate, 0, length, 4096, 0, scale, 0, 0])].concat(),
        )
    };
    let pcm =
        [&1_u16.to_le_bytes()[..], &1_u16.to_le_bytes(), &words(&[8_000, 16_000]), &[2, 0, 16, 0]].concat();
    let sound = list(b"strl", &[header(b"auds", 2, 16_000, 8_000), chunk(b"strf", &pcm)].concat());
    let titles = list(b"strl", &[header(b"txts", 1, 1, 1), chunk(b"strf", &[])].concat());
    let main = chunk(b"avih", &words(&[40_000, 16_000, 0, 0, 25, 0, 2, 4096, 0, 0, 0, 0, 0, 0]));
    let name = b"t\0\0\0";
    let gab2 =
        [b"GAB2\0\x02\0", &words(&[4])[..], name, &[4, 0], &words(&[text.len() as u32]), text].concat();
    let noise: Vec<u8> = crate::support::wav(1.0, 7)[44..].to_vec();
    let content = list(b"movi", &[chunk(b"01tx", &gab2), chunk(b"00wb", &noise)].concat());
    chunk(b"RIFF", &[&b"AVI "[..], &list(b"hdrl", &[main, sound, titles].concat()), &content].concat())
}

#[tokio::test]
async fn playlists_inside_recordings_reach_nothing() {
    if !has_ffmpeg("playlists_inside_recordings") {
        return;
    }
    let canary = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", canary.local_addr().unwrap());
    let (nats, server) =
        (NatsServer::start().await, SpeechServer::start(Reply::verbose("english", "hello", &[])).await);
    let mut hark = Hark::new()
        .nats(&nats)
        .folder_with("calls", "route = \"own\"\ninclude = [\"**/*\"]\n")
        .lines(&own(&server))
        .start()
        .await;
    let secret = hark.path("secret.wav");
    std::fs::write(&secret, crate::support::wav(3.0, 9)).unwrap();
    let opened = std::fs::metadata(&secret).unwrap().accessed().unwrap();
    let files = canaries(&url, secret.to_str().unwrap());
    for (name, bytes) in &files {
        hark.drop_file("calls", name, bytes);
    }
    for (name, last) in ended(&mut hark, files.len()).await {
        if name.starts_with("subtitles") {
            assert_completed(&last, &name, "avi", 1, 1.0);
        } else {
            assert_eq!(last.kind(), "job.failed", "{name}: {}", last.body);
        }
    }
    let is_quiet = tokio::time::timeout(std::time::Duration::from_millis(1), canary.accept()).await.is_err();
    assert!(is_quiet, "a connection was made");
    assert_eq!(std::fs::metadata(&secret).unwrap().accessed().unwrap(), opened, "another file was read");
    assert_eq!(server.asked().len(), 2, "only the sound of the AVI files was sent");
}

/// A route to an own server, in pieces of two seconds.
fn own(server: &SpeechServer) -> String {
    format!(
        "[[recognizer]]\nname = \"gpu\"\nkind = \"openai\"\nmodel = \"whisper-1\"\nbase_url = \"{}\"\npiece = \"2s\"\n\
         [[route]]\nname = \"own\"\nengine = \"gpu\"\n",
        server.url()
    )
}

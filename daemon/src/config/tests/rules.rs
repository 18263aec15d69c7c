use super::{inspect, mistake, mistakes, valid};

fn folder(name: &str, path: &str, more: &str) -> String {
    format!("[[source]]\nname = {name:?}\nkind = \"directory\"\npath = {path:?}\n{more}\n")
}

fn intake(name: &str, subject: &str) -> String {
    format!("[[source]]\nname = {name:?}\nkind = \"nats\"\nsubject = {subject:?}\n")
}

#[test]
fn one_folder_inside_another_would_pay_twice() {
    let text = mistake(&(folder("a", "/srv/calls", "") + &folder("b", "/srv/calls/2026", "")));
    assert!(
        text.starts_with("harkd.toml:9:8: source \"b\" watches /srv/calls/2026, and source \"a\""),
        "{text}"
    );
    mistake(&(folder("a", "/srv/calls/2026", "") + &folder("b", "/srv/calls/./x/..", "")));
    valid(&(folder("a", "/srv/calls", "recursive = false") + &folder("b", "/srv/calls/2026", "")));
    valid(&(folder("a", "/srv/calls", "") + &folder("b", "/srv/calls2", "")));
}

#[test]
fn a_link_to_a_watched_folder_is_that_folder() {
    let root = tempfile::tempdir().unwrap();
    let calls = root.path().join("calls");
    std::fs::create_dir(&calls).unwrap();
    std::os::unix::fs::symlink(&calls, root.path().join("link")).unwrap();
    let link = root.path().join("link/2026");
    mistake(&(folder("a", calls.to_str().unwrap(), "") + &folder("b", link.to_str().unwrap(), "")));
}

#[test]
fn what_starts_only_by_luck_is_warned_of() {
    let warnings = |text: &str| valid(text).warnings();
    let beside = warnings(&intake("a", "calls.inbox"));
    assert_eq!(
        beside,
        [
            "source \"a\": the stream HARK_AUDIO captures hark.audio.> if the daemon creates it, and not calls.inbox; \
          name a stream that does, or add it there"
        ]
    );
    let moved = format!("[nats]\nsubject_prefix = \"test\"\n{}", intake("a", "test.audio.a"));
    for text in [moved, intake("a", "hark.audio.>"), intake("a", "calls.inbox") + "stream = \"CALLS\"\n"] {
        assert_eq!(warnings(&text), Vec::<String>::new(), "{text}");
    }
    let relative = warnings(&folder("calls", "recordings", ""));
    assert!(relative[0].contains("the folder that harkd is started in"), "{relative:?}");
    let of_failed = |when: &str| {
        let more = format!("when_done = {when:?}\nfailed_directory = \"/var/failed\"");
        warnings(&folder("calls", "/srv", &more)).iter().any(|warning| warning.contains("failed_directory"))
    };
    assert_eq!(["keep", "delete"].map(of_failed), [true, false]);
}

#[test]
fn a_library_is_a_name_or_a_path_and_its_own_keys_have_a_table() {
    let plugin = |more: &str| format!("[[plugin]]\nname = \"p\"\n{more}\n");
    assert_eq!(
        mistake(&plugin("library = \"libredact.so\"")),
        "harkd.toml:3:11: library = \"libredact.so\" of plugin \"p\" is a file's name; write \"redact\", or a path with a slash"
    );
    valid(&plugin("library = \"/usr/lib/hark/plugins/libredact.so\""));
    let astray = mistake(&plugin("library = \"redact\"\n[[plugin.rules]]\nname = \"churn\""));
    assert!(
        astray.starts_with("harkd.toml:4:10: unknown key \"rules\" in [[plugin]]; did you mean \"files\"?"),
        "{astray}"
    );
    assert!(astray.ends_with("; what the plugin itself reads stands in [plugin.config]"), "{astray}");
}

#[test]
fn nothing_is_written_into_a_watched_folder() {
    for more in
        ["when_done = \"move\"\ndone_directory = \"/srv/calls/done\"", "failed_directory = \"/srv/calls\""]
    {
        let text = mistake(&folder("calls", "/srv/calls", more));
        assert!(text.contains("lies inside /srv/calls"), "{text}");
    }
    let state =
        mistake(&format!("[state]\ndirectory = \"/srv/calls/state\"\n{}", folder("calls", "/srv/calls", "")));
    assert!(state.starts_with("harkd.toml:2:13: state.directory (/srv/calls/state) lies inside"), "{state}");
    let plugin = "[[plugin]]\nname = \"p\"\nlibrary = \"p\"\nwrite = [\"/tmp\", \"/srv/calls/out\"]\n";
    let text = mistake(&(folder("calls", "/srv/calls", "") + plugin));
    assert!(text.contains("write of plugin \"p\" (/srv/calls/out)"), "{text}");
}

#[test]
fn moving_needs_a_place_to_move_to() {
    mistake(&folder("calls", "/srv/calls", "when_done = \"move\""));
    mistake(&folder("calls", "/srv/calls", "done_directory = \"/srv/done\""));
    valid(&folder("calls", "/srv/calls", "when_done = \"move\"\ndone_directory = \"/srv/done\""));
}

#[test]
fn subjects_of_two_sources_never_overlap() {
    let text = mistake(&(intake("a", "hark.audio.*") + &intake("b", "hark.audio.inbox")));
    assert!(
        text.starts_with(
            "harkd.toml:8:11: subject = \"hark.audio.inbox\" overlaps \"hark.audio.*\" of source \"a\""
        ),
        "{text}"
    );
    valid(&(intake("a", "hark.audio.a") + &intake("b", "hark.audio.b")));
    let text = mistake(&intake("a", "hark.>"));
    assert!(text.contains("the daemon's own events"), "{text}");
}

#[test]
fn names_are_words_of_a_subject_and_used_once() {
    assert!(mistake(&intake("My Inbox", "hark.audio.a")).contains("a-z, 0-9, _ and -"));
    assert!(mistake(&(intake("a", "hark.audio.a") + &intake("a", "hark.audio.b"))).contains("already"));
    mistake("[[route]]\nname = \"x\"\n[[route]]\nname = \"x\"\n");
}

#[test]
fn references_name_the_nearest() {
    let text = mistake(&(folder("calls", "/srv/calls", "route = \"fats\"") + "[[route]]\nname = \"fast\"\n"));
    assert!(text.ends_with("did you mean \"fast\"?"), "{text}");
    let plugin = "[[plugin]]\nname = \"p\"\nlibrary = \"p\"\nsources = [\"call\"]\n";
    let text = mistake(&(folder("calls", "/srv/calls", "") + plugin));
    assert!(text.ends_with("did you mean \"calls\"?"), "{text}");
}

#[test]
fn what_names_tell_and_what_contexts_ask_for_is_well_formed() {
    let named = |pattern: &str| folder("calls", "/srv/calls", &format!("metadata_from_name = {pattern:?}"));
    for pattern in ["freepbx", "pca", "miarec", r"^(?<agent>\w+)-", r"(?P<agent>\w+)"] {
        valid(&named(pattern));
    }
    let text = mistake(&named("freepbxx"));
    assert!(text.starts_with("harkd.toml:5:22: ") && text.ends_with("did you mean \"freepbx\"?"), "{text}");
    mistake(&named("(?<agent>"));
    let route = |context: &str| format!("[[route]]\nname = \"r\"\ncontext = {context:?}\n");
    valid(&route("a call to {agent} of {{Acme}}"));
    let text = mistake(&route("a call to {agent"));
    assert!(text.starts_with("harkd.toml:3:11: context of route \"r\": \"{agent\" is no field"), "{text}");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "a call to { agent }").unwrap();
    let text = mistake(&format!("[[route]]\nname = \"r\"\ncontext_file = {:?}\n", file.path()));
    assert!(text.starts_with("harkd.toml:3:16: context_file of route \"r\""), "{text}");
}

#[test]
fn what_messages_may_choose_is_named_as_it_is() {
    let text =
        mistake(&(intake("a", "hark.audio.a") + "allow_routes = [\"fats\"]\n[[route]]\nname = \"fast\"\n"));
    assert!(text.starts_with("harkd.toml:5:17: there is no [[route]] named \"fats\""), "{text}");
    assert!(text.ends_with("did you mean \"fast\"?"), "{text}");
    let text = mistake(&(intake("a", "hark.audio.a") + "allow_buckets = [\"my.calls\"]\n"));
    assert!(text.contains("\"my.calls\" is not a bucket's name"), "{text}");
    valid(&(intake("a", "hark.audio.a") + "allow_routes = [\"default\"]\nallow_buckets = []\n"));
}

#[test]
fn whose_emotion_is_kept() {
    let route =
        |emotion: &str, more: &str| valid(&format!("[[route]]\nname = \"r\"\nemotion = {emotion}\n{more}"));
    let keeps = |emotion: &str| {
        let emotion = route(emotion, "").route("r").unwrap().emotion.clone();
        [None, Some("agent"), Some("customer")].map(|role| emotion.keeps(role))
    };
    assert_eq!(keeps("true"), [true; 3]);
    assert_eq!(keeps("false"), [false; 3]);
    assert_eq!(keeps("[]"), [false; 3]);
    assert_eq!(keeps("[\"customer\"]"), [false, false, true]);
    for wrong in ["\"customer\"", "1", "[1]"] {
        let text = mistake(&format!("[[route]]\nname = \"r\"\nemotion = {wrong}\n"));
        assert!(
            text.starts_with("harkd.toml:3:11: emotion of [[route]]") && text.contains("a list of roles"),
            "{text}"
        );
    }
    let warnings = route("[\"custmer\"]", "").warnings();
    let expected = "route \"r\": emotion names the role \"custmer\", which is not in its `roles`; no channel has that role";
    assert!(warnings.iter().any(|warning| warning == expected), "{warnings:?}");
}

#[test]
fn roles_name_channels_that_are_split() {
    let split = "[[route]]\nname = \"r\"\nchannels = \"split\"\nskip_silence = true\n";
    valid(split);
    valid(&format!("{split}roles = [\"agent\", \"customer\"]\n"));
    let text = mistake("[[route]]\nname = \"r\"\nroles = [\"agent\"]\n");
    assert!(text.contains("channels = \"split\""), "{text}");
}

#[test]
fn a_route_that_cannot_save_silence_is_a_warning() {
    let config =
        |engine: &str| format!("[[route]]\nname = \"r\"\nengine = \"{engine}\"\nskip_silence = true\n");
    let of = |engine: &str| valid(&config(engine)).warnings().join("\n");
    assert!(of("filetrans").contains("skip_silence"), "{}", of("filetrans"));
    assert!(!of("flash").contains("skip_silence"));
}

#[test]
fn http_beyond_loopback_is_refused() {
    for listen in ["0.0.0.0:9464", "[::]:9464", "192.0.2.1:80"] {
        assert!(mistake(&format!("[http]\nlisten = {listen:?}\n")).contains("beyond loopback"));
    }
    assert!(mistake("[http]\nlisten = \"9464\"\n").contains("127.0.0.1:9464"));
    for listen in ["", "127.0.0.1:0", "[::1]:9464", "localhost:9464"] {
        valid(&format!("[http]\nlisten = {listen:?}\n"));
    }
}

#[test]
fn the_us_has_no_model_for_tasks() {
    let route = "[[route]]\nname = \"long\"\nengine = \"filetrans\"\n";
    assert!(mistake(&format!("[dashscope]\nregion = \"us\"\n{route}")).contains("dashscope.region"));
    valid(&format!(
        "[dashscope]\nregion = \"us\"\nfiletrans_model = \"qwen3-asr-of-the-future-filetrans\"\n{route}"
    ));
    let closed = format!("[dashscope]\nallow_temporary_upload = false\n{route}");
    valid(&closed);
    let text = mistake(&(closed + &folder("calls", "/srv/calls", "route = \"long\"")));
    assert!(text.contains("dashscope.allow_temporary_upload") && text.contains("storage.url"), "{text}");
}

#[test]
fn credentials_of_nats_are_one_way_and_whole() {
    mistake("[nats]\nuser = \"hark\"\n");
    mistake("[nats]\npassword_file = \"/dev/null\"\n");
    mistake("[nats]\ntls_cert = \"/dev/null\"\n");
    mistake("[nats]\ntoken_file = \"/dev/null\"\nnkey_file = \"/dev/null\"\n");
    assert!(mistake("[nats]\ntoken_file = \"/nowhere/token\"\n").contains("/nowhere/token cannot be read"));
    mistake("[nats]\nservers = []\n");
    for address in ["ws://host:8080", "wss://me:canary@host"] {
        let text = mistake(&format!("[nats]\nservers = [\"nats://127.0.0.1:4222\", {address:?}]\n"));
        assert!(text.starts_with("harkd.toml:2:37: ") && text.contains("WebSocket"), "{text}");
        assert!(!text.contains("canary"), "{text}");
    }
    assert!(!mistake("[nats]\nservers = [\"nats://u:canary@ho st\"]\n").contains("canary"));
}

/// A source that lacks its subject is not warned about a stream that does not have it.
#[test]
fn what_is_missing_is_said_once() {
    let found = inspect("[[source]]\nname = \"inbox\"\nkind = \"nats\"\n");
    assert_eq!(found.mistakes.lines().count(), 1);
    assert!(!found.warnings().iter().any(|text| text.contains("captures")), "{:?}", found.warnings());
}

#[test]
fn addresses_globs_levels_and_contexts_are_read_before_a_start() {
    for text in [
        "[dashscope]\nbase_url = \"dashscope\"\n".to_owned(),
        "[dashscope]\nbase_url = \"ftp://host/api/v1\"\n".into(),
        "[dashscope]\nbase_url = \"https://u:p@host/api/v1\"\n".into(),
        "[security]\nallow_urls = [\"http://host/\"]\n".into(),
        "[security]\nallow_urls = [\"10.0.0.0/33\"]\n".into(),
        "[security]\nallow_urls = [\"*.example.com\"]\n".into(),
        "[log]\nlevel = \"inof\"\n".into(),
        "[log]\nlevel = \"\"\n".into(),
        "[log]\nlevel = \"harkd=verbose\"\n".into(),
        "[[route]]\nname = \"r\"\ncontext = \"a\"\ncontext_file = \"/dev/null\"\n".into(),
        "[[route]]\nname = \"r\"\ncontext_file = \"/nowhere/words\"\n".into(),
        "[[route]]\nname = \"r\"\nlanguage = \"English\"\n".into(),
        folder("calls", "/srv/calls", "include = [\"**/*.{wav\"]"),
        folder("calls", "/srv/calls", "include = []"),
        folder("calls", "/srv/calls", "exclude = [\"**/*.{wav\"]"),
        folder("calls", "/srv/calls", "exclude = [\"/srv/calls/old\"]"),
        folder("calls", "/srv/calls", "exclude = [\"~/calls/old\"]"),
        folder("calls", "/srv/calls", "exclude = [\"old/\"]"),
        folder("calls", "/srv/calls", "exclude = [\"../old\"]"),
        folder("calls", "/srv/calls", "include = [\"/srv/calls/*.wav\"]"),
        folder("calls", "/srv/calls", "include = [\"*.wav\", \"~/calls/*.wav\"]"),
        folder("calls", "/srv/calls", "include = [\"sub/*.wav\"]\nrecursive = false"),
        "[[plugin]]\nname = \"p\"\nlibrary = \"p\"\nsha256 = \"abc\"\n".into(),
        "[nats]\nsubject_prefix = \"hark.*\"\n".into(),
        "[nats]\nevents_stream = \"a.b\"\n".into(),
        "[nats]\njetstream_domain = \"$JS.hub.API\"\n".into(),
    ] {
        mistake(&text);
    }
    valid("[log]\nlevel = \"info,harkd::recognize=debug,hyper=trace\"\n");
    valid("[dashscope]\nbase_url = \"http://127.0.0.1:8700/api/v1/\"\n");
    valid("[security]\nallow_urls = [\"127.0.0.1/32\", \"media.example.com\", \"::1/128\", \"10.0.0.1\"]\n");
}

#[test]
fn a_language_that_is_no_code_is_told_its_code() {
    let of_route = |language: &str| mistake(&format!("[[route]]\nname = \"r\"\nlanguage = {language:?}\n"));
    assert!(of_route("en-US").ends_with("write \"en\""), "{}", of_route("en-US"));
    assert!(of_route("auto").ends_with("write \"\""), "{}", of_route("auto"));
    assert!(of_route("Klingon").ends_with("empty detects it"), "{}", of_route("Klingon"));
}

#[test]
fn an_address_of_another_interface_is_warned_of() {
    let warned = |address: &str| {
        let config = valid(&format!("[dashscope]\nbase_url = {address:?}\n{}", intake("a", "hark.audio.a")));
        config.warnings().into_iter().find(|text| text.contains("dashscope.base_url")).unwrap_or_default()
    };
    let openai = warned("https://dashscope-intl.aliyuncs.com/compatible-mode/v1");
    assert!(openai.contains("OpenAI-compatible") && openai.contains("/api/v1"), "{openai}");
    for address in ["https://dashscope.aliyuncs.com", "https://dashscope.aliyuncs.com/api/v1/services/"] {
        assert!(warned(address).contains("does not end with /api/v1"), "{address}");
    }
    for address in ["http://127.0.0.1:8700/api/v1/", "https://proxy.example.com/model-studio/api/v1"] {
        assert_eq!(warned(address), "");
    }
}

#[test]
fn a_pattern_that_matches_nothing_is_named_with_its_line() {
    let text = mistake(&folder("calls", "/srv/calls", "include = [\"*.wav\", \"/srv/calls/*.mp3\"]"));
    assert_eq!(
        text,
        "harkd.toml:5:21: include has \"/srv/calls/*.mp3\", which matches nothing: patterns are compared with the path below \
         /srv/calls; write \"*.mp3\""
    );
}

#[test]
fn a_folder_that_does_not_exist_yet_is_a_warning() {
    let config = valid(&folder("calls", "/nowhere/calls", ""));
    assert!(config.warnings()[0].contains("does not exist yet"), "{:?}", config.warnings());
}

#[test]
fn region_decides_address_and_models() {
    let dashscope = |region: &str| valid(&format!("[dashscope]\nregion = {region:?}\n")).dashscope;
    let singapore = dashscope("singapore");
    assert_eq!(singapore.base_url(), "https://dashscope-intl.aliyuncs.com/api/v1");
    assert_eq!(singapore.flash_model(), "qwen3-asr-flash");
    assert_eq!(singapore.filetrans_model(), Some("qwen3-asr-flash-filetrans"));
    let us = dashscope("us");
    assert_eq!(us.base_url(), "https://dashscope-intl.aliyuncs.com/api/v1");
    assert_eq!((us.flash_model(), us.filetrans_model()), ("qwen3-asr-flash-us", None));
    assert_eq!(dashscope("beijing").base_url(), "https://dashscope.aliyuncs.com/api/v1");
}

#[test]
fn one_mistake_does_not_lead_to_others() {
    let lines = mistakes(
        "[[source]]\nname = \"calls\"\nkind = \"directory\"\n[[plugin]]\nname = \"p\"\nlibrary = \"p\"\nsources = [\"calls\"]\n",
    );
    assert_eq!(lines, ["harkd.toml:1:1: [[source]] lacks \"path\""]);
}

#[test]
fn an_age_beyond_the_range_of_nats_is_refused() {
    for (table, key) in [("state", "keep"), ("nats", "events_max_age")] {
        let text = mistake(&format!("[{table}]\n{key} = \"9999999d\"\n"));
        assert!(text.contains(&format!("{table}.{key} is more than NATS can count to")), "{text}");
        valid(&format!("[{table}]\n{key} = \"36500d\"\n"));
    }
}

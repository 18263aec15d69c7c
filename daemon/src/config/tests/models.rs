//! Models by family: names, and what routes ask of them.

use super::{inspect, mistake, valid};

const AUDIO: &str = "[dashscope]\nflash_model = \"qwen-audio-3.1-asr-flash\"\nfiletrans_model = \"qwen-audio-3.1-asr-flash-filetrans\"\n";

fn route(lines: &str) -> String {
    format!("[[route]]\nname = \"r\"\n{lines}\n")
}

/// The warnings about keys of the file.
fn warnings(text: &str) -> Vec<String> {
    let inspection = inspect(text);
    assert!(inspection.mistakes.is_empty(), "{}", inspection.mistakes);
    inspection.warnings().into_iter().filter(|text| text.starts_with("harkd.toml:")).collect()
}

#[test]
fn a_name_of_no_family_is_a_mistake() {
    assert_eq!(
        mistake("[dashscope]\nflash_model = \"qwen-audio-3.1-asr-flahs\"\n"),
        "harkd.toml:2:15: dashscope.flash_model = \"qwen-audio-3.1-asr-flahs\" is of no family of models that Hark speaks with; \
         did you mean \"qwen-audio-3.1-asr-flash\"?"
    );
    let of_tasks = mistake("[dashscope]\nflash_model = \"fun-asr\"\n");
    assert!(
        of_tasks.ends_with("the model \"fun-asr\" makes tasks; it belongs into dashscope.filetrans_model"),
        "{of_tasks}"
    );
    let of_flash = mistake("[dashscope]\nfiletrans_model = \"qwen3-asr-flash\"\n");
    assert!(of_flash.ends_with("it belongs into dashscope.flash_model"), "{of_flash}");
    valid(AUDIO);
    valid("[dashscope]\nflash_model = \"qwen3-asr-flash-2026-02-10\"\nfiletrans_model = \"paraformer-v2\"\n");
}

#[test]
fn a_context_over_the_limit_of_its_model_is_a_mistake() {
    let context = |words: usize| route(&format!("context = \"{}\"", "word ".repeat(words)));
    valid(&context(4_900));
    let text = mistake(&context(5_100));
    assert!(text.starts_with("harkd.toml:3:11: the context of route \"r\" has about 10200 tokens"), "{text}");
    valid(&(AUDIO.to_owned() + &context(80)));
    let text = mistake(&(AUDIO.to_owned() + &context(81)));
    assert!(
        text.contains("has 404 characters, and the model takes 400 (qwen-audio-3.1-asr-flash)"),
        "{text}"
    );
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "a".repeat(401)).unwrap();
    let text = mistake(&(AUDIO.to_owned() + &route(&format!("context_file = {:?}", file.path()))));
    assert!(text.starts_with("harkd.toml:6:16: the context of route"), "{text}");
    let words: Vec<String> = (0..2_000).map(|_| format!("{:?}", "好".repeat(6))).collect();
    let words = route(&format!("hotwords = [{}]", words.join(", ")));
    assert!(
        mistake(&words).contains("the context of route \"r\", with the hot words, has about"),
        "a model without hot words"
    );
    valid(&(AUDIO.to_owned() + &words));
}

#[test]
fn hot_words_have_weights_that_the_service_takes() {
    let text = mistake(&route("hotwords = [\"Hark\", { word = \"Ada\", weight = 9 }]"));
    assert_eq!(text, "harkd.toml:3:21: weight = 9 of the hot word \"Ada\" is neither 1 to 5 nor 50");
    assert!(mistake(&route("hotwords = [\" \"]")).ends_with("a hot word is empty"));
    let text = mistake(&route("hotwords = \"Hark\""));
    assert!(text.contains("hotwords of [[route]] must be a list"), "{text}");
    let text = mistake(&route("hotwords = [7]"));
    assert!(text.contains("{ word = \"Ada Lovelace\", weight = 5 }"), "{text}");
    let config = valid(&route("hotwords = [\"Hark\", { word = \"Ada\", weight = 50 }]"));
    assert_eq!(config.route[0].hotwords[1].weight, 50);
}

#[test]
fn a_language_is_one_that_every_model_of_the_route_takes() {
    let text = mistake(&(AUDIO.to_owned() + &route("language = \"yue\"")));
    assert!(text.starts_with("harkd.toml:6:12: the model qwen-audio-3.1-asr-flash does not take language = \"yue\"; it takes zh, en"), "{text}");
    valid(&(AUDIO.to_owned() + &route("language = \"fil\"")));
    valid(&route("language = \"yue\""));
    assert!(mistake(&route("language = \"nl\"")).contains("qwen3-asr-flash does not take"));
    valid(&(AUDIO.to_owned() + &route("language = \"nl\"")));
}

#[test]
fn what_a_model_cannot_do_is_a_warning_at_its_line() {
    let of_names = warnings(AUDIO);
    assert_eq!(of_names.len(), 2, "{of_names:#?}");
    assert!(
        of_names[0].starts_with("harkd.toml:2:15: qwen-audio-3.1-asr-flash tells no emotion and no language"),
        "{}",
        of_names[0]
    );
    let us = warnings("[dashscope]\nregion = \"us\"\nflash_model = \"fun-asr-flash\"\n");
    assert!(us[0].starts_with("harkd.toml:3:15: the region us does not serve fun-asr-flash"), "{us:#?}");

    let of_route = warnings(&route("engine = \"flash\"\nwords = true\nspeakers = 1"));
    assert_eq!(
        of_route,
        [
            "harkd.toml:4:9: qwen3-asr-flash tells no times of words; its segments have none",
            "harkd.toml:5:12: qwen3-asr-flash does not tell speakers apart; its segments have none",
        ]
    );
    let fun = "[dashscope]\nfiletrans_model = \"fun-asr\"\n";
    let of_fun = warnings(
        &(fun.to_owned()
            + &route(
                "engine = \"filetrans\"\ncontext = \"a\"\nhotwords = [\"b\"]\nitn = true\nwords = true\nspeakers = 2",
            )),
    );
    let keys: Vec<&str> = of_fun[1..].iter().map(|text| text.split(": ").next().unwrap()).collect();
    assert_eq!(keys, ["harkd.toml:8:7", "harkd.toml:6:11", "harkd.toml:7:12"], "{of_fun:#?}");
    assert_eq!(warnings(&route("engine = \"filetrans\"\nwords = true\nitn = true")), [""; 0]);
    let of_emotion = warnings(
        &(AUDIO.to_owned() + &route("channels = \"split\"\nroles = [\"agent\"]\nemotion = [\"agent\"]")),
    );
    assert_eq!(
        of_emotion.iter().filter(|text| text.contains("there is none to keep")).count(),
        2,
        "{of_emotion:#?}"
    );
    let own = "[[recognizer]]\nname = \"gpu\"\nkind = \"openai\"\nbase_url = \"http://127.0.0.1:8000/v1\"\nmodel = \"m\"\n";
    let asked = route("engine = \"gpu\"\nwords = true\nspeakers = 1");
    let of_own = warnings(&(own.to_owned() + &asked));
    assert_eq!(of_own, ["harkd.toml:10:12: the recognizer \"gpu\" is not asked for speakers"]);
    let of_chat = warnings(&(own.to_owned() + "request = \"chat\"\n" + &asked));
    assert!(
        of_chat[1]
            .starts_with("harkd.toml:10:9: the recognizer \"gpu\" is asked through /v1/chat/completions"),
        "{of_chat:#?}"
    );
}

#[test]
fn a_workspace_has_a_host_of_its_own() {
    let url = |lines: &str| valid(&format!("[dashscope]\n{lines}\n")).dashscope.base_url();
    assert_eq!(url("workspace = \"ws-a1\""), "https://ws-a1.ap-southeast-1.maas.aliyuncs.com/api/v1");
    assert_eq!(
        url("workspace = \"ws-a1\"\nregion = \"beijing\""),
        "https://ws-a1.cn-beijing.maas.aliyuncs.com/api/v1"
    );
    assert_eq!(
        url("workspace = \"ws-a1\"\nregion = \"us\""),
        "https://ws-a1.us-east-1.maas.aliyuncs.com/api/v1"
    );
    assert_eq!(
        url("workspace = \"ws-a1\"\nbase_url = \"http://127.0.0.1:1/api/v1/\""),
        "http://127.0.0.1:1/api/v1"
    );
    let text = mistake("[dashscope]\nworkspace = \"evil.example.com/\"\n");
    assert!(text.starts_with("harkd.toml:2:13: dashscope.workspace is not a workspace's id"), "{text}");
}

#[test]
fn what_a_message_says_and_no_model_of_its_route_takes_is_known() {
    let unheeded = |lines: &str, of_route: &str| {
        let unheeded = valid(&(lines.to_owned() + &route(of_route))).unheeded();
        (unheeded.context("r"), unheeded.language("r"))
    };
    assert_eq!(unheeded("", ""), (None, None));
    let fun = "[dashscope]\nfiletrans_model = \"fun-asr\"\n";
    assert_eq!(unheeded(fun, ""), (Some("fun-asr takes no context".into()), None));
    assert_eq!(unheeded(fun, "engine = \"flash\""), (None, None));
    let ignored = "qwen-audio-3.1-asr-flash ignores the language where it tells speakers apart";
    assert_eq!(unheeded(AUDIO, "speakers = 1"), (None, Some(ignored.into())));
}

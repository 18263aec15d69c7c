//! `harkd plugins`, as an operator and as a script would use it.

#[allow(dead_code, unreachable_pub, reason = "each test uses its part; `pub` means: for the test")]
use std::path::Path;
use std::process::{Command, Output};

use crate::plugins::Plugins;

fn harkd(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_harkd")).args(arguments).output().unwrap()
}

fn harkd_in(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_harkd")).args(arguments).current_dir(folder).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn a_plugin_is_tried_with_the_rights_that_it_will_have() {
    let plugins = Plugins::new().c("opens").c("listens").rust("hello");
    let root = plugins.path().display();
    for folder in ["calls", "credentials"] {
        std::fs::create_dir(plugins.path().join(folder)).unwrap();
    }
    let secrets = [
        "key",
        "nats.creds",
        "password",
        "token",
        "seed",
        "tls.key",
        "context",
        "calls/a.wav",
        "credentials/other",
    ];
    for file in secrets.iter().chain(&["tls.pem"]) {
        std::fs::write(plugins.path().join(file), "secret").unwrap();
    }
    // Relative paths, as an operator would write them at first: the plugin's process has another working directory.
    let daemon = "[dashscope]\napi_key_file = \"key\"\n[state]\ndirectory = \"state\"\n\
                  [[source]]\nname = \"calls\"\nkind = \"directory\"\npath = \"calls\"\n\
                  [[route]]\nname = \"default\"\ncontext_file = \"context\"\n\
                  [nats]\ntls_cert = \"tls.pem\"\ntls_key = \"tls.key\"\n";
    let harkd = |proof: &str, plugin: &str, arguments: &[&str]| {
        let text = format!("{daemon}{proof}{plugin}");
        std::fs::write(plugins.path().join("harkd.toml"), text).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_harkd"));
        command.args(["--config", "harkd.toml"]).args(arguments).current_dir(plugins.path());
        let output = command.env("CREDENTIALS_DIRECTORY", "credentials").output().unwrap();
        (output.status.code(), String::from_utf8([output.stderr, output.stdout].concat()).unwrap())
    };
    let check_with = |proof: &str, plugin: &str, config: &str| {
        let plugin = format!("[[plugin]]\nname = \"it\"\nlibrary = \"{root}/{plugin}.so\"\n{config}");
        harkd(proof, &plugin, &["check"])
    };
    let check = |plugin: &str, config: &str| check_with("", plugin, config);
    // The config keys by which the daemon authenticates to NATS, one method at a time.
    let proof_of = |secret: &str| match secret {
        "nats.creds" => "credentials_file = \"nats.creds\"\n",
        "password" => "user = \"hark\"\npassword_file = \"password\"\n",
        "token" => "token_file = \"token\"\n",
        "seed" => "nkey_file = \"seed\"\n",
        _ => "",
    };
    for secret in secrets.iter().chain(&["harkd.toml"]) {
        let config = format!("[plugin.config]\nread = \"{root}/{secret}\"\n");
        let (code, said) = check_with(proof_of(secret), "opens", &config);
        assert!(code == Some(78) && said.contains("it cannot be opened"), "{secret}: {said}");
        let library = format!("{root}/opens.so");
        let with = format!("{{\"read\": \"{root}/{secret}\"}}");
        let (code, said) = harkd(proof_of(secret), "", &["plugins", "check", &library, "--with", &with]);
        assert!(code == Some(1) && said.contains("it cannot be opened"), "{secret}: {said}");
    }
    let (code, said) = check("opens", &format!("[plugin.config]\nread = \"{root}/tls.pem\"\n"));
    assert_eq!(code, Some(0), "a certificate is public: {said}");
    assert_eq!(check("hello", "").0, Some(0));
    assert!(!plugins.path().join("state").exists(), "what was made to try it is gone again");
    let (code, said) = check("listens", "");
    assert_eq!(code, Some(0));
    assert!(said.contains("warning: plugin \"it\" wants jobs, which plugins do not receive yet"), "{said}");
    let config = format!("[plugin.config]\nwrite = \"{root}/state/plugins/it/notes\"\n");
    let (code, said) = check("opens", &config);
    assert_eq!(code, Some(0), "it may write to its own folder: {said}");
}

#[test]
fn the_list_says_what_loads_and_why_the_rest_does_not() {
    let plugins = Plugins::new().rust("hello").c("no_symbol");
    let config = plugins.path().join("harkd.toml");
    let entries = ["hello", "no_symbol"].map(|name| {
        let library = plugins.path().join(format!("{name}.so"));
        format!("[[plugin]]\nname = \"{name}\"\nlibrary = \"{}\"\n", library.display())
    });
    std::fs::write(&config, entries.concat()).unwrap();
    let config = config.display().to_string();

    let output = harkd(&["--config", &config, "plugins", "list", "--json"]);
    assert!(output.status.success(), "{output:?}");
    let rows: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((rows[0]["name"].as_str(), rows[0]["state"].as_str()), (Some("hello"), Some("loaded")));
    assert_eq!(rows[0]["version"], "0.1.0");
    assert_eq!((rows[1]["name"].as_str(), rows[1]["state"].as_str()), (Some("no_symbol"), Some("failed")));
    assert!(rows[1]["reason"].as_str().unwrap().contains("exports no symbol"), "{rows:#}");

    let table = stdout(&harkd(&["--config", &config, "plugins"]));
    assert!(table.contains("hello      loaded  ") && table.contains("0.1.0, receives finals"), "{table}");
}

/// The blocks of a language in the manual of keyword_alert.
fn manual(language: &str) -> Vec<String> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/plugins/keyword_alert.md");
    let page = std::fs::read_to_string(page).unwrap();
    let fence = format!("```{language}\n");
    let blocks = page.split(&fence).skip(1);
    blocks.map(|block| block.split("```").next().unwrap().to_owned()).collect()
}

#[test]
fn the_rules_of_the_manual_are_tested_as_it_says() {
    let folder = tempfile::tempdir().unwrap();
    let [config, cases] = &manual("toml")[..] else { panic!("a config and a file of cases") };
    let [passed, differs] = &manual("text")[..] else { panic!("two reports") };
    let test = |config: &str, cases: &str, more: &[&str]| {
        std::fs::write(folder.path().join("harkd.toml"), config).unwrap();
        std::fs::write(folder.path().join("rules.test.toml"), cases).unwrap();
        let all = [&["rules", "test", "rules.test.toml", "--config", "harkd.toml"], more].concat();
        harkd_in(folder.path(), &all)
    };
    let output = test(config, cases, &[]);
    assert_eq!((output.status.code(), &stdout(&output)), (Some(0), passed), "{output:?}");
    assert!(output.stderr.is_empty(), "the manual's rules are all meant: {output:?}");

    let (kept, last) = cases.rsplit_once("greeting-missing").unwrap();
    let other = format!("{kept}churn{last}");
    let output = test(config, &other, &[]);
    let report = format!("{}{}", stdout(&output), String::from_utf8(output.stderr).unwrap());
    assert_eq!(
        (output.status.code(), report),
        (Some(1), passed.lines().next().unwrap().to_owned() + "\n" + differs)
    );
    let output = test(config, &other, &["--json"]);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["failed"], 1);
    assert_eq!(report["cases"][0]["passed"], true);
    assert_eq!(report["cases"][1]["missing"], serde_json::json!([{ "rule": "churn" }]));
    assert_eq!(report["cases"][1]["unexpected"][0]["rule"], "greeting-missing");

    let two = format!(
        "{config}\n[[plugin]]\nname = \"other\"\nlibrary = \"keyword_alert\"\n[[plugin.config.rules]]\nname = \"x\"\nany = [\"…\"]\n"
    );
    for (config, cases, more, code, words) in [
        (&two, cases, &[][..], 64, "several plugins"),
        (&two, cases, &["--plugin", "quality"], 0, ""),
        (&two, cases, &["--plugin", "other"], 1, "rules.0.any.0: rule \"x\" has"),
        (&two, cases, &["--plugin", "absent"], 64, "no [[plugin]] named \"absent\""),
        (config, &"[[case]]\nnam = \"x\"\n".to_owned(), &[], 64, "rules.test.toml:2: unknown field `nam`"),
        (&String::new(), cases, &[], 78, "has no [[plugin]] with library"),
        (&config.replace("'\\b", "'(\\b"), cases, &[], 78, "rules.0.regex.0: rule \"churn\""),
        (
            &config.replace("scope = ", "scop = "),
            cases,
            &[],
            78,
            "rules.2.scop: rule \"no-apology\": unknown field",
        ),
    ] {
        let output = test(config, cases, more);
        let words_of = String::from_utf8(output.stderr.clone()).unwrap();
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        assert!(words_of.contains(words), "{words_of}\nlacks {words}");
    }
    let absent = harkd_in(folder.path(), &["rules", "test", "absent.toml", "--config", "harkd.toml"]);
    assert_eq!(absent.status.code(), Some(78), "the config is read first");
}

#[test]
fn check_shows_a_plugins_warnings_and_refusals_at_the_line_of_the_key() {
    let plugins = Plugins::new().rust("keyword_alert");
    let library = plugins.path().join("keyword_alert.so");
    let file = plugins.path().join("harkd.toml");
    let check = |rules: &str| {
        let text = format!("[[plugin]]\nname = \"k\"\nlibrary = {library:?}\n{rules}");
        std::fs::write(&file, text).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_harkd"));
        command.args(["check", "--config"]).arg(&file).env("DASHSCOPE_API_KEY", "sk-test");
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let rule = "[[plugin.config.rules]]\nname = \"a\"\nany = [\"x\"]\n";
    let place = |line: u32, column: u32| format!("{}:{line}:{column}: plugin \"k\"", file.display());

    let (code, words) =
        check(&format!("{rule}[[plugin.config.rules]]\nname = \"b\"\nregex = [\"y\",\n  \"z*\"]\n"));
    assert_eq!(code, Some(0), "{words}");
    let warning = format!("warning: {} warns: rules.1.regex.1: rule \"b\" has \"z*\"", place(10, 3));
    assert!(words.contains(&warning), "{words}\nlacks {warning}");

    let (code, words) = check(&format!("{rule}[[plugin.config.rules]]\nname = \"b\"\nregex = [\"(\"]\n"));
    assert_eq!(code, Some(78), "{words}");
    assert!(words.contains(&format!("{} does not load: library", place(9, 10))), "{words}");
    assert!(words.contains("create refused: rules.1.regex.0: rule \"b\": \"(\": unclosed group"), "{words}");

    // Every rule's mistake at once.
    let second = "[[plugin.config.rules]]\nname = \"c\"\nany = [\"x\"]\nwindow = \"first 5 minutes\"\n";
    let (code, words) =
        check(&format!("{rule}[[plugin.config.rules]]\nname = \"b\"\nregex = [\"(\"]\n{second}{rule}"));
    assert_eq!(code, Some(78), "{words}");
    for (line, column, said) in [
        (9, 10, "rules.1.regex.0: rule \"b\": \"(\": unclosed group"),
        (13, 10, "rules.2.window: rule \"c\": \"first 5 minutes\" is no window"),
    ] {
        let expected = format!("{} does not load: {said}", place(line, column));
        assert!(words.contains(&expected), "{words}\nlacks {expected}");
    }

    // What the schema finds, all of it, each at its line.
    let mistakes = "[[plugin.config.rules]]\nnam = \"b\"\nany = \"y\"\nseverity = \"warn\"\nnear.within = -1\n[plugin.config.rulez]\n";
    let (code, words) = check(&format!("{rule}{mistakes}"));
    assert_eq!(code, Some(78), "{words}");
    for (line, column, said) in [
        (8, 7, "rules.1.nam: unknown key; did you mean \"name\"?"),
        (9, 7, "rules.1.any: the value is not of type \"array\""),
        (10, 12, "rules.1.severity: unknown value \"warn\"; did you mean \"warning\"?"),
        (11, 15, "rules.1.near.within: the value is less than the minimum of 0"),
        (12, 1, "rulez: unknown key; did you mean \"rules\"?"),
    ] {
        let expected = format!("{} does not load: {said}", place(line, column));
        assert!(words.contains(&expected), "{words}\nlacks {expected}");
    }

    let (code, words) = check("");
    assert_eq!(code, Some(78));
    assert!(words.contains(&format!("{} does not load", place(3, 11))), "no key of the file: {words}");
}

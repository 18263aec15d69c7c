//! The alarms and the dashboard of `config/dashboards/` against the page of a running daemon, as Prometheus reads them.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{CEILING, Emulator, Hark, HookReceiver, NatsServer, promtool, wait_until, wav};
use regex::Regex;
use serde_json::Value;

#[test]
fn each_alarm_rings_when_it_should() {
    let Some(promtool) = promtool("each_alarm_rings_when_it_should") else { return };
    run(&promtool, &["check", "rules"], &dashboards("alerts.yml"));
    run(&promtool, &["test", "rules"], &dashboards("alerts.test.yml"));
}

#[test]
fn each_alarm_has_a_test_and_says_what_to_do() {
    let rules = text("alerts.yml");
    let (page, tests) = (read("../docs/alarms.md"), text("alerts.test.yml"));
    let names: Vec<&str> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(names.len() > 10, "{names:?}");
    for name in names {
        let rule = rules.split("- alert: ").find(|rule| rule.lines().next() == Some(name)).unwrap();
        for key in ["expr:", "severity:", "summary:", "description:", "action:"] {
            assert!(rule.contains(key), "{name} has no {key}");
        }
        let anchor = format!("runbook: \"docs/alarms.md#{}\"", name.to_lowercase());
        assert!(rule.contains(&anchor), "{name}: {anchor}");
        assert!(page.lines().any(|line| line == format!("## {name}")), "docs/alarms.md has no {name}");
        assert!(tests.contains(&format!("alertname=\"{name}\"")), "alerts.test.yml does not ring {name}");
    }
}

#[tokio::test]
async fn every_name_is_on_the_page_of_a_daemon_on_which_nothing_rings() {
    let (nats, service) = (NatsServer::start().await, Emulator::start(&[]).await);
    let receiver = HookReceiver::start().await;
    let mut hark = Hark::new()
        .nats(&nats)
        .asr(&service)
        .folder("calls")
        .plugin("keywords", "keyword_alert", "[[plugin.config.rules]]\nname = \"churn\"\nany = [\"cancel\"]")
        .webhook("crm", &receiver.url(), "kinds = [\"job.completed\"]")
        .set("budget.daily_usd", "5.0")
        .start()
        .await;
    hark.drop_file("calls", "a.wav", &wav(2.0, 1));
    hark.next_event("job.completed").await;
    let mut page = String::new();
    wait_until("the page of a daemon that has done everything once", CEILING, async || {
        page = hark.get("/metrics").await.unwrap().1;
        let delivered = "hark_webhook_requests_total{outcome=\"taken\",webhook=\"crm\"}";
        page.contains(delivered) && page.contains("hark_budget_spent_usd{source=\"[daemon]\"} 0.0000")
    })
    .await;

    let there: BTreeSet<&str> = page.lines().filter_map(|line| line.split(['{', ' ']).next()).collect();
    let name = Regex::new(r"\bhark_[a-z_]+").unwrap();
    for file in ["alerts.yml", "alerts.test.yml", "grafana.json"] {
        let text = text(file);
        let used: BTreeSet<&str> = name.find_iter(&text).map(|name| name.as_str()).collect();
        let absent: Vec<&&str> = used.iter().filter(|name| !there.contains(**name)).collect();
        assert!(used.len() > 10 && absent.is_empty(), "{file}: {absent:?} are not on\n{page}");
    }
    let Some(promtool) = promtool("every_name_is_on_the_page_of_a_daemon_on_which_nothing_rings") else {
        return;
    };
    ringing(&promtool, &page, &[]);
}

#[tokio::test]
async fn a_refused_key_rings() {
    let Some(promtool) = promtool("a_refused_key_rings") else { return };
    let nats = NatsServer::start().await;
    let service = Emulator::start(&["--api-key", "sk-another-0123456789"]).await;
    let hark = Hark::new().nats(&nats).asr(&service).folder("calls").start().await;
    hark.drop_file("calls", "a.wav", &wav(2.0, 1));
    let mut page = String::new();
    wait_until("the queue to be held", CEILING, async || {
        page = hark.get("/metrics").await.unwrap().1;
        page.contains("hark_recognize_held{engine=\"flash\"} 1")
    })
    .await;
    ringing(&promtool, &page, &[r#"{alertname="HarkRecognizerHeld"}"#]);
}

#[test]
fn prometheus_reads_every_expression_of_the_dashboard() {
    let Some(promtool) = promtool("prometheus_reads_every_expression_of_the_dashboard") else { return };
    let dashboard: Value = serde_json::from_str(&text("grafana.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    let expressions: Vec<&str> = targets.map(|target| target["expr"].as_str().unwrap()).collect();
    assert!(expressions.len() > 20, "{expressions:?}");
    let mut rules = "groups:\n  - name: dashboard\n    rules:\n".to_owned();
    for (number, expression) in expressions.iter().enumerate() {
        // Grafana fills the variables in before it asks.
        let asked = expression.replace("$__rate_interval", "1m").replace("$instance", ".*");
        writeln!(rules, "      - {{ record: 'panel:{number}', expr: {} }}", Value::from(asked)).unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rules.yml");
    std::fs::write(&file, rules).unwrap();
    run(&promtool, &["check", "rules"], &file);
}

/// Asserts which alarms ring at a daemon whose page has been this one for an hour and a half.
fn ringing(promtool: &Path, page: &str, alarms: &[&str]) {
    let rules = dashboards("alerts.yml");
    let mut test = format!("rule_files: ['{}']\nevaluation_interval: 1m\ntests:\n", rules.display());
    test.push_str("  - interval: 1m\n    input_series:\n");
    for line in page.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let (series, value) = line.rsplit_once(' ').unwrap();
        writeln!(test, "      - {{ series: '{series}', values: '{value}x120' }}").unwrap();
    }
    test.push_str(
        "    promql_expr_test:\n      - expr: count by (alertname) (ALERTS{alertstate=\"firing\"})\n",
    );
    test.push_str("        eval_time: 90m\n        exp_samples:\n");
    for alarm in alarms {
        writeln!(test, "          - {{ labels: '{alarm}', value: 1 }}").unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("page.test.yml");
    std::fs::write(&file, test).unwrap();
    run(promtool, &["test", "rules"], &file);
}

fn run(promtool: &Path, arguments: &[&str], file: &Path) {
    let output = Command::new(promtool).args(arguments).arg(file).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
}

fn dashboards(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/dashboards").join(file).canonicalize().unwrap()
}

fn text(file: &str) -> String {
    std::fs::read_to_string(dashboards(file)).unwrap()
}

fn read(relative: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(relative)).unwrap()
}

//! The life of the package on a machine: installed, refused without a key, started, reloaded, upgraded while jobs are under way, removed,
//! purged. NATS and the service's stand-in run beside it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, ensure};

use super::VERSION;
use super::machine::Machine;
use crate::workspace::Workspace;
use crate::{nats_server, terminal};

/// The first is heard by itself, the others are under way when the package is upgraded. All are short enough for flash.
const SAMPLES: [&str; 6] =
    ["thanks.wav", "appointment.wav", "cancel.wav", "chinese.flac", "stereo.flac", "thanks.wav"];

/// How long the stand-in takes for each.
const DELAY: &str = "8s";

/// What the operator adds to the config.
const CONFIG: &str = r#"
[dashscope]
base_url = "http://127.0.0.1:8700/api/v1"

[[source]]
name = "calls"
kind = "directory"
path = "/srv/calls"
settle = "200ms"

[[plugin]]
name = "keywords"
library = "keyword_alert"
[[plugin.config.rules]]
name = "churn"
any = ["cancel"]
"#;

/// The machine is made, used and thrown away; `old` is installed first, `new` is the upgrade, and `tarball` comes last.
///
/// # Errors
/// At the first thing that is not as it should be.
pub(super) fn run(workspace: &Workspace, old: &Path, new: &Path, tarball: &Path) -> anyhow::Result<()> {
    let share = tempfile::tempdir()?;
    fs::set_permissions(share.path(), fs::Permissions::from_mode(0o755))?;
    let put = |from: &Path, name: &str| {
        fs::copy(from, share.path().join(name))
            .with_context(|| format!("copying {}", from.display()))
            .map(drop)
    };
    put(old, "old.deb")?;
    put(new, "new.deb")?;
    put(tarball, "tarball")?;
    put(&nats_server::find_or_install(workspace)?.path, "nats-server")?;
    put(&workspace.built("dashscope-emulator"), "emulator")
        .context("the stand-in is not built: cargo build --workspace")?;
    for (number, sample) in SAMPLES.iter().enumerate() {
        put(&workspace.path("xtask/samples").join(sample), &format!("{number}-{sample}"))?;
    }

    let machine = Machine::boot(workspace, share.path())?;
    let step = |what: &str| println!("{} {what}", terminal::dim("·"));

    step("a machine with NATS and the stand-in");
    machine.run("systemd-run --quiet --unit nats-server --property StateDirectory=nats /mnt/nats-server --addr 127.0.0.1 --jetstream --store_dir /var/lib/nats")?;
    machine.run(&format!(
        "systemd-run --quiet --unit emulator --property StateDirectory=emulator /mnt/emulator --flash-delay {DELAY} --journal /var/lib/emulator/journal"
    ))?;

    step("the package is installed, and starts nothing");
    let said = machine.run("dpkg --install /mnt/old.deb")?;
    ensure!(
        said.contains("systemctl enable --now harkd"),
        "the package does not say what comes next: {said}"
    );
    let version = machine.run("harkd --version; dpkg --verify hark; getent passwd hark | cut -d: -f6,7")?;
    ensure!(version == format!("harkd {VERSION}\n/var/lib/hark:/usr/sbin/nologin\n"), "{version}");
    machine.prints("systemctl is-enabled harkd || true", "disabled")?;
    machine.prints("systemctl is-active harkd || true", "inactive")?;
    machine.run("test -s /usr/share/man/man1/harkd-run.1.gz && test -e /usr/share/doc/hark/config/dashboards/alerts.yml")?;
    machine.run("bash -n /usr/share/bash-completion/completions/harkd")?;

    step("without a key the daemon is refused, once, and the journal says why");
    let refused = machine.fails("harkd check")?;
    ensure!(refused.contains("api_key"), "{refused}");
    machine.fails("systemctl start harkd")?;
    machine.prints("systemctl show --property ExecMainStatus --value harkd", "78")?;
    machine.prints("systemctl show --property NRestarts --value harkd", "0")?;

    step("with a key the config that comes with it is accepted, and with a source it is started");
    machine
        .run("install -D -m 600 /dev/stdin /etc/credstore/dashscope_api_key <<'KEY'\nsk-of-the-trial\nKEY")?;
    machine.run("CREDENTIALS_DIRECTORY=/etc/credstore harkd check")?;
    machine.run(&format!("mkdir /srv/calls && cat >> /etc/hark/harkd.toml <<'CONFIG'\n{CONFIG}CONFIG"))?;
    machine.run("systemctl enable --now harkd")?;
    ready(&machine)?;
    let pid = main_pid(&machine)?;
    machine.run("cp /mnt/0-* /srv/calls/")?;
    machine.prints(&jobs("completed"), "1")?;
    machine.prints("curl -s 127.0.0.1:9464/metrics | grep -c 'hark_plugin_state{plugin=\"keywords\",state=\"running\"} 1'", "1")?;

    step("a reload brings a source in, and a wrong one changes nothing");
    machine.run("cp /etc/hark/harkd.toml /root/good.toml")?;
    machine.run("printf '[[source]]\\nname = \"inbox\"\\nkind = \"nats\"\\nsubject = \"hark.audio.inbox\"\\n' >> /etc/hark/harkd.toml; cp /etc/hark/harkd.toml /root/good.toml")?;
    machine.run("systemctl reload harkd")?;
    machine.prints("harkd sources --json | grep -c '\"inbox\"'", "1")?;
    machine.run("echo 'nonsense = 1' >> /etc/hark/harkd.toml; systemctl reload harkd")?;
    machine.prints(
        "curl -s 127.0.0.1:9464/metrics | grep 'hark_config_reloads_total{outcome=\"refused\"}'",
        "hark_config_reloads_total{outcome=\"refused\"} 1",
    )?;
    machine.run("cp /root/good.toml /etc/hark/harkd.toml; systemctl reload harkd")?;
    ensure!(main_pid(&machine)? == pid, "the reloads have started another daemon");

    step("an upgrade while recordings are being recognized");
    machine.run("cp /mnt/[1-9]-* /srv/calls/")?;
    machine.prints(&jobs("recognizing"), &(SAMPLES.len() - 1).to_string())?;
    let said = machine.run("dpkg --install /mnt/new.deb 2>&1")?;
    ensure!(!said.contains("Configuration file"), "the upgrade asks about the config: {said}");
    ready(&machine)?;
    ensure!(main_pid(&machine)? != pid, "the old daemon still runs");
    let requests = SAMPLES.len();
    machine.prints("dpkg-query --show --showformat='${Version}' hark", VERSION)?;
    machine.prints(&jobs("completed"), &requests.to_string())?;
    machine
        .prints("grep -c '\"kind\":\"flash\"' /var/lib/emulator/journal", &requests.to_string())
        .context("a recording was paid for twice")?;
    // The old daemon said that it stops, and then recordings were done, by it or by the new one.
    let stopping = "journalctl --unit harkd --output cat | sed -n '/\"stopping: /,$p'";
    machine
        .run(&format!("{stopping} | grep '\"message\":\"job ended\"'"))
        .context("nothing was under way")?;
    machine.run("cmp /root/good.toml /etc/hark/harkd.toml")?;

    step("removed: nothing runs, config and state are kept; installed again it goes on");
    machine.run("dpkg --remove hark")?;
    machine.prints("systemctl is-active harkd || true", "inactive")?;
    machine.run(
        "test -e /etc/hark/harkd.toml && test -e /var/lib/hark/ledger.sqlite3 && ! test -e /usr/bin/harkd",
    )?;
    machine.run("dpkg --install /mnt/new.deb && systemctl start harkd")?;
    ready(&machine)?;
    machine.prints("systemctl is-enabled harkd", "enabled")?;
    machine.prints(&jobs("completed"), &requests.to_string())?;

    step("purged: config and state are gone");
    machine.run("dpkg --purge hark")?;
    machine.run("! test -e /etc/hark && ! test -e /var/lib/hark && ! test -e /usr/lib/hark && ! test -e /usr/share/doc/hark")?;
    machine.run("! find /etc/systemd/system /var/lib/systemd -name '*harkd*' | grep .")?;
    machine.run("test -e /etc/credstore/dashscope_api_key && getent passwd hark")?;

    step("the tarball, somewhere else");
    machine.run("tar -xf /mnt/tarball --strip-components 1 --one-top-level=/opt/hark")?;
    let variables = "CREDENTIALS_DIRECTORY=/etc/credstore HARK_PLUGINS__DIRECTORY=/opt/hark/lib/hark/plugins";
    machine.run(&format!("{variables} /opt/hark/bin/harkd --config /root/good.toml check"))?;
    Ok(())
}

fn ready(machine: &Machine) -> anyhow::Result<()> {
    machine.prints("curl -s -o /dev/null -w '%{http_code}' 127.0.0.1:9464/readyz", "200")
}

fn main_pid(machine: &Machine) -> anyhow::Result<String> {
    machine.run("systemctl show --property MainPID --value harkd")
}

/// A script that prints how many jobs are in this state.
fn jobs(state: &str) -> String {
    format!("harkd jobs list --state {state} --json | grep -o '\"state\": *\"{state}\"' | wc -l")
}

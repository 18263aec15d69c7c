//! A speech server of the operator's own, scripted: recordings in, finals out, and whatever such servers do wrong.

mod channels;
mod faults;
mod halves;
mod heard;
mod words;

use crate::support::{Hark, NatsServer, ReceivedEvent, Reply, Setup};
use serde_json::Value;

/// A daemon whose only route names the server: no key of DashScope.
pub(crate) fn setup(nats: &NatsServer, url: &str, lines: &str) -> Setup {
    let recognizer =
        format!("[[recognizer]]\nname = \"gpu\"\nkind = \"openai\"\nbase_url = \"{url}\"\n{lines}\n");
    let route = "[[route]]\nname = \"private\"\nengine = \"gpu\"\n";
    Hark::new()
        .nats(nats)
        .without("DASHSCOPE_API_KEY")
        .folder_with("calls", "route = \"private\"\n")
        .lines(&format!("{recognizer}\n{route}"))
}

pub(crate) const WHISPER: &str = "model = \"whisper-1\"";
pub(crate) const QWEN: &str = "model = \"Qwen/Qwen3-ASR-1.7B\"";

pub(crate) fn verbose() -> Reply {
    Reply::verbose(
        "english",
        " Good morning. Goodbye.",
        &[(0.0, 0.9, " Good morning."), (0.9, 2.4, " Goodbye.")],
    )
}

pub(crate) fn stream() -> Reply {
    let parts = ["language Chin", "ese<asr", "_text>你好", ", 再见."];
    Reply::chunks("chat.completion.chunk", &parts, "stop")
}

pub(crate) fn retries(events: &[ReceivedEvent]) -> Vec<&str> {
    let retrying = events.iter().filter(|event| event.kind() == "job.retrying");
    retrying.map(|event| event.body["error"]["code"].as_str().unwrap()).collect()
}

/// The events of the job that ends next.
pub(crate) async fn job(hark: &mut Hark, ended: usize) -> Vec<ReceivedEvent> {
    let job = hark.ended_jobs(ended).await[ended - 1].job().to_owned();
    hark.events_of(&job).await
}

pub(crate) fn final_of(events: &[ReceivedEvent]) -> &Value {
    &events.iter().find(|event| event.kind() == "transcript.final").expect("a final").body
}

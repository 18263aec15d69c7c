//! Whether a speech server answers, takes its key and has its model, by its list of models, which costs nothing.

use std::time::Duration;

use serde::Deserialize;

use crate::config::Recognizer;
use crate::recognize::examine::{Examined, Trouble, ahead};
use crate::recognize::http::{Http, Key, Timeouts, causes};

/// A server that loads its model answers its list meanwhile, or refuses at once.
const PATIENCE: Duration = Duration::from_secs(10);

/// The longest list that is read.
const LONGEST_LIST: usize = 1 << 20;

#[derive(Deserialize)]
struct Models {
    data: Vec<Model>,
}

#[derive(Deserialize)]
struct Model {
    id: String,
}

/// Asks a server for its list of models.
pub(in crate::recognize) async fn examine(config: &Recognizer) -> Examined {
    let mut examined = Examined { about: config.name.clone(), outcome: Ok(String::new()), ahead: None };
    examined.outcome = ask(config, &mut examined.ahead).await;
    examined
}

async fn ask(config: &Recognizer, clock: &mut Option<jiff::SignedDuration>) -> Result<String, Trouble> {
    let trouble =
        |passes: bool, message: String, remedy: &str| Trouble { passes, message, remedy: remedy.to_owned() };
    let base = config.base_url.trim_end_matches('/');
    let http = Http::new(base.starts_with("http:"), false, Timeouts::default())
        .map_err(|error| trouble(false, error.to_string(), "install the package ca-certificates"))?;
    let key = config
        .api_key()
        .map_err(|error| trouble(false, error, "write the key's file, or leave api_key_file empty"))?;
    let call = http.pooled.get(format!("{base}/models")).timeout(PATIENCE);
    let call = match key {
        Some(key) => Key::new(key, None).authorize(call),
        None => call,
    };
    let mut response = call.send().await.map_err(|error| {
        let message = format!("{base} does not answer: {}", causes(error));
        trouble(
            false,
            message,
            "start the server, or correct base_url; recordings of its routes wait meanwhile",
        )
    })?;
    *clock = ahead(&response);
    let status = response.status();
    match status.as_u16() {
        401 | 403 => {
            let message = format!("{base} refuses the key ({status})");
            return Err(trouble(
                false,
                message,
                "put the server's key into the file that api_key_file names",
            ));
        }
        // whisper.cpp has no list.
        404 | 405 | 501 => {
            return Ok(format!(
                "{base} answers; it has no list of models, so {} is not looked for",
                config.model
            ));
        }
        503 => {
            let message = format!("{base} is not ready ({status})");
            return Err(trouble(
                true,
                message,
                "wait until it has loaded its model; recordings of its routes wait meanwhile",
            ));
        }
        _ if !status.is_success() => {
            let message = format!("{base}/models answers {status}");
            return Err(trouble(false, message, "see the server's own log"));
        }
        _ => {}
    }
    let mut body = Vec::new();
    let read = http.body(&mut response, &mut body, LONGEST_LIST).await;
    let Some(models) = read.ok().and_then(|()| serde_json::from_slice::<Models>(&body).ok()) else {
        return Ok(format!(
            "{base} answers; its list of models cannot be read, so {} is not looked for",
            config.model
        ));
    };
    if models.data.iter().any(|model| model.id == config.model) {
        return Ok(format!("{base} has {}", config.model));
    }
    let names: Vec<&str> = models.data.iter().map(|model| model.id.as_str()).take(5).collect();
    let has = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    let message = format!("{base} does not list {}; it lists {has}", config.model);
    // Some servers load what is not listed when it is asked for.
    Err(trouble(true, message, "install the model on the server, or correct `model`"))
}

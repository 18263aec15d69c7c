//! Whether key, region, account and models are right, without recognizing anything.
//!
//! The task list tells whether the service takes the key. The daemon sends a flash request without audio, which the service refuses before it
//! costs anything: for its shape if the account may use the model, else for the model. For the filetrans model the daemon asks for an upload
//! policy, because a submit could create a task.

use serde::de::IgnoredAny;
use serde_json::json;

use super::client::Client;
use super::flash::PATH as FLASH;
use crate::config::{Dashscope, Secret};
use crate::recognize::error::{Error, When};
use crate::recognize::examine::{Examined, Trouble, ahead};
use crate::recognize::http::{BuildError, FREE_CALL, JSON, Key, Timeouts, unanswered};

/// Asks what costs nothing: about the key, and where that is taken about each model.
///
/// # Errors
/// There are no root certificates.
pub(in crate::recognize) async fn examine(
    config: &Dashscope,
    key: Secret,
) -> Result<Vec<Examined>, BuildError> {
    let client = Client::new(config, Key::new(key, None), Timeouts::default())?;
    let region = config.region.as_str();
    let (taken, ahead) = is_key_taken(&client).await;
    let host = reqwest::Url::parse(&config.base_url()).ok();
    let host = host.as_ref().and_then(reqwest::Url::host_str).unwrap_or_default().to_owned();
    let outcome = match taken {
        Ok(()) => Ok(format!("{host} takes the key (region {region})")),
        Err(error) if error.fault.code == "InvalidApiKey" => Err(Trouble {
            remedy: format!(
                "a key belongs to one region: if this one is not of {region}, set dashscope.region; else put a key of {region} in its place"
            ),
            ..Trouble::from(error)
        }),
        Err(error) if matches!(error.when, When::Reachable) => Err(Trouble {
            remedy: format!(
                "see whether this machine reaches {host} (network, HTTPS_PROXY), or correct dashscope.base_url"
            ),
            ..Trouble::from(error)
        }),
        Err(error) => Err(error.into()),
    };
    let mut examined = vec![Examined { about: "key".to_owned(), outcome, ahead }];
    if examined[0].outcome.is_err() {
        return Ok(examined);
    }
    let flash = config.flash_model();
    examined.push(of_model("flash", flash, has_flash(&client, flash).await));
    if let Some(model) = config.filetrans_model() {
        examined.push(of_model("filetrans", model, has_filetrans(&client, model).await));
    }
    Ok(examined)
}

fn of_model(engine: &str, model: &str, outcome: Result<(), Error>) -> Examined {
    let outcome = outcome.map(|()| format!("the account may use {model}")).map_err(|error| {
        let trouble = Trouble::from(error);
        Trouble { message: format!("{model}: {}", trouble.message), ..trouble }
    });
    Examined { about: engine.to_owned(), outcome, ahead: None }
}

async fn is_key_taken(client: &Client) -> (Result<(), Error>, Option<jiff::SignedDuration>) {
    let call = client.get("/tasks").query(&[("page_no", "1"), ("page_size", "1")]);
    let response = match call.send().await {
        Ok(response) => response,
        Err(error) => return (Err(unanswered(error)), None),
    };
    let ahead = ahead(&response);
    match client.unless_refused(response).await {
        // A key without the right to the list is a key; only the search for lost tasks needs the list.
        Err(error)
            if error.fault.code.contains("AccessDenied") && error.fault.code != "Workspace.AccessDenied" =>
        {
            (Ok(()), ahead)
        }
        outcome => (outcome.map(drop), ahead),
    }
}

async fn has_flash(client: &Client, model: &str) -> Result<(), Error> {
    let body = json!({ "model": model, "input": { "messages": [] }, "parameters": {} });
    let call = client.post(FLASH, JSON).timeout(FREE_CALL).body(body.to_string());
    let response = call.send().await.map_err(unanswered)?;
    match client.unless_refused(response).await {
        Err(error) if matches!(error.when, When::Never) && !is_about_model(&error) => Ok(()),
        outcome => outcome.map(drop),
    }
}

async fn has_filetrans(client: &Client, model: &str) -> Result<(), Error> {
    let call = client.get("/uploads").query(&[("action", "getPolicy"), ("model", model)]);
    client.free::<IgnoredAny>(call).await.map(drop)
}

/// "url error" means that the model is not served at this address.
fn is_about_model(error: &Error) -> bool {
    let message = error.fault.message.to_ascii_lowercase();
    message.contains("url error") || message.contains("model")
}

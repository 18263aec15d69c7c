//! Warnings: settings that are valid and probably unintended.

use url::{Host, Url};

use super::lookup::{nats_files, odd_secret, readable_by_all};
use super::webhook::SHORTEST_KEY;
use super::{
    Config, DirectorySource, Emotion, EngineChoice, NatsSource, Plugin, Recognizer, Route, Secret, Source,
    Webhook, WhenDone, is_inside, is_public, language_codes, signing_key,
};

/// Requests append their path to this address. A proxy may use another path, so an unusual address is only a warning.
fn strange_address(base_url: &str) -> Option<String> {
    let path = Url::parse(base_url).ok()?.path().trim_end_matches('/').to_owned();
    let what = match path {
        _ if path.ends_with("/api/v1") => return None,
        _ if path.contains("compatible-mode") => {
            "is that of the OpenAI-compatible mode, which Hark does not speak"
        }
        _ => "does not end with /api/v1",
    };
    Some(format!(
        "dashscope.base_url {base_url:?} {what}; write the service's address up to and including /api/v1, or requests are answered by 404"
    ))
}

/// A speech server's address without its usual end; a server may have another, so this is only a warning.
fn strange_recognizer(recognizer: &Recognizer) -> Option<String> {
    let Recognizer { name, base_url, .. } = recognizer;
    let path = Url::parse(base_url).ok()?.path().trim_end_matches('/').to_owned();
    (!path.ends_with("/v1")).then(|| {
        format!("recognizer {name:?}: base_url {base_url:?} does not end with /v1; requests go to {base_url}/audio/transcriptions or {base_url}/chat/completions")
    })
}

fn strange_folder(source: &DirectorySource) -> Vec<String> {
    let name = &source.name;
    let mut warnings = Vec::new();
    if source.path.is_relative() {
        warnings.push(format!(
            "source {name:?}: path {} is looked for below the folder that harkd is started in, / under systemd; begin it with /",
            source.path.display()
        ));
    }
    warnings.extend(absent_folder(source));
    if source.when_done == WhenDone::Keep && !source.failed_directory.as_os_str().is_empty() {
        warnings
            .push(format!("source {name:?} has a failed_directory, which when_done = \"keep\" does not use"));
    }
    warnings
}

fn strange_route(route: &Route) -> Vec<String> {
    let name = &route.name;
    let mut warnings = Vec::new();
    let is_of_service = !matches!(route.engine, EngineChoice::Own(_));
    // The qwen3 models learn more languages than the manual lists, so another language is only a warning.
    if is_of_service && !route.language.is_empty() && !language_codes().any(|code| code == route.language) {
        warnings.push(format!(
            "route {name:?}: language {:?} is not among those that the service lists; it may refuse it",
            route.language
        ));
    }
    if route.skip_silence && route.engine == EngineChoice::Filetrans {
        warnings.push(format!(
            "route {name:?}: skip_silence saves nothing with engine = \"filetrans\", which takes the file as it is; use \"auto\" or \"flash\""
        ));
    }
    if let Emotion::Roles(kept) = &route.emotion {
        warnings.extend(kept.iter().filter(|role| !route.roles.contains(role)).map(|role| {
            format!("route {name:?}: emotion names the role {role:?}, which is not in its `roles`; no channel has that role")
        }));
    }
    warnings
}

/// The warning about a watched folder that is not there.
fn absent_folder(source: &DirectorySource) -> Option<String> {
    let (name, folder) = (&source.name, source.path.display());
    match std::fs::metadata(&source.path) {
        Ok(found) if found.is_dir() => None,
        Ok(_) => Some(format!("source {name:?}: {folder} is not a folder; nothing is found in it")),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Some(format!(
            "source {name:?}: the folder {folder} does not exist yet; it is watched as soon as it does"
        )),
        Err(error) => Some(format!("source {name:?}: the folder {folder} cannot be looked at: {error}")),
    }
}

impl Config {
    /// Of the warnings, those about watched folders that are not there.
    pub fn warnings_of_folders(&self) -> Vec<String> {
        self.source.iter().filter_map(Source::folder).filter_map(absent_folder).collect()
    }

    /// A bucket on a private network, for a service that is not on it.
    fn unreachable_bucket(&self) -> Option<String> {
        let is_private = |url: &Url| match url.host() {
            Some(Host::Domain(name)) => is_inside(name),
            Some(Host::Ipv4(address)) => !is_public(address.into()),
            Some(Host::Ipv6(address)) => !is_public(address.into()),
            None => false,
        };
        let bucket = self.storage.bucket().ok()??;
        let service = Url::parse(&self.dashscope.base_url()).ok()?;
        let endpoint = bucket.endpoint.as_str();
        (is_private(&bucket.endpoint) && !is_private(&service)).then(|| {
            format!("storage.endpoint {endpoint:?} is on a private network, where the service cannot fetch recordings; name a server that it reaches")
        })
    }

    /// Warnings about a webhook: a receiver that the daemon may refuse to connect to, kinds that no plugin here emits, and short keys.
    fn strange_webhook(&self, webhook: &Webhook) -> Vec<String> {
        let Webhook { name, url, .. } = webhook;
        let mut warnings = Vec::new();
        let host = Url::parse(url).ok().filter(|url| url.scheme() == "http");
        if let Some(Host::Domain(host)) = host.as_ref().and_then(Url::host)
            && !is_inside(host)
        {
            warnings.push(format!(
                "webhook {name:?}: url is plain http; nothing is sent unless every address of {host} is of loopback or a private network"
            ));
        }
        let says = |plugin: &str| self.plugin.iter().any(|known| known.name == plugin);
        for plugin in webhook.kinds.iter().filter_map(|kind| kind.strip_prefix("plugin.")) {
            if !says(plugin) {
                warnings.push(format!(
                    "webhook {name:?}: kinds has plugin.{plugin}, and there is no [[plugin]] of this name here"
                ));
            }
        }
        let is_short = |secret: &Secret| signing_key(secret).is_some_and(|key| key.len() < SHORTEST_KEY);
        if webhook.secrets().is_ok_and(|secrets| secrets.iter().any(is_short)) {
            warnings.push(format!(
                "webhook {name:?}: a key in {} has less than the {SHORTEST_KEY} bytes that the Standard Webhooks scheme asks for",
                webhook.secret_file.display()
            ));
        }
        warnings
    }

    /// Looks at the present state of the machine: folders that do not exist yet, secrets that other users can read. `check` prints these,
    /// `run` logs them; neither stops for them.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = self.warnings_of_environment();
        warnings.extend(self.abilities().into_iter().map(|warning| warning.text));
        warnings
    }

    /// The warnings that are about no key of the file in particular.
    pub(super) fn warnings_of_environment(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.source.is_empty() {
            warnings.push(
                "there is no [[source]], so the daemon receives no recordings; the manual shows two".into(),
            );
        }
        warnings.extend(self.source.iter().flat_map(|source| match source {
            Source::Directory(source) => strange_folder(source),
            Source::Nats(source) => self.uncaptured_subject(source).into_iter().collect(),
        }));
        warnings.extend(self.plugin.iter().filter_map(|plugin| self.files_without_folder(plugin)));
        warnings.extend(self.route.iter().flat_map(strange_route));
        warnings.extend(self.webhook.iter().flat_map(|webhook| self.strange_webhook(webhook)));
        warnings.extend(strange_address(&self.dashscope.base_url));
        warnings.extend(self.unreachable_bucket());
        warnings.extend(self.recognizer.iter().filter_map(strange_recognizer));
        warnings.extend(self.secret_files().filter_map(|path| readable_by_all(&path)));
        warnings.extend(nats_files(&self.nats).filter_map(|(key, path)| odd_secret(key, path)));
        warnings
    }

    fn uncaptured_subject(&self, source: &NatsSource) -> Option<String> {
        let captured = format!("{}.audio.", self.nats.subject_prefix);
        let is_own = source.stream.is_empty() && !source.subject.is_empty();
        (is_own && !source.subject.starts_with(&captured)).then(|| {
            format!(
                "source {:?}: the stream {} captures {captured}> if the daemon creates it, and not {}; name a stream that does, or add it there",
                source.name, self.nats.audio_stream, source.subject
            )
        })
    }

    /// Of the plugins that ship, `subtitles` hands files over; what others do is not known here.
    fn files_without_folder(&self, plugin: &Plugin) -> Option<String> {
        if !plugin.files.as_os_str().is_empty() || !plugin.library.ends_with("subtitles") {
            return None;
        }
        let is_named = |source: &Source| {
            plugin.sources.is_empty() || plugin.sources.iter().any(|name| name == source.name())
        };
        let source =
            self.source.iter().find(|source| is_named(source) && matches!(source, Source::Nats(_)))?;
        Some(format!(
            "plugin {:?}: recordings of source {:?} come in messages and have no folder, so no files are written for them; set `files` of the plugin",
            plugin.name,
            source.name()
        ))
    }
}

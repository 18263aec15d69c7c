//! The value of keys that are empty: the region's address and models, the API key's place, the implicit route.

use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::{Config, DEFAULT_ROUTE, Dashscope, EngineChoice, Region, Route, Secret};

/// The name of the systemd credential (`LoadCredential=`), and of its file in `$CREDENTIALS_DIRECTORY`.
pub const CREDENTIAL: &str = "dashscope_api_key";
/// The variable that holds the key where there is neither file nor credential.
pub const KEY_VARIABLE: &str = "DASHSCOPE_API_KEY";

impl Config {
    /// The route of this name. After [`Config::load`] the routes of all sources exist, and `default`.
    pub fn route(&self, name: &str) -> Option<&Route> {
        self.route.iter().find(|route| route.name == name)
    }

    /// The files that hold keys, as far as the config names them or they are found. Certificates and authorities are public.
    pub fn secret_files(&self) -> impl Iterator<Item = PathBuf> {
        let nats = nats_files(&self.nats);
        let nats = nats.filter(|(key, _)| !matches!(*key, "nats.tls_ca" | "nats.tls_cert"));
        let http =
            [&self.http.token_file, &self.http.read_token_file, &self.http.tls_key].map(PathBuf::as_path);
        let own = self.recognizer.iter().map(|recognizer| recognizer.api_key_file.as_path());
        let storage = [self.storage.credentials_file.as_path()];
        let webhooks = self.webhook.iter().map(|webhook| webhook.secret_file.as_path());
        let named = nats.map(|(_, file)| file).chain(http).chain(own).chain(storage).chain(webhooks);
        let named = named.filter(|file| !file.as_os_str().is_empty());
        named.map(Path::to_owned).chain(self.dashscope.api_key_path())
    }
}

impl Config {
    /// The key of DashScope; `None`: there is none, and every route names a recognizer of the operator's own, so none is needed.
    ///
    /// # Errors
    /// As [`Dashscope::api_key`].
    pub fn dashscope_key(&self) -> Result<Option<Secret>, String> {
        let is_given = self.dashscope.api_key_path().is_some() || std::env::var_os(KEY_VARIABLE).is_some();
        if !is_given && !self.needs_dashscope() {
            return Ok(None);
        }
        self.dashscope.api_key().map(Some)
    }

    /// Whether a route may send recordings to DashScope. The route `default`, which exists without being written, counts only if a source
    /// takes it.
    pub fn needs_dashscope(&self) -> bool {
        let is_own = |route: &Route| matches!(route.engine, EngineChoice::Own(_));
        let is_default_taken = self.source.iter().any(|source| source.route() == DEFAULT_ROUTE);
        let mut routes = self.route.iter().filter(|route| is_default_taken || route.name != DEFAULT_ROUTE);
        self.recognizer.is_empty() || !routes.all(is_own)
    }
}

impl Region {
    /// The value in the config.
    pub fn as_str(self) -> &'static str {
        match self {
            Region::Singapore => "singapore",
            Region::Us => "us",
            Region::Beijing => "beijing",
        }
    }

    /// The provider's name of the region, as the hosts of workspaces contain it (the provider's documentation).
    fn on_the_wire(self) -> &'static str {
        match self {
            Region::Singapore => "ap-southeast-1",
            Region::Us => "us-east-1",
            Region::Beijing => "cn-beijing",
        }
    }
}

impl Dashscope {
    /// The service's address, up to and including `/api/v1`, without a slash at its end.
    pub fn base_url(&self) -> String {
        let general = match (self.base_url.trim_end_matches('/'), self.region) {
            ("", _) if !self.workspace.is_empty() => {
                let (workspace, region) = (&self.workspace, self.region.on_the_wire());
                return format!("https://{workspace}.{region}.maas.aliyuncs.com/api/v1");
            }
            ("", Region::Singapore | Region::Us) => "https://dashscope-intl.aliyuncs.com/api/v1",
            ("", Region::Beijing) => "https://dashscope.aliyuncs.com/api/v1",
            (address, _) => address,
        };
        general.to_owned()
    }

    /// The model for recordings of up to five minutes, which streams its text.
    pub fn flash_model(&self) -> &str {
        match (self.flash_model.as_str(), self.region) {
            ("", Region::Us) => "qwen3-asr-flash-us",
            ("", Region::Singapore | Region::Beijing) => "qwen3-asr-flash",
            (model, _) => model,
        }
    }

    /// The model for long recordings; `None` where the region has none and the config names none.
    pub fn filetrans_model(&self) -> Option<&str> {
        match (self.filetrans_model.as_str(), self.region) {
            ("", Region::Us) => None,
            ("", Region::Singapore | Region::Beijing) => Some("qwen3-asr-flash-filetrans"),
            (model, _) => Some(model),
        }
    }

    /// The API key: `api_key_file`, else the systemd credential, else the environment. Each call reads the file anew; callers keep the
    /// result.
    ///
    /// # Errors
    /// A sentence that says where the key was looked for and what to do.
    pub fn api_key(&self) -> Result<Secret, String> {
        self.api_key_from(|name| std::env::var_os(name))
    }

    /// The API key's file, if the key comes from a file.
    pub fn api_key_path(&self) -> Option<PathBuf> {
        self.api_key_path_from(|name| std::env::var_os(name))
    }

    pub(super) fn api_key_from(&self, variable: impl Fn(&str) -> Option<OsString>) -> Result<Secret, String> {
        match self.api_key_path_from(&variable) {
            Some(path) => key_in_file(&path, "dashscope.api_key_file"),
            None => match variable(KEY_VARIABLE) {
                Some(key) => usable(Secret::new(&key.to_string_lossy()), &format!("${KEY_VARIABLE}")),
                None => Err(format!(
                    "there is no API key; put it into a file and name that in dashscope.api_key_file, or hand it over as the systemd \
                     credential {CREDENTIAL}, or set {KEY_VARIABLE}"
                )),
            },
        }
    }

    fn api_key_path_from(&self, variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
        if !self.api_key_file.as_os_str().is_empty() {
            return Some(self.api_key_file.clone());
        }
        let credential = PathBuf::from(variable("CREDENTIALS_DIRECTORY")?).join(CREDENTIAL);
        // A file that exists and cannot be read is reported when it is read, not skipped.
        (!matches!(credential.try_exists(), Ok(false))).then_some(credential)
    }
}

impl Route {
    /// The text that biases recognition: `context`, or the present content of `context_file`.
    ///
    /// # Errors
    /// A sentence that names the file, if it cannot be read as UTF-8.
    pub fn context_text(&self) -> Result<String, String> {
        if self.context_file.as_os_str().is_empty() {
            return Ok(self.context.clone());
        }
        std::fs::read_to_string(&self.context_file).map_err(|error| {
            format!(
                "context_file {} of route {:?} cannot be read: {error}",
                self.context_file.display(),
                self.name
            )
        })
    }
}

/// Parses `http.listen`: an IP address and a port, `localhost` for 127.0.0.1. Port 0 stands for any free port.
///
/// # Errors
/// A sentence that shows the form.
pub fn listen_address(listen: &str) -> Result<SocketAddr, String> {
    let numeric = match listen.strip_prefix("localhost:") {
        Some(port) => format!("127.0.0.1:{port}"),
        None => listen.to_owned(),
    };
    numeric.parse().map_err(|_| {
        format!("http.listen = {listen:?} is not an address with a port; write it as \"127.0.0.1:9464\", or \"\" for off")
    })
}

/// The API key in a file. `key`: of the config, which names the file.
///
/// # Errors
/// A sentence that names the file, never its content.
pub(super) fn key_in_file(path: &Path, key: &str) -> Result<Secret, String> {
    match std::fs::read_to_string(path) {
        Ok(text) => usable(Secret::new(&text), &path.display().to_string()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(format!("the API key's file {} is not there; make it, or change {key}", path.display()))
        }
        Err(error) => Err(format!("the API key's file {} cannot be read: {error}", path.display())),
    }
}

/// The key, if it can be sent as one. `place`: where it was found.
fn usable(key: Secret, place: &str) -> Result<Secret, String> {
    match key.oddity() {
        _ if key.reveal().is_empty() => Err(format!(
            "the API key in {place} is empty; the service's console shows it once, when it is made"
        )),
        Some(oddity) => Err(format!("the API key in {place} {oddity}")),
        None if key.is_token() => Ok(key),
        None => Err(format!(
            "the API key in {place} has characters that no key has; it is one line of plain letters"
        )),
    }
}

/// The warning about a secret's file that users other than owner and group can read; `None` if they cannot, or the file does not exist.
pub(super) fn readable_by_all(path: &Path) -> Option<String> {
    let mode = std::fs::metadata(path).ok()?.permissions().mode();
    (mode & 0o007 != 0).then(|| {
        let path = path.display();
        format!("{path} holds a secret and is open to all users (mode {:o}); chmod o= {path}", mode & 0o777)
    })
}

/// The warning about a file of `[nats]` that should hold one secret and seems to hold something else; `None` also if the file cannot be
/// read, which is a mistake of its own.
pub(super) fn odd_secret(key: &str, path: &Path) -> Option<String> {
    let secret = Secret::new(&std::fs::read_to_string(path).ok()?);
    let oddity = match key {
        "nats.nkey_file" if !secret.reveal().starts_with("SU") => {
            secret.oddity().or(Some("holds no seed of a user, which begins with SU"))?
        }
        "nats.nkey_file" | "nats.password_file" | "nats.token_file" => secret.oddity()?,
        _ => return None,
    };
    Some(format!("{key} {} {oddity}", path.display()))
}

/// The files that `[nats]` names, with their keys.
pub(super) fn nats_files(nats: &super::Nats) -> impl Iterator<Item = (&'static str, &Path)> {
    [
        ("nats.credentials_file", nats.credentials_file.as_path()),
        ("nats.password_file", nats.password_file.as_path()),
        ("nats.token_file", nats.token_file.as_path()),
        ("nats.nkey_file", nats.nkey_file.as_path()),
        ("nats.tls_ca", nats.tls_ca.as_path()),
        ("nats.tls_cert", nats.tls_cert.as_path()),
        ("nats.tls_key", nats.tls_key.as_path()),
    ]
    .into_iter()
    .filter(|(_, file)| !file.as_os_str().is_empty())
}

//! `[storage]`: a bucket of the operator's own, in which a local recording gets a URL for filetrans.

use std::path::{Path, PathBuf};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::{Host, Url};

use super::{Config, Secret, is_loopback_or_private, units};

/// The variables that hold the keys where `credentials_file` is empty.
const KEY_ID: &str = "AWS_ACCESS_KEY_ID";
const SECRET_KEY: &str = "AWS_SECRET_ACCESS_KEY";
const TOKEN: &str = "AWS_SESSION_TOKEN";

/// The region of a server that has none.
const DEFAULT_REGION: &str = "us-east-1";

/// `[storage]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Storage {
    /// `s3://bucket/prefix`; empty: no bucket.
    pub url: String,
    /// Empty: AWS.
    pub endpoint: String,
    /// Empty: `us-east-1`.
    pub region: String,
    pub addressing: Addressing,
    /// TOML; empty: the variables `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and `AWS_SESSION_TOKEN`.
    pub credentials_file: PathBuf,
    /// How long a URL that the service gets is valid.
    #[serde(with = "units::duration")]
    #[schemars(with = "units::DurationText")]
    pub presign: Duration,
}

/// Where the bucket's name stands in a URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Addressing {
    /// In the host for AWS and OSS, else in the path.
    Auto,
    Path,
    Virtual,
}

/// The bucket and its address, as the keys of `[storage]` say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bucket {
    pub name: String,
    /// Of its objects' names; empty or without slashes at its ends.
    pub prefix: String,
    pub region: String,
    /// Without a slash at its end; contains the bucket's name if `is_virtual`.
    pub endpoint: Url,
    /// The bucket's name stands in the host.
    pub is_virtual: bool,
}

/// The keys that sign requests.
#[derive(Debug, Clone)]
pub struct Credentials {
    pub access_key_id: Secret,
    pub secret_access_key: Secret,
    /// Of temporary keys.
    pub session_token: Option<Secret>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CredentialsFile {
    access_key_id: String,
    secret_access_key: String,
    session_token: Option<String>,
}

impl Storage {
    /// The bucket; `None`: the service's temporary upload is used.
    ///
    /// # Errors
    /// The key that is wrong, `url`, `endpoint` or `region`, and what is wrong with it.
    pub fn bucket(&self) -> Result<Option<Bucket>, (&'static str, String)> {
        if self.url.is_empty() {
            return Ok(None);
        }
        let (name, prefix) = self.name_and_prefix().map_err(|text| ("url", text))?;
        let region = if self.region.is_empty() { DEFAULT_REGION } else { &self.region }.to_owned();
        if !region.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            let text =
                format!("region = {region:?} of [storage] is no region; write it as in \"eu-central-1\"");
            return Err(("region", text));
        }
        let mut endpoint = self.endpoint_url(&region).map_err(|text| ("endpoint", text))?;
        let is_virtual = match self.addressing {
            Addressing::Path => false,
            Addressing::Virtual => true,
            Addressing::Auto => is_virtual_by_itself(&endpoint, &name),
        };
        if is_virtual {
            let host = endpoint.host_str().unwrap_or_default();
            let host = format!("{name}.{host}");
            let is_set =
                matches!(endpoint.host(), Some(Host::Domain(_))) && endpoint.set_host(Some(&host)).is_ok();
            if !is_set {
                let text = "endpoint of [storage] is an address, and addressing = \"virtual\" needs a host name; set addressing = \"path\"";
                return Err(("endpoint", text.into()));
            }
        }
        Ok(Some(Bucket { name, prefix, region, endpoint, is_virtual }))
    }

    fn name_and_prefix(&self) -> Result<(String, String), String> {
        let url = &self.url;
        // What stands before an @ is a key; the error must not print it.
        if url.contains('@') {
            return Err(
                "url of [storage] has an @; write s3://bucket/prefix, and the keys into credentials_file"
                    .into(),
            );
        }
        let Some(rest) = url.strip_prefix("s3://") else {
            return Err(format!(
                "url = {url:?} of [storage] does not begin with s3://; write s3://bucket/prefix, also for OSS and other servers, and name \
                 the server in endpoint"
            ));
        };
        let (name, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let of_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
        if !(3..=63).contains(&name.len()) || !name.bytes().all(of_name) {
            return Err(format!(
                "url of [storage] names the bucket {name:?}; a bucket's name has 3 to 63 of a-z, 0-9, - and ."
            ));
        }
        let prefix = prefix.trim_end_matches('/');
        let of_prefix = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        let is_part = |part: &str| !matches!(part, "" | "." | "..") && part.bytes().all(of_prefix);
        if !prefix.is_empty() && !prefix.split('/').all(is_part) {
            return Err(format!(
                "url of [storage] has the prefix {prefix:?}; a prefix has a-z, A-Z, 0-9, -, _ and ., and single slashes between its parts"
            ));
        }
        Ok((name.to_owned(), prefix.to_owned()))
    }

    fn endpoint_url(&self, region: &str) -> Result<Url, String> {
        let written = match self.endpoint.as_str() {
            "" => format!("https://s3.{region}.amazonaws.com"),
            written => written.to_owned(),
        };
        let sample = "https://s3.oss-eu-central-1.aliyuncs.com";
        let Ok(url) = Url::parse(&written) else {
            return Err(format!("endpoint of [storage] is no URL; write it as {sample:?}"));
        };
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(format!(
                "endpoint of [storage] is not an http or https address; write it as {sample:?}"
            ));
        }
        let is_bare = url.username().is_empty() && url.password().is_none() && url.query().is_none();
        if !is_bare || url.path() != "/" || url.fragment().is_some() {
            return Err(format!(
                "endpoint of [storage] has more than scheme, host and port; the bucket belongs into url, keys into credentials_file; write \
                 it as {sample:?}"
            ));
        }
        let address = match url.host() {
            Some(Host::Ipv4(address)) => Some(address.into()),
            Some(Host::Ipv6(address)) => Some(address.into()),
            _ => None,
        };
        if url.scheme() == "http" && !address.is_none_or(is_loopback_or_private) {
            return Err(format!(
                "endpoint = {written:?} of [storage] is http, which is for loopback and private networks only; use https"
            ));
        }
        Ok(url)
    }

    /// The keys, read anew at each call: an operator, or what rotates temporary keys, may have written others.
    ///
    /// # Errors
    /// A sentence that names the file or the variable, never its content.
    pub fn credentials(&self) -> Result<Credentials, String> {
        let (credentials, place) = match self.credentials_file.as_os_str().is_empty() {
            true => (of_environment()?, "the environment".to_owned()),
            false => (in_file(&self.credentials_file)?, self.credentials_file.display().to_string()),
        };
        let Credentials { access_key_id, secret_access_key, session_token } = &credentials;
        let named = [("access_key_id", Some(access_key_id)), ("secret_access_key", Some(secret_access_key))];
        for (name, key) in named.into_iter().chain([("session_token", session_token.as_ref())]) {
            let is_key = |key: &Secret| {
                !key.reveal().is_empty() && key.reveal().bytes().all(|byte| byte.is_ascii_graphic())
            };
            if !key.is_none_or(is_key) {
                return Err(format!(
                    "{name} of [storage] in {place} is empty or has characters that no key has"
                ));
            }
        }
        Ok(credentials)
    }
}

impl Default for Storage {
    fn default() -> Self {
        Config::default().storage
    }
}

/// AWS and OSS want the bucket in the host; a name with a dot does not fit the certificate of their hosts.
fn is_virtual_by_itself(endpoint: &Url, bucket: &str) -> bool {
    let host = endpoint.host_str().unwrap_or_default();
    let wants =
        [".amazonaws.com", ".amazonaws.com.cn", ".aliyuncs.com"].iter().any(|end| host.ends_with(end));
    wants && !bucket.contains('.')
}

fn of_environment() -> Result<Credentials, String> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let needed = |name: &str| {
        variable(name).map(|value| Secret::new(&value)).ok_or_else(|| {
            format!("storage.url is set, credentials_file is empty and the variable {name} is not set; set one of them")
        })
    };
    Ok(Credentials {
        access_key_id: needed(KEY_ID)?,
        secret_access_key: needed(SECRET_KEY)?,
        session_token: variable(TOKEN).map(|token| Secret::new(&token)),
    })
}

fn in_file(path: &Path) -> Result<Credentials, String> {
    let shown = path.display();
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("storage.credentials_file {shown} cannot be read: {error}"))?;
    // The parser's own message quotes the line, which has a key.
    let file: CredentialsFile = toml::from_str(&text).map_err(|error: toml::de::Error| {
        let line = error.span().map_or(1, |span| text[..span.start].matches('\n').count() + 1);
        format!(
            "storage.credentials_file {shown} is wrong in line {line}; it is TOML with access_key_id and secret_access_key, and \
             session_token for temporary keys, each a text in quotes"
        )
    })?;
    Ok(Credentials {
        access_key_id: Secret::new(&file.access_key_id),
        secret_access_key: Secret::new(&file.secret_access_key),
        session_token: file.session_token.map(|token| Secret::new(&token)),
    })
}

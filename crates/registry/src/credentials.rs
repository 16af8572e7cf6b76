//! Who we are at a registry: from `castlink.toml`, from Docker's configuration file, or
//! from the credential helper that it names. Anonymous when nobody says.

use std::{collections::BTreeMap, io, path::PathBuf, process::Stdio, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use castlink_core::{Failure, Result, config};
use serde::Deserialize;
use tokio::io::AsyncWriteExt as _;

/// Docker's own key for Docker Hub.
const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";

/// The user name that says that the secret is an identity token, not a password.
const TOKEN_USER: &str = "<token>";

/// How long a credential helper may take: some of them ask their user, or a server.
const PATIENCE: Duration = Duration::from_secs(60);

/// A secret and what it is. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Credentials {
    /// User name and password (or access token).
    Password {
        /// The user.
        username: String,
        /// The secret.
        password: String,
    },
    /// An OAuth2 refresh token.
    Identity(String),
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Password { .. } => "Password(…)",
            Self::Identity(_) => "Identity(…)",
        })
    }
}

impl Credentials {
    /// The value of a `Basic` authorization header.
    pub(crate) fn basic(username: &str, password: &str) -> String {
        format!("Basic {}", BASE64.encode(format!("{username}:{password}")))
    }
}

/// The credentials for `host`.
///
/// # Errors
/// Exit 7 when the configuration names a secret that is not there, or a credential helper fails.
pub(crate) async fn find(
    host: &str,
    settings: Option<&config::Registry>,
) -> Result<Option<Credentials>> {
    if let Some(found) = settings
        .map(|settings| configured(host, settings))
        .transpose()?
        .flatten()
    {
        return Ok(Some(found));
    }
    let Some(file) = docker_file().filter(|file| file.is_file()) else {
        return Ok(None);
    };
    let text = std::fs::read_to_string(&file)
        .map_err(|err| Failure::credentials(format!("reading {}", file.display())).because(err))?;
    let docker = docker(&text)
        .map_err(|at| Failure::credentials(format!("reading {}: {at}", file.display())))?;
    match docker.stored(host) {
        Some(found) => Ok(Some(found)),
        None => match docker.helper(host) {
            Some(helper) => ask(helper, host).await,
            None => Ok(None),
        },
    }
}

fn configured(host: &str, settings: &config::Registry) -> Result<Option<Credentials>> {
    let Some(username) = settings.username.clone() else {
        return Ok(None);
    };
    let password = match (&settings.password_file, &settings.password_env) {
        (Some(file), _) => std::fs::read_to_string(file).map_err(|err| {
            Failure::credentials(format!("reading {} for registry {host}", file.display()))
                .because(err)
        })?,
        (None, Some(name)) => std::env::var(name).map_err(|err| {
            Failure::credentials(format!("${name} for registry {host}")).because(err)
        })?,
        (None, None) => {
            return Err(
                Failure::usage(format!("registry {host} has a username and no password"))
                    .hint("add password_file or password_env beside it"),
            );
        }
    };
    Ok(Some(Credentials::Password {
        username,
        password: password.trim_end_matches(['\r', '\n']).to_owned(),
    }))
}

fn docker_file() -> Option<PathBuf> {
    let directory = std::env::var_os("DOCKER_CONFIG")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".docker")))?;
    Some(directory.join("config.json"))
}

/// Reads Docker's configuration. The parser's words could quote a secret: the error says only
/// where it is.
pub(super) fn docker(text: &str) -> Result<Docker, String> {
    serde_json::from_str(text).map_err(|err| {
        let (line, column) = (err.line(), err.column());
        format!("not Docker's configuration at line {line}, column {column}")
    })
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Docker {
    auths: BTreeMap<String, Stored>,
    cred_helpers: BTreeMap<String, String>,
    creds_store: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Stored {
    auth: String,
    identitytoken: String,
}

impl Docker {
    pub(super) fn stored(&self, host: &str) -> Option<Credentials> {
        keys(host)
            .into_iter()
            .find_map(|key| self.auths.get(&key)?.credentials())
    }

    pub(super) fn helper(&self, host: &str) -> Option<&str> {
        let own = keys(host)
            .into_iter()
            .find_map(|key| self.cred_helpers.get(&key));
        own.or(self.creds_store.as_ref()).map(String::as_str)
    }
}

impl Stored {
    fn credentials(&self) -> Option<Credentials> {
        if !self.identitytoken.is_empty() {
            return Some(Credentials::Identity(self.identitytoken.clone()));
        }
        let plain = String::from_utf8(BASE64.decode(self.auth.trim()).ok()?).ok()?;
        let (username, password) = plain.trim_end_matches('\0').split_once(':')?;
        Some(Credentials::Password {
            username: username.into(),
            password: password.into(),
        })
    }
}

/// The spellings under which Docker's tools store one registry.
fn keys(host: &str) -> Vec<String> {
    let mut keys = vec![
        host.to_owned(),
        format!("https://{host}"),
        format!("https://{host}/"),
    ];
    if host == "docker.io" {
        keys.extend([DOCKER_HUB_KEY.to_owned(), "index.docker.io".to_owned()]);
    }
    keys
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HelperAnswer {
    username: String,
    secret: String,
}

/// Asks `docker-credential-NAME get`, the protocol of docker/docker-credential-helpers. The
/// helper says by its exit code that it knows nothing about the registry.
async fn ask(helper: &str, host: &str) -> Result<Option<Credentials>> {
    let program = format!("docker-credential-{helper}");
    let failed =
        || Failure::credentials(format!("credential helper {program} for registry {host}"));
    let answer = tokio::time::timeout(PATIENCE, converse(&program, host)).await;
    let Ok(answer) = answer else {
        let text = format!("it has not answered after {} s", PATIENCE.as_secs());
        return Err(failed().because(text));
    };
    let output = answer.map_err(|err| {
        let missing = err.kind() == io::ErrorKind::NotFound;
        let failure = failed().because(err);
        match missing {
            true => failure.hint("install it, or take it out of Docker's config.json"),
            false => failure,
        }
    })?;
    if !output.status.success() {
        return Ok(None);
    }
    // The parser's error could quote the secret: it is dropped.
    let answer: HelperAnswer = serde_json::from_slice(&output.stdout).map_err(|_| failed())?;
    Ok(Some(match answer.username.as_str() {
        TOKEN_USER => Credentials::Identity(answer.secret),
        _ => Credentials::Password {
            username: answer.username,
            password: answer.secret,
        },
    }))
}

/// Tells the helper which registry it is about, and hears it out.
async fn converse(program: &str, host: &str) -> io::Result<std::process::Output> {
    let mut child = tokio::process::Command::new(program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        let key = if host == "docker.io" {
            DOCKER_HUB_KEY
        } else {
            host
        };
        // A helper that has answered without listening is no failure.
        match stdin.write_all(key.as_bytes()).await {
            Err(err) if err.kind() != io::ErrorKind::BrokenPipe => return Err(err),
            _ => {}
        }
    }
    child.wait_with_output().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docker_files_are_read_in_all_spellings() {
        let text = format!(
            r#"{{"auths": {{
                "ghcr.io": {{"auth": "{}"}},
                "https://index.docker.io/v1/": {{"auth": "{}"}},
                "acr.example": {{"identitytoken": "t"}},
                "empty.example": {{}}
            }}, "credHelpers": {{"gcr.io": "gcloud"}}, "credsStore": "desktop", "other": 1}}"#,
            BASE64.encode("me:pass:word"),
            BASE64.encode("hub:secret"),
        );
        let docker: Docker = serde_json::from_str(&text).unwrap();
        let password = |username: &str, password: &str| {
            Some(Credentials::Password {
                username: username.into(),
                password: password.into(),
            })
        };
        assert_eq!(docker.stored("ghcr.io"), password("me", "pass:word"));
        assert_eq!(docker.stored("docker.io"), password("hub", "secret"));
        assert_eq!(
            docker.stored("acr.example"),
            Some(Credentials::Identity("t".into()))
        );
        assert_eq!(docker.stored("empty.example"), None);
        assert_eq!(docker.helper("gcr.io"), Some("gcloud"));
        assert_eq!(docker.helper("quay.io"), Some("desktop"));
    }

    #[test]
    fn secrets_are_not_printed() {
        let secret = Credentials::Password {
            username: "u".into(),
            password: "hunter2".into(),
        };
        assert!(!format!("{secret:?}").contains("hunter2"));
    }

    #[tokio::test]
    async fn configured_secrets_must_exist() {
        let mut settings = config::Registry {
            username: Some("u".into()),
            ..config::Registry::default()
        };
        let err = find("h", Some(&settings)).await.unwrap_err();
        assert_eq!(err.exit(), castlink_core::Exit::Usage);
        settings.password_file = Some("/nonexistent/castlink".into());
        let err = find("h", Some(&settings)).await.unwrap_err();
        assert_eq!(err.exit(), castlink_core::Exit::Credentials);
    }
}

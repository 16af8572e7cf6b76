//! Reading the configuration: layers of files and environment, each remembered, so that
//! a mistake names its file and `config show` the origin of every value.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    path::{Path, PathBuf},
};

use figment::{
    Figment,
    providers::{Env, Format, Serialized, Toml},
};
use serde_json::Value;

use super::{
    Config,
    mistake::{self, Layer},
};
use crate::{Failure, Result};

/// A configuration and where its values came from.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The merged values, before flags.
    pub config: Config,
    /// What each source said, the strongest last.
    layers: Vec<Layer>,
}

impl Loaded {
    /// Reads `file` (or `$CASTLINK_CONFIG`, or the usual files), lays the section
    /// `[env.NAME]` over them (`section`, or `$CASTLINK_ENV`), and the environment over that.
    ///
    /// # Errors
    /// Exit 2: a named file is missing, a value has the wrong type, a key is unknown,
    /// the section does not exist, an endpoint holds credentials, or repository settings
    /// contradict each other.
    pub fn read(file: Option<&Path>, section: Option<&str>) -> Result<Self> {
        let file = file
            .map(Path::to_owned)
            .or_else(|| set("CASTLINK_CONFIG").map(PathBuf::from));
        let section = section
            .map(str::to_owned)
            .or_else(|| set("CASTLINK_ENV").and_then(|name| name.into_string().ok()));
        let mut layers = Vec::new();
        let mut figment = Figment::from(Serialized::defaults(Config::default()));
        for file in files(file)? {
            let toml = || Toml::file_exact(&file);
            layers.push((file.display().to_string(), values(Figment::from(toml()))));
            figment = figment.merge(toml());
        }
        let sections = extract(&figment, &layers)?.env;
        for (name, table) in &sections {
            check_section(&figment, &layers, name, table)?;
        }
        if let Some(name) = section {
            let table = sections.get(&name);
            let table = table.ok_or_else(|| no_section(&name, &sections))?;
            let section = Serialized::defaults(table);
            layers.push(section_layer(&name, table));
            figment = figment.merge(section);
        }
        layers.push((
            mistake::ENVIRONMENT.into(),
            values(Figment::from(environment())),
        ));
        let mut config = extract(&figment.merge(environment()), &layers)?;
        config.env.clear();
        mistake::refuse_credentials(&config)?;
        config.mirror.repository.check()?;
        Ok(Self { config, layers })
    }

    /// Where the value at `path` (`["aws", "region"]`) came from.
    #[must_use]
    pub fn origin(&self, path: &[&str]) -> &str {
        mistake::origin(&self.layers, path).unwrap_or("default")
    }
}

/// A section that is not in use is looked at as well: what is wrong in it would be found
/// on the day that it is needed.
fn check_section(
    figment: &Figment,
    layers: &[Layer],
    name: &str,
    table: &toml::Table,
) -> Result<()> {
    let merged = figment.clone().merge(Serialized::defaults(table));
    let layers = [layers, &[section_layer(name, table)]].concat();
    let config = extract(&merged, &layers)?;
    mistake::refuse_credentials(&config)
}

fn section_layer(name: &str, table: &toml::Table) -> Layer {
    let section = Figment::from(Serialized::defaults(table));
    (format!("[env.{name}]"), values(section))
}

/// `CASTLINK_AWS__REGION`: two underscores between levels, one within a name. Without
/// two it is a variable of something else (CASTLINK_CONFIG, CASTLINK_CACHE).
fn environment() -> Env {
    Env::prefixed("CASTLINK_")
        .filter(|key| key.as_str().contains("__"))
        .split("__")
}

/// What a source says; nothing when it cannot be read, which extraction reports.
fn values(source: Figment) -> Value {
    source.extract().unwrap_or_default()
}

fn extract(figment: &Figment, layers: &[Layer]) -> Result<Config> {
    figment
        .extract()
        .map_err(|err| mistake::explain(&err, layers))
}

/// A variable that is set and not empty: CI sets empty ones for what it has not.
fn set(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

fn files(given: Option<PathBuf>) -> Result<Vec<PathBuf>> {
    if let Some(file) = given {
        return if file.is_file() {
            Ok(vec![file])
        } else {
            Err(Failure::usage(format!(
                "configuration file {} does not exist",
                file.display()
            )))
        };
    }
    let project = Path::new("castlink.toml").to_path_buf();
    let user = below("XDG_CONFIG_HOME", ".config").map(|dir| dir.join("castlink.toml"));
    Ok([user, Some(project)]
        .into_iter()
        .flatten()
        .filter(|file| file.is_file())
        .collect())
}

/// Where journals and records of runs are kept: `$XDG_STATE_HOME/castlink`, else
/// `~/.local/state/castlink`.
#[must_use]
pub fn state_dir() -> Option<PathBuf> {
    below("XDG_STATE_HOME", ".local/state")
}

fn below(variable: &str, home: &str) -> Option<PathBuf> {
    let base = set(variable)
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(set("HOME")?).join(home)))?;
    Some(base.join("castlink"))
}

fn no_section(name: &str, sections: &BTreeMap<String, toml::Table>) -> Failure {
    let known: Vec<&str> = sections.keys().map(String::as_str).collect();
    let failure = Failure::usage(format!("the configuration has no section [env.{name}]"));
    match nearest(name, &known) {
        Some(near) => failure.hint(format!("did you mean `--env {near}`?")),
        None => failure,
    }
}

/// The closest of `known` to `word`, when one is close enough to be meant.
#[must_use]
pub fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    known
        .iter()
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), *candidate))
        .filter(|(distance, candidate)| *distance <= candidate.len() / 3 + 1)
        .min()
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, env: Option<&str>) -> Result<Config> {
        let file = temporary().join("castlink.toml");
        std::fs::write(&file, text).unwrap();
        let loaded = Loaded::read(Some(&file), env);
        std::fs::remove_file(&file).unwrap();
        loaded.map(|loaded| loaded.config)
    }

    /// A directory of this test alone.
    fn temporary() -> PathBuf {
        let thread = std::thread::current().id();
        let name = format!("castlink-config-{}-{thread:?}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&dir).unwrap();
        dir
    }

    const FILE: &str = r#"
        [aws]
        region = "us-east-1"
        [mirror]
        concurrency = 4
        [registries."ghcr.io"]
        endpoint = "https://harbor.corp/ghcr-proxy"
        [env.prod.aws]
        region = "ap-south-1"
    "#;

    #[test]
    fn defaults_file_and_named_section() {
        let plain = read(FILE, None).unwrap();
        assert_eq!(plain.aws.region.as_deref(), Some("us-east-1"));
        assert_eq!(plain.mirror.concurrency, 4);
        assert_eq!(
            plain.mirror.attempts,
            super::super::Mirror::default().attempts
        );
        assert_eq!(
            plain.registries["ghcr.io"].endpoint.as_deref(),
            Some("https://harbor.corp/ghcr-proxy")
        );
        let prod = read(FILE, Some("prod")).unwrap();
        assert_eq!(prod.aws.region.as_deref(), Some("ap-south-1"));
        assert_eq!(prod.mirror.concurrency, 4);
    }

    #[test]
    fn origins_are_files_sections_and_defaults() {
        let file = temporary().join("origin.toml");
        std::fs::write(&file, FILE).unwrap();
        let loaded = Loaded::read(Some(&file), Some("prod")).unwrap();
        assert_eq!(loaded.origin(&["aws", "region"]), "[env.prod]");
        assert_eq!(loaded.origin(&["mirror", "attempts"]), "default");
        let path = file.display().to_string();
        assert_eq!(loaded.origin(&["registries", "ghcr.io", "endpoint"]), path);
        std::fs::remove_file(&file).unwrap();
    }

    #[test]
    fn durations_and_limits_of_files() {
        let read = |text: &str| read(text, None).map(|config| config.upgrade.timeout);
        assert_eq!(read("[upgrade]\ntimeout = '5m'").unwrap(), 300);
        assert_eq!(read("[upgrade]\ntimeout = 90").unwrap(), 90);
        for bad in ["timeout = 'soon'", "parallel = 0"] {
            assert!(read(&format!("[upgrade]\n{bad}")).is_err(), "{bad}");
        }
    }

    #[test]
    fn mistakes_name_the_key_and_the_fix() {
        for (text, env, message, hint) in [
            (
                "[aws]\nregoin = 'x'",
                None,
                "unknown key `regoin`",
                "did you mean `region`?",
            ),
            (
                "[mirror]\nconcurrency = 'x'",
                None,
                "`mirror.concurrency`",
                "",
            ),
            (FILE, Some("prd"), "[env.prd]", "--env prod"),
            (
                "[registries.ghcr.io]\nca = 'x'",
                None,
                "unknown key `io`",
                "quote the host",
            ),
            (
                "[registries.'r']\nendpoint = 'https://u:p@h'",
                None,
                "credentials",
                "password_file",
            ),
            (
                "[registries.'r']\nproxy = 'http://u:p@h:3128'",
                None,
                "proxy of registry r holds credentials",
                "HTTPS_PROXY",
            ),
            (
                "[mirror.repository]\nencryption = 'AES256'\nkms_key = 'alias/x'",
                None,
                "`mirror.repository.kms_key`",
                "KMS",
            ),
            (
                "[mirror.repository]\nimmutable_except = ['la test']",
                None,
                "`la test`",
                "",
            ),
            (
                "[mirror.repository]\nencryption = 'SSE'",
                None,
                "`mirror.repository.encryption`",
                "",
            ),
            (
                "[registries.'r']\nendpoint = 'https:///u:p@h'",
                None,
                "endpoint of registry r holds credentials",
                "password_file",
            ),
            (
                "[env.prod.aws]\nregoin = 'x'",
                None,
                "unknown key `regoin` in [env.prod]",
                "did you mean `region`?",
            ),
            (
                "[env.prod.mirror]\nconcurrency = 'x'",
                Some("prod"),
                "`mirror.concurrency` in [env.prod]",
                "",
            ),
            ("[aws", None, "castlink.toml", ""),
        ] {
            let err = read(text, env).unwrap_err();
            assert_eq!(err.exit(), crate::Exit::Usage);
            assert!(err.to_string().contains(message), "{err}");
            assert!(
                err.hint_text().unwrap_or_default().contains(hint),
                "{err:?}"
            );
        }
    }
}

//! What is wrong with a configuration: the key, where it was written, and what was meant.

use figment::error::Kind;
use serde_json::Value;

use super::{Config, load::nearest};
use crate::{Failure, Result};

/// One source of values: its name, and what it says.
pub(super) type Layer = (String, Value);

/// The name of the layer that environment variables make.
pub(super) const ENVIRONMENT: &str = "environment";

/// The strongest of `layers`, the strongest last, that has a value at `path`.
pub(super) fn origin<'a, K: AsRef<str>>(layers: &'a [Layer], path: &[K]) -> Option<&'a str> {
    let has = |layer: &Value| {
        let mut keys = path.iter().map(AsRef::as_ref);
        let found = keys.try_fold(layer, |at, key| at.get(key));
        found.is_some_and(|value| !value.is_null())
    };
    let layer = layers.iter().rev().find(|(_, layer)| has(layer))?;
    Some(&layer.0)
}

/// What figment found, in words.
pub(super) fn explain(err: &figment::Error, layers: &[Layer]) -> Failure {
    let first = err.clone().into_iter().next();
    let first = first.unwrap_or_else(|| err.clone());
    let mut path = first.path.clone();
    if let Kind::UnknownField(field, _) = &first.kind
        && path.last() != Some(field)
    {
        path.push(field.clone());
    }
    let at = match origin(layers, &path) {
        Some(ENVIRONMENT) => format!("environment variable {}", variable(&path)),
        Some(layer) if !path.is_empty() => layer.to_owned(),
        _ => source(&first),
    };
    let key = first.path.join(".");
    match &first.kind {
        Kind::UnknownField(field, known) => {
            let failure = Failure::usage(format!("unknown key `{field}` in {at}"));
            failure.hint(meant(field, known, &first.path))
        }
        kind if key.is_empty() => Failure::usage(format!("{at}: {kind}")),
        kind => Failure::usage(format!("`{key}` in {at}: {kind}")),
    }
}

fn meant(field: &str, known: &[&str], path: &[String]) -> String {
    // `[registries.ghcr.io]` is a table `io` in a registry `ghcr`.
    let registry = path.iter().any(|key| key == "registries");
    match nearest(field, known) {
        Some(near) => format!("did you mean `{near}`?"),
        None if registry => format!(
            "quote the host, [registries.\"ghcr.io\"]; known keys below it: {}",
            known.join(", ")
        ),
        None => format!("known keys here: {}", known.join(", ")),
    }
}

/// The file that could not be read as what it should be.
fn source(err: &figment::Error) -> String {
    let source = err.metadata.as_ref().and_then(|meta| meta.source.as_ref());
    match source {
        Some(figment::Source::File(path)) => path.display().to_string(),
        Some(other) => other.to_string(),
        None => "the configuration".to_owned(),
    }
}

/// The variable that says what is at `path`, as it is spelled in the environment.
fn variable(path: &[String]) -> String {
    let name = format!("CASTLINK_{}", path.join("__"));
    std::env::vars_os()
        .filter_map(|(name, _)| name.into_string().ok())
        .find(|candidate| candidate.eq_ignore_ascii_case(&name))
        .unwrap_or_else(|| name.to_uppercase())
}

/// A URL is printed in errors and by `config show`: it must not hold a password.
///
/// # Errors
/// Exit 2 when one of a registry does.
pub(super) fn refuse_credentials(config: &Config) -> Result<()> {
    for (host, registry) in &config.registries {
        if registry.endpoint.as_deref().is_some_and(holds_credentials) {
            return Err(Failure::usage(format!(
                "the endpoint of registry {host} holds credentials"
            ))
            .hint("take them out of the URL: set username, and password_file or password_env"));
        }
        if registry.proxy.as_deref().is_some_and(holds_credentials) {
            return Err(
                Failure::usage(format!("the proxy of registry {host} holds credentials"))
                    .hint("take it out, and give the URL in HTTPS_PROXY instead"),
            );
        }
    }
    Ok(())
}

/// Anywhere in it: readers of URLs skip slashes, and repositories have no `@`.
fn holds_credentials(url: &str) -> bool {
    url.contains('@')
}

//! The tools, and how each is told to copy the set: as its documentation has it, with its
//! own defaults.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::ValueEnum;
use serde::Serialize;

use super::exec::Job;
use super::images::{HOST, Load, OWNER, RELEASES, TAG, destination, repository};
use crate::peers::Peer;
use crate::process;

/// Images that regsync copies at once: all.
const REGSYNC_PARALLEL: usize = 10;
/// What `--retry-times` is set to where skopeo is given a second chance.
const SKOPEO_RETRIES: &str = "3";

/// A way to copy the set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Tool {
    /// castlink-mirror, one process for all images
    Castlink,
    /// skopeo copy --all, one image after the other
    Skopeo,
    /// skopeo with --retry-times
    SkopeoRetry,
    /// crane copy, one image after the other
    Crane,
    /// regctl image copy, one image after the other
    Regctl,
    /// regsync once, all images at once
    Regsync,
}

/// The executables.
#[derive(Clone, Debug)]
pub struct Kit {
    castlink: PathBuf,
    peers: BTreeMap<Peer, PathBuf>,
}

/// From where to where.
#[derive(Clone, Debug)]
pub struct Errand<'a> {
    /// The source registry, or the network before it.
    pub source: SocketAddr,
    /// What to copy.
    pub load: Load,
    /// The destination registry, or the network before it.
    pub destination: SocketAddr,
    /// A directory of the tool's own, its home.
    pub home: &'a Path,
}

impl Tool {
    /// Those that a benchmark compares.
    pub const COMPARED: [Self; 5] = [
        Self::Castlink,
        Self::Skopeo,
        Self::Crane,
        Self::Regctl,
        Self::Regsync,
    ];

    /// What tables call it.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Castlink => "castlink",
            Self::Skopeo => "skopeo",
            Self::SkopeoRetry => "skopeo, 3 retries",
            Self::Crane => "crane",
            Self::Regctl => "regctl",
            Self::Regsync => "regsync",
        }
    }

    fn peer(self) -> Option<Peer> {
        match self {
            Self::Castlink => None,
            Self::Skopeo | Self::SkopeoRetry => Some(Peer::Skopeo),
            Self::Crane => Some(Peer::Crane),
            Self::Regctl => Some(Peer::Regctl),
            Self::Regsync => Some(Peer::Regsync),
        }
    }

    /// How it copies every image; writes its configuration into its home.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn job(self, kit: &Kit, errand: &Errand<'_>) -> Result<Job> {
        let commands = match self {
            Self::Castlink => castlink(kit, errand)?,
            Self::Skopeo => skopeo(kit.peer(Peer::Skopeo)?, errand, &[]),
            Self::SkopeoRetry => {
                let retries = ["--retry-times", SKOPEO_RETRIES];
                skopeo(kit.peer(Peer::Skopeo)?, errand, &retries)
            }
            Self::Crane => each(errand, kit.peer(Peer::Crane)?, &["copy"]),
            Self::Regctl => regctl(kit.peer(Peer::Regctl)?, errand)?,
            Self::Regsync => regsync(kit.peer(Peer::Regsync)?, errand)?,
        };
        let home = errand.home.display().to_string();
        let path = std::env::var("PATH").unwrap_or_default();
        let env = [("HOME", home), ("PATH", path)];
        Ok(Job {
            commands,
            env: env.map(|(key, value)| (key.to_owned(), value)).into(),
            dir: errand.home.to_owned(),
            log: errand.home.join("output.log"),
        })
    }
}

impl Kit {
    /// The executables of `tools`, set up when missing; `castlink` in place of the built
    /// castlink-mirror. Blocks while something is built.
    ///
    /// # Errors
    /// When one cannot be had; the error says what to do.
    pub fn ensure(tools: &[Tool], castlink: Option<&Path>, say: &dyn Fn(&str)) -> Result<Self> {
        let castlink = match castlink {
            Some(path) => path
                .canonicalize()
                .with_context(|| format!("cannot run {}", path.display()))?,
            None => process::binary("castlink-mirror")?,
        };
        let wanted: BTreeSet<_> = tools.iter().filter_map(|tool| tool.peer()).collect();
        let set_up = |peer: Peer| Ok((peer, peer.ensure(say)?));
        let peers = wanted.into_iter().map(set_up).collect::<Result<_>>()?;
        Ok(Self { castlink, peers })
    }

    /// Versions, for the record.
    ///
    /// # Errors
    /// When a program does not run.
    pub fn versions(&self) -> Result<Vec<String>> {
        let peers = self.peers.iter();
        peers.map(|(peer, path)| peer.version(path)).collect()
    }

    /// castlink-mirror.
    #[must_use]
    pub fn castlink(&self) -> &Path {
        &self.castlink
    }

    fn peer(&self, peer: Peer) -> Result<&Path> {
        let found = self.peers.get(&peer).map(PathBuf::as_path);
        found.with_context(|| format!("{} was not asked for", peer.name()))
    }
}

impl Errand<'_> {
    /// The path prefix at the source.
    fn release(&self) -> &'static str {
        RELEASES[self.load.release]
    }

    fn from(&self, name: &str) -> String {
        format!("{}/{}:{TAG}", self.source, repository(self.release(), name))
    }

    fn to(&self, name: &str) -> String {
        format!("{}/{}:{TAG}", self.destination, destination(name))
    }
}

/// The references as manifests would have them.
#[must_use]
pub fn references(load: Load) -> Vec<String> {
    let reference = |name: &&str| format!("{HOST}/{OWNER}/{name}:{TAG}");
    load.images.iter().map(reference).collect()
}

fn castlink(kit: &Kit, errand: &Errand<'_>) -> Result<Vec<Vec<String>>> {
    let (source, destination) = (errand.source, errand.destination);
    let text = format!(
        "[registries.\"{HOST}\"]\nendpoint = \"http://{source}/{}\"\n\n\
         [registries.\"{destination}\"]\nendpoint = \"http://{destination}\"\n",
        errand.release()
    );
    fs::write(errand.home.join("castlink.toml"), text)?;
    let mut command = vec![kit.castlink.display().to_string(), "copy".to_owned()];
    command.extend(references(errand.load));
    command.extend(["--to".to_owned(), destination.to_string()]);
    Ok(vec![command])
}

/// One call per image: `program args… FROM TO`.
fn each(errand: &Errand<'_>, program: &Path, args: &[&str]) -> Vec<Vec<String>> {
    let call = |name: &&str| {
        let words = args.iter().map(ToString::to_string);
        let program = [program.display().to_string()];
        let names = [errand.from(name), errand.to(name)];
        program.into_iter().chain(words).chain(names).collect()
    };
    errand.load.images.iter().map(call).collect()
}

fn skopeo(program: &Path, errand: &Errand<'_>, more: &[&str]) -> Vec<Vec<String>> {
    let mut args = vec!["--insecure-policy", "copy", "--quiet", "--all"];
    args.extend(["--src-tls-verify=false", "--dest-tls-verify=false"]);
    args.extend(more);
    let mut calls = each(errand, program, &args);
    for names in calls.iter_mut().map(|call| call.iter_mut().rev().take(2)) {
        names.for_each(|name| name.insert_str(0, "docker://"));
    }
    calls
}

fn regctl(program: &Path, errand: &Errand<'_>) -> Result<Vec<Vec<String>>> {
    let host = |addr: &SocketAddr| {
        let plain = serde_json::json!({"tls": "disabled", "hostname": addr.to_string()});
        (addr.to_string(), plain)
    };
    let hosts: serde_json::Map<_, _> = [&errand.source, &errand.destination]
        .map(host)
        .into_iter()
        .collect();
    let dir = errand.home.join(".regctl");
    fs::create_dir_all(&dir)?;
    let config = serde_json::json!({"hosts": hosts});
    fs::write(dir.join("config.json"), config.to_string())?;
    Ok(each(errand, program, &["image", "copy"]))
}

fn regsync(program: &Path, errand: &Errand<'_>) -> Result<Vec<Vec<String>>> {
    let mut text = "version: 1\ncreds:\n".to_owned();
    for addr in [errand.source, errand.destination] {
        writeln!(text, "  - registry: \"{addr}\"\n    tls: disabled")?;
    }
    writeln!(text, "defaults:\n  parallel: {REGSYNC_PARALLEL}\nsync:")?;
    for name in errand.load.images {
        let (from, to) = (errand.from(name), errand.to(name));
        writeln!(
            text,
            "  - source: {from}\n    target: {to}\n    type: image"
        )?;
    }
    let file = errand.home.join("regsync.yaml");
    fs::write(&file, text)?;
    let call = [
        program.as_os_str(),
        "once".as_ref(),
        "-c".as_ref(),
        file.as_os_str(),
    ];
    Ok(vec![
        call.map(|word| word.to_string_lossy().into_owned())
            .to_vec(),
    ])
}

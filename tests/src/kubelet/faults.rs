//! What the simulated kubelets can be told to get wrong.
//!
//! Faults are set in-process or by rewriting a JSON file; every pod worker hears of a
//! change at once. Images are matched by substring, nodes by name.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// How long a container with a `crash` fault runs before it exits.
const CRASH_AFTER: Duration = Duration::from_millis(500);
/// How often the file's modification time is looked at.
const FILE_POLL: Duration = Duration::from_millis(200);

/// The faults in force; the default is none.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Faults {
    /// Containers of these images exit with code 1 soon after they start.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub crash: Vec<String>,
    /// The same, after this many seconds: long enough to look ready first.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub crash_after: BTreeMap<String, f64>,
    /// Containers of these images run but never become ready.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notready: Vec<String>,
    /// Pulling these images takes this many seconds.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub slow: BTreeMap<String, f64>,
    /// The registry answers 403 for these images.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub deny: Vec<String>,
    /// The registry answers 429 for these images.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub throttle: Vec<String>,
    /// The registry does not have these images.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
    /// These images have no manifest for these architectures.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub noarch: BTreeMap<String, Vec<String>>,
    /// The runtime shows this as the id of these images, whatever it pulled.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub image_id: BTreeMap<String, String>,
    /// These nodes are dead: no heartbeat, no pod work.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub node_down: Vec<String>,
}

impl Faults {
    /// How long a container of `image` lives, when it is to crash.
    #[must_use]
    pub fn lifetime(&self, image: &str) -> Option<Duration> {
        let listed = any(&self.crash, image).then_some(CRASH_AFTER);
        seconds(&self.crash_after, image).or(listed)
    }

    /// Whether containers of `image` stay unready.
    #[must_use]
    pub fn never_ready(&self, image: &str) -> bool {
        any(&self.notready, image)
    }

    /// How long pulling `image` takes at least.
    #[must_use]
    pub fn pull_time(&self, image: &str) -> Option<Duration> {
        seconds(&self.slow, image)
    }

    /// Whether the registry is to refuse `image`.
    #[must_use]
    pub fn denied(&self, image: &str) -> bool {
        any(&self.deny, image)
    }

    /// Whether the registry is to have no time for `image`.
    #[must_use]
    pub fn throttled(&self, image: &str) -> bool {
        any(&self.throttle, image)
    }

    /// Whether the registry is to lack `image`.
    #[must_use]
    pub fn absent(&self, image: &str) -> bool {
        any(&self.missing, image)
    }

    /// Whether `image` is to lack a manifest for `arch`.
    #[must_use]
    pub fn lacks_arch(&self, image: &str, arch: &str) -> bool {
        let mut entries = self.noarch.iter();
        entries.any(|(part, archs)| image.contains(part) && archs.iter().any(|a| a == arch))
    }

    /// What the runtime shows as the id of `image`, when it is another than what it pulled.
    #[must_use]
    pub fn other_id(&self, image: &str) -> Option<&str> {
        entry(&self.image_id, image).map(String::as_str)
    }

    /// Whether the node called `name` is dead.
    #[must_use]
    pub fn is_down(&self, name: &str) -> bool {
        self.node_down.iter().any(|node| node == name)
    }

    /// Reads `path`; a file that does not exist means no faults.
    ///
    /// # Errors
    /// When the file cannot be read or holds anything but faults.
    pub fn read(path: &Path) -> Result<Self> {
        let text = match fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            other => other.with_context(|| format!("cannot read {}", path.display()))?,
        };
        serde_json::from_slice(&text).with_context(|| format!("bad faults in {}", path.display()))
    }

    /// Writes `path` in one step, so that no reader sees half a file.
    ///
    /// # Errors
    /// The file system's.
    pub fn write(&self, path: &Path) -> Result<()> {
        let draft = path.with_extension("tmp");
        fs::write(&draft, serde_json::to_vec_pretty(self)?)
            .and_then(|()| fs::rename(&draft, path))
            .with_context(|| format!("cannot write {}", path.display()))
    }
}

/// Follows `path` for as long as somebody listens; a broken file changes nothing.
pub(super) async fn follow(path: PathBuf, faults: watch::Sender<Faults>) {
    let mut seen: Option<SystemTime> = None;
    let mut looks = tokio::time::interval(FILE_POLL);
    while !faults.is_closed() {
        let modified = fs::metadata(&path).and_then(|meta| meta.modified()).ok();
        if modified != seen {
            seen = modified;
            if let Ok(read) = Faults::read(&path) {
                faults.send_replace(read);
            }
        }
        looks.tick().await;
    }
}

fn any(parts: &[String], image: &str) -> bool {
    parts.iter().any(|part| image.contains(part))
}

fn seconds(entries: &BTreeMap<String, f64>, image: &str) -> Option<Duration> {
    let seconds = entry(entries, image)?;
    Duration::try_from_secs_f64(*seconds).ok()
}

fn entry<'a, T>(entries: &'a BTreeMap<String, T>, image: &str) -> Option<&'a T> {
    let found = entries.iter().find(|(part, _)| image.contains(*part));
    found.map(|(_, value)| value)
}

//! The other registry copiers: what castlink-mirror is measured against and what must be
//! able to read what it writes.
//!
//! crane, regctl and regsync are pinned in the Go module `tests/peers` and built into the
//! cache, each by itself, so that a suite which wants one does not wait for the others.
//! skopeo links C libraries and is the distribution's package. Own binaries win:
//! `TEST_ASSET_CRANE` and so on.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::cache;
use crate::golang::Program;
use crate::servers::given;

/// The module that pins the Go programs.
const FILES: [(&str, &str); 2] = [
    ("go.mod", include_str!("../peers/go.mod")),
    ("go.sum", include_str!("../peers/go.sum")),
];
/// How skopeo comes onto the machine.
const INSTALL: [&str; 5] = [
    "apt-get",
    "install",
    "-y",
    "--no-install-recommends",
    "skopeo",
];

/// A copier that is not ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Peer {
    /// From the distribution's packages.
    Skopeo,
    /// Of go-containerregistry.
    Crane,
    /// Of regclient: one image per call.
    Regctl,
    /// Of regclient: many images by a configuration.
    Regsync,
}

impl Peer {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Skopeo, Self::Crane, Self::Regctl, Self::Regsync];

    /// Its executable's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Skopeo => "skopeo",
            Self::Crane => "crane",
            Self::Regctl => "regctl",
            Self::Regsync => "regsync",
        }
    }

    /// Its executable, set up when it is missing; `say` gets progress lines.
    ///
    /// Blocks for a minute when it has to be built: call it from a thread that may.
    ///
    /// # Errors
    /// When it cannot be built or installed; the error says what the user can do.
    pub fn ensure(self, say: &dyn Fn(&str)) -> Result<PathBuf> {
        if let Some(own) = given(self.name())? {
            return Ok(own);
        }
        match self.package() {
            Some(package) => self.build(package, say),
            None => skopeo(say),
        }
    }

    /// Its version, as the module's pins or the program itself say.
    ///
    /// # Errors
    /// When the program does not run.
    pub fn version(self, program: &Path) -> Result<String> {
        let Some(package) = self.package() else {
            let output = Command::new(program).arg("--version").output()?;
            return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
        };
        let mut pins = FILES[0].1.lines().filter_map(|line| {
            let (module, version) = line.trim().split_once(' ')?;
            let below = package.strip_prefix(module)?;
            below.starts_with('/').then_some(version)
        });
        let pin = pins
            .next()
            .with_context(|| format!("go.mod does not pin {package}"))?;
        let version = pin.split(' ').next().unwrap_or(pin);
        Ok(format!("{} {version}", self.name()))
    }

    /// The Go package of its executable.
    fn package(self) -> Option<&'static str> {
        match self {
            Self::Skopeo => None,
            Self::Crane => Some("github.com/google/go-containerregistry/cmd/crane"),
            Self::Regctl => Some("github.com/regclient/regclient/cmd/regctl"),
            Self::Regsync => Some("github.com/regclient/regclient/cmd/regsync"),
        }
    }

    fn build(self, package: &str, say: &dyn Fn(&str)) -> Result<PathBuf> {
        let name = self.name();
        let program = Program {
            title: name,
            files: &FILES,
            package,
            linker: "-s -w",
            takes: "half a minute on two cores",
            instead: &format!("name a {name} in TEST_ASSET_{}", name.to_uppercase()),
        };
        let dir = program.ensure(&format!("peers/{name}"), name, say, |_| Ok(()))?;
        Ok(dir.join(name))
    }
}

fn skopeo(say: &dyn Fn(&str)) -> Result<PathBuf> {
    if let Some(found) = on_path("skopeo") {
        return Ok(found);
    }
    let by_hand = format!("run `{}` as root", INSTALL.join(" "));
    if !rustix::process::geteuid().is_root() {
        bail!("skopeo is not installed: {by_hand}, or name one in TEST_ASSET_SKOPEO");
    }
    say("installing skopeo from the distribution's packages");
    let dir = cache::root()?.join("peers");
    std::fs::create_dir_all(&dir)?;
    let _one_at_a_time = cache::lock(&dir.join("skopeo"), say)?;
    if let Some(found) = on_path("skopeo") {
        return Ok(found);
    }
    let path = dir.join("skopeo.log");
    let status = install(&path).context("cannot run apt-get")?;
    match on_path("skopeo").filter(|_| status.success()) {
        Some(found) => Ok(found),
        None => bail!(
            "skopeo could not be installed ({status}, see {}): {by_hand}",
            path.display()
        ),
    }
}

fn install(log: &Path) -> io::Result<std::process::ExitStatus> {
    let log = File::create(log)?;
    Command::new(INSTALL[0])
        .args(&INSTALL[1..])
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .status()
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_the_go_programs_are_the_pins() {
        for peer in [Peer::Crane, Peer::Regctl, Peer::Regsync] {
            let text = peer.version("unused".as_ref()).unwrap();
            let (name, version) = text.split_once(" v").unwrap();
            assert_eq!(name, peer.name());
            assert!(version.split('.').count() >= 3, "{text}");
        }
    }
}

//! The servers written in Go, built from their pinned modules into the cache.
//!
//! `tests/servers` is one module and one program that is whichever server its name says:
//! etcd, the three control plane processes and kubectl of Kubernetes, and the CNCF
//! distribution registry. Packages they share are compiled once, and one link takes the
//! place of six (a third of the build time). It is built once per set of pins and Go version.
//!
//! Own binaries win over built ones: `TEST_ASSET_KUBE_APISERVER` (and so on, one variable
//! per binary), then a file of that name in `$KUBEBUILDER_ASSETS`.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

use crate::cache;

/// How often a build says that it is still running.
const HEARTBEAT: Duration = Duration::from_secs(30);
/// How much of a failed build's output the error shows.
const TAIL_LINES: usize = 30;
/// Kubernetes as `go.mod` pins it; the binaries report it through linker flags.
const KUBERNETES: &str = "v1.36.4";

/// Paths of the executables.
#[derive(Clone, Debug)]
pub struct Servers {
    /// etcd
    pub etcd: PathBuf,
    /// kube-apiserver
    pub apiserver: PathBuf,
    /// kube-controller-manager
    pub controller_manager: PathBuf,
    /// kube-scheduler
    pub scheduler: PathBuf,
    /// kubectl
    pub kubectl: PathBuf,
    /// The OCI registry
    pub registry: PathBuf,
}

/// What is built, and all that decides it.
const FILES: [(&str, &str); 5] = [
    ("go.mod", include_str!("../servers/go.mod")),
    ("go.sum", include_str!("../servers/go.sum")),
    ("main.go", include_str!("../servers/main.go")),
    ("kubernetes.go", include_str!("../servers/kubernetes.go")),
    ("registry.go", include_str!("../servers/registry.go")),
];

/// The names the program goes by.
const BINARIES: [&str; 6] = [
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubectl",
    "registry",
];

const TITLE: &str = "the servers (Kubernetes 1.36, etcd, OCI registry)";

/// All executables, building what is missing; `say` gets progress lines.
///
/// Blocks for minutes when something has to be built: call it from a thread that may.
///
/// # Errors
/// When Go is needed and missing, or a build fails (with the end of its output).
pub fn ensure(say: &dyn Fn(&str)) -> Result<Servers> {
    let mut found = BTreeMap::new();
    for binary in BINARIES {
        if let Some(path) = given(binary)? {
            found.insert(binary, path);
        }
    }
    if BINARIES.iter().any(|binary| !found.contains_key(binary)) {
        let built = build(say)?;
        for binary in BINARIES {
            found.entry(binary).or_insert_with(|| built.join(binary));
        }
    }
    let mut take = |name| {
        found
            .remove(name)
            .with_context(|| format!("nothing builds {name}"))
    };
    Ok(Servers {
        etcd: take("etcd")?,
        apiserver: take("kube-apiserver")?,
        controller_manager: take("kube-controller-manager")?,
        scheduler: take("kube-scheduler")?,
        kubectl: take("kubectl")?,
        registry: take("registry")?,
    })
}

/// The user's own binary, by the conventions of envtest.
fn given(binary: &str) -> Result<Option<PathBuf>> {
    let variable = format!("TEST_ASSET_{}", binary.to_uppercase().replace('-', "_"));
    if let Some(path) = std::env::var_os(&variable).map(PathBuf::from) {
        if path.is_file() {
            return Ok(Some(path));
        }
        bail!("{variable} names {}, which is not a file", path.display());
    }
    let dir = std::env::var_os("KUBEBUILDER_ASSETS").map(PathBuf::from);
    Ok(dir
        .map(|dir| dir.join(binary))
        .filter(|path| path.is_file()))
}

fn build(say: &dyn Fn(&str)) -> Result<PathBuf> {
    let go = go_version()?;
    let linker = linker_flags();
    let texts = FILES.iter().map(|(_, text)| text.as_bytes());
    let key = cache::key(texts.chain([go.as_bytes(), linker.as_bytes()]));
    cache::ensure(&format!("servers/go-{key}"), say, |draft| {
        say(&format!(
            "building {TITLE} with {go}: about 8 minutes on two cores, once"
        ));
        let started = Instant::now();
        compile(draft, &linker, say)?;
        say(&format!(
            "built {TITLE} in {} s",
            started.elapsed().as_secs()
        ));
        Ok(())
    })
}

fn compile(draft: &Path, linker: &str, say: &dyn Fn(&str)) -> Result<()> {
    let source = draft.join("source");
    fs::create_dir(&source)?;
    for (name, text) in FILES {
        fs::write(source.join(name), text)?;
    }
    let log = draft.join("build.log");
    let program = draft.join("servers");
    let mut command = Command::new("go");
    command
        .current_dir(&source)
        .stdout(File::create(&log)?)
        .stderr(File::options().append(true).open(&log)?);
    // The linker drops debug information anyway: the compiler need not write it.
    command.args([
        "build",
        "-trimpath",
        "-buildvcs=false",
        "-gcflags=all=-dwarf=false",
    ]);
    command
        .args(["-ldflags", linker, "-o"])
        .arg(&program)
        .arg(".");
    // The compiler's processes are short: they collect garbage only when they grow large.
    command.envs([
        ("CGO_ENABLED", "0"),
        ("GOTOOLCHAIN", "local"),
        ("GOFLAGS", "-mod=readonly"),
        ("GOGC", "off"),
        ("GOMEMLIMIT", "2GiB"),
        ("GOWORK", "off"),
    ]);
    wait(command, TITLE, say).with_context(|| tail(&log))?;
    for binary in BINARIES {
        std::os::unix::fs::symlink("servers", draft.join(binary))?;
    }
    fs::remove_dir_all(&source)?;
    Ok(())
}

/// Runs `command` to its end, saying every now and then that it still runs.
fn wait(mut command: Command, title: &str, say: &dyn Fn(&str)) -> Result<()> {
    let started = Instant::now();
    let mut child = command.spawn().context("cannot run go")?;
    let (done, ended) = mpsc::channel();
    thread::spawn(move || done.send(child.wait()));
    loop {
        match ended.recv_timeout(HEARTBEAT) {
            Ok(status) if status.as_ref().is_ok_and(std::process::ExitStatus::success) => {
                return Ok(());
            }
            Ok(status) => bail!("the build of {title} failed ({})", status?),
            Err(mpsc::RecvTimeoutError::Timeout) => {
                say(&format!(
                    "building {title}: {} s so far",
                    started.elapsed().as_secs()
                ));
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => bail!("lost the build of {title}"),
        }
    }
}

/// No symbols, and the version Kubernetes' own release build would set.
fn linker_flags() -> String {
    let package = "k8s.io/component-base/version";
    let (major, minor) = ("1", "36");
    format!(
        "-s -w -X {package}.gitVersion={KUBERNETES} -X {package}.gitMajor={major} \
         -X {package}.gitMinor={minor}"
    )
}

fn go_version() -> Result<String> {
    let output = match Command::new("go")
        .args(["env", "GOVERSION"])
        .env("GOTOOLCHAIN", "local")
        .output()
    {
        Err(error) if error.kind() == io::ErrorKind::NotFound => bail!(
            "go is not installed, and the test servers are built with it: install Go 1.26 or \
             newer (https://go.dev/dl/), or point KUBEBUILDER_ASSETS at ready-made binaries"
        ),
        other => other.context("cannot run go")?,
    };
    if !output.status.success() {
        return Err(anyhow!("{}", String::from_utf8_lossy(&output.stderr))
            .context("cannot ask go for its version"));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    format!(
        "end of the build's output:\n{}",
        lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A mix of staging versions builds, and then misbehaves: they all move together.
    #[test]
    fn kubernetes_modules_have_one_version() {
        let text = FILES[0].1;
        let staging = KUBERNETES.replacen("v1.", "v0.", 1);
        assert!(text.contains(&format!("k8s.io/kubernetes {KUBERNETES}\n")));
        let replaced: Vec<_> = text.lines().filter(|line| line.contains(" => ")).collect();
        assert!(replaced.len() > 30, "the replace block is gone");
        for line in replaced {
            assert!(line.ends_with(&format!(" {staging}")), "{line}");
        }
    }
}

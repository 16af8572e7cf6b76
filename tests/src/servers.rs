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
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::golang::Program;

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
pub(crate) fn given(binary: &str) -> Result<Option<PathBuf>> {
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
    let program = Program {
        title: "the servers (Kubernetes 1.36, etcd, OCI registry)",
        files: &FILES,
        package: ".",
        linker: &linker_flags(),
        takes: "about 8 minutes on two cores",
        instead: "point KUBEBUILDER_ASSETS at ready-made binaries",
    };
    program.ensure("servers/go", "servers", say, |draft| {
        for binary in BINARIES {
            symlink("servers", draft.join(binary))?;
        }
        Ok(())
    })
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

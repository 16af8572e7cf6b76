//! The AWS CLI and the checker of CloudFormation templates, each at a pinned version: the
//! judges of what castlink exports.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::python;

/// Both, with the reasons in the file.
const REQUIREMENTS: &str = include_str!("../servers/awscli/requirements.txt");

/// A Python with both in it (`-m awscli`, `import cfnlint`), made when absent. Blocking.
///
/// # Errors
/// When there is no Python with `venv`, or its package index cannot be reached.
pub fn ensure(say: &dyn Fn(&str)) -> Result<PathBuf> {
    python::ensure("awscli", REQUIREMENTS, say, || {
        say("setting up the AWS CLI in a Python environment: about 30 s");
    })
}

/// A directory with a program `aws`, for scripts to find in `PATH`: below `dir`.
///
/// # Errors
/// When it cannot be written.
pub fn program(python: &Path, dir: &Path) -> Result<PathBuf> {
    let bin = dir.join("bin");
    std::fs::create_dir_all(&bin).with_context(|| format!("cannot create {}", bin.display()))?;
    let file = bin.join("aws");
    let text = format!("#!/bin/sh\nexec '{}' -m awscli \"$@\"\n", python.display());
    std::fs::write(&file, text)?;
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755))?;
    Ok(bin)
}

//! Images that were taken away on purpose, one reference a line: what the upstream gate
//! would otherwise make on demand stays missing. A file, because the sandbox's verbs are
//! processes of their own.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

#[derive(Clone, Debug)]
pub(super) struct Gone(PathBuf);

impl Gone {
    pub(super) fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    pub(super) fn has(&self, key: &str) -> Result<bool> {
        Ok(self.read()?.contains(key))
    }

    pub(super) fn add(&self, key: &str) -> Result<()> {
        let mut keys = self.read()?;
        match keys.insert(key.to_owned()) {
            true => self.write(&keys),
            false => Ok(()),
        }
    }

    pub(super) fn remove(&self, key: &str) -> Result<()> {
        let mut keys = self.read()?;
        match keys.remove(key) {
            true => self.write(&keys),
            false => Ok(()),
        }
    }

    fn read(&self) -> Result<BTreeSet<String>> {
        match fs::read_to_string(&self.0) {
            Ok(text) => Ok(text.lines().map(str::to_owned).collect()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeSet::new()),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", self.0.display())),
        }
    }

    fn write(&self, keys: &BTreeSet<String>) -> Result<()> {
        let text: String = keys.iter().map(|key| format!("{key}\n")).collect();
        let draft = self.0.with_extension("tmp");
        fs::write(&draft, text)?;
        fs::rename(&draft, &self.0).with_context(|| format!("cannot write {}", self.0.display()))
    }
}

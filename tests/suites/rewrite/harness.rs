//! Running the binary on text, and what text should become.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use castlink_tests::process::binary;
use tempfile::TempDir;

/// The registry that everything is mirrored to.
pub(crate) const ECR: &str = "123456789012.dkr.ecr.us-east-1.amazonaws.com";

/// What came of a call.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// A directory of its own, and calls in it with nothing of the user's environment.
pub(crate) struct Place {
    dir: TempDir,
}

impl Place {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self {
            dir: tempfile::tempdir()?,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn file(&self, name: &str, text: &str) -> Result<()> {
        Ok(fs::write(self.path().join(name), text)?)
    }

    pub(crate) fn call(&self, args: &[&str], stdin: impl AsRef<[u8]>) -> Result<Ran> {
        let mut child = Command::new(binary("castlink-upgrade")?)
            .args(args)
            .env_clear()
            .env("HOME", self.path())
            .current_dir(self.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut pipe = child.stdin.take().context("no stdin")?;
        let text = stdin.as_ref().to_owned();
        // Who ends before everything is read has said why.
        let feed = std::thread::spawn(move || pipe.write_all(&text));
        let output = child.wait_with_output()?;
        let _ = feed.join().expect("no panic");
        Ok(Ran {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout)?,
            stderr: String::from_utf8(output.stderr)?,
        })
    }

    /// `rewrite --to ECR` and more.
    pub(crate) fn rewrite(&self, more: &[&str], stdin: impl AsRef<[u8]>) -> Result<Ran> {
        self.call(&[&["rewrite", "--to", ECR], more].concat(), stdin)
    }
}

impl Ran {
    /// Standard output of a call that succeeded.
    pub(crate) fn done(self) -> Result<String> {
        ensure!(self.code == 0, "exit {}: {}", self.code, self.stderr);
        Ok(self.stdout)
    }

    /// Standard error of a call that ended with `code` and wrote nothing.
    pub(crate) fn refused(self, code: i32) -> Result<String> {
        ensure!(self.code == code, "exit {}: {}", self.code, self.stderr);
        ensure!(self.stdout.is_empty(), "there is output: {}", self.stdout);
        Ok(self.stderr)
    }
}

/// What becomes of `text` by default.
pub(crate) fn rewritten(text: &str) -> Result<String> {
    Place::new()?.rewrite(&[], text)?.done()
}

/// A text of the fixtures.
pub(crate) fn fixture(name: &str) -> Result<String> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures/rewrite")
        .join(name);
    fs::read_to_string(&file).with_context(|| file.display().to_string())
}

/// What a fixture should become: on every line with an arrow, the registry is put in front
/// of the text that the arrow points at.
pub(crate) fn expected(text: &str) -> String {
    let line = |line: &str| match line.split_once("# <- ") {
        Some((_, image)) => {
            let image = image.trim_end();
            line.replacen(image, &format!("{ECR}/{image}"), 1)
        }
        None => line.to_owned(),
    };
    text.split_inclusive('\n').map(line).collect()
}

/// A pod with one container for each text, written behind `image: ` as it is.
pub(crate) fn pod(images: &[&str]) -> String {
    let head = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: p\nspec:\n  containers:\n";
    let containers = images.iter().enumerate();
    let containers =
        containers.map(|(index, image)| format!("  - name: c{index}\n    image: {image}\n"));
    head.to_owned() + &containers.collect::<String>()
}

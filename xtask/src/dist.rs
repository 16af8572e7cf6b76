//! `cargo xtask dist`: an archive of static binaries that runs from where it is unpacked.

use std::{
    fs::{self, File},
    io::{BufWriter, Write},
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context, Result, bail};
use flate2::{Compression, GzBuilder};

use crate::build;

/// Build a release archive.
#[derive(clap::Args)]
pub(crate) struct Dist {
    /// Target triple [default: musl when this toolchain and `musl-gcc` are there for it, else this
    /// machine's glibc, static]
    #[arg(long)]
    target: Option<String>,
    /// Package a tree with uncommitted changes
    #[arg(long)]
    allow_dirty: bool,
}

const BINARIES: [&str; 5] = [
    "castlink",
    "castlink-tag",
    "castlink-endpoints",
    "castlink-mirror",
    "castlink-upgrade",
];
const PAGES: [&str; 4] = ["README.md", "LICENSE", "docs/cli.md", "docs/exit-codes.md"];
const MUSL: &str = "x86_64-unknown-linux-musl";
const GLIBC: &str = "x86_64-unknown-linux-gnu";

/// `cargo xtask dist`
pub(crate) fn run(args: &Dist) -> Result<ExitCode> {
    if !args.allow_dirty
        && !build::output(Command::new("git").args(["status", "--porcelain"]))?.is_empty()
    {
        bail!("the tree has uncommitted changes: commit them, or give --allow-dirty");
    }
    let target = match &args.target {
        Some(target) => target.clone(),
        None => default_target()?,
    };
    compile(&target)?;
    let name = format!("castlink-{}-{target}", env!("CARGO_PKG_VERSION"));
    let archive = pack(&name, &target)?;
    try_out(&name, &archive)?;
    let sum = build::output(
        Command::new("sha256sum")
            .arg(archive.file_name().unwrap_or_default())
            .current_dir(out_dir()),
    )?;
    fs::write(out_dir().join("SHA256SUMS"), &sum)?;
    build::say(&format!("{}\n{}", archive.display(), sum.trim_end()));
    Ok(ExitCode::SUCCESS)
}

fn out_dir() -> PathBuf {
    build::root().join("dist")
}

fn default_target() -> Result<String> {
    let sysroot = build::output(Command::new("rustc").args(["--print", "sysroot"]))?;
    let musl = Path::new(sysroot.trim())
        .join("lib/rustlib")
        .join(MUSL)
        .join("lib");
    // The cryptography and the allocator are C.
    let compiler = build::output(Command::new("musl-gcc").arg("--version"));
    let is_ready = musl.is_dir() && compiler.is_ok();
    Ok(if is_ready { MUSL } else { GLIBC }.into())
}

fn compile(target: &str) -> Result<()> {
    build::say(&format!(
        "building static binaries for {target}: about 10 minutes on 2 cores the first time"
    ));
    let mut command = build::cargo();
    command.args([
        "build",
        "--locked",
        "--quiet",
        "--profile",
        "dist",
        "--target",
        target,
        "--workspace",
    ]);
    for binary in BINARIES {
        command.args(["--bin", binary]);
    }
    let remap = format!("--remap-path-prefix={}=castlink", build::root().display());
    command.env(
        "RUSTFLAGS",
        format!("-C target-feature=+crt-static {remap}"),
    );
    build::checked(&mut command)
}

/// Packs the binaries and pages, the same bytes for the same commit: sorted names, no
/// owner, the commit's time.
fn pack(name: &str, target: &str) -> Result<PathBuf> {
    let time: u64 = build::output(Command::new("git").args(["log", "-1", "--format=%ct"]))?
        .trim()
        .parse()?;
    let path = out_dir().join(format!("{name}.tar.gz"));
    fs::create_dir_all(out_dir())?;
    let file = File::create(&path).with_context(|| format!("creating {}", path.display()))?;
    let gzip = GzBuilder::new().write(BufWriter::new(file), Compression::best());
    let mut tar = tar::Builder::new(gzip);
    let built = build::target_dir().join(target).join("dist");
    for binary in BINARIES {
        add(
            &mut tar,
            &built.join(binary),
            &format!("{name}/{binary}"),
            0o755,
            time,
        )?;
    }
    for page in PAGES {
        add(
            &mut tar,
            &build::root().join(page),
            &format!("{name}/{page}"),
            0o644,
            time,
        )?;
    }
    tar.into_inner()?.finish()?.flush()?;
    Ok(path)
}

fn add(
    tar: &mut tar::Builder<impl Write>,
    from: &Path,
    name: &str,
    mode: u32,
    time: u64,
) -> Result<()> {
    let bytes = fs::read(from).with_context(|| format!("reading {}", from.display()))?;
    let mut header = tar::Header::new_ustar();
    header.set_size(u64::try_from(bytes.len())?);
    header.set_mode(mode);
    header.set_mtime(time);
    tar.append_data(&mut header, name, bytes.as_slice())?;
    Ok(())
}

/// Unpacks the archive and runs each binary from there, without cargo or a library path.
fn try_out(name: &str, archive: &Path) -> Result<()> {
    let dir = out_dir().join(".try");
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir)?;
    let file = File::open(archive)?;
    tar::Archive::new(flate2::read::GzDecoder::new(file)).unpack(&dir)?;
    for binary in BINARIES {
        let path = dir.join(name).join(binary);
        refuse_dynamic(&path)?;
        let version = build::output(Command::new(&path).arg("--version").env_clear())?;
        if !version.contains(env!("CARGO_PKG_VERSION")) {
            bail!("{binary} --version printed {version:?}");
        }
    }
    fs::remove_dir_all(&dir)?;
    Ok(())
}

/// A static binary names no interpreter: no `PT_INTERP` (type 3) among its program headers
/// (ELF-64, little endian).
fn refuse_dynamic(path: &Path) -> Result<()> {
    let elf = fs::read(path)?;
    let at = |offset: usize, size: usize| -> usize {
        let bytes = elf.get(offset..offset + size).unwrap_or_default();
        bytes
            .iter()
            .rev()
            .fold(0, |value, byte| value << 8 | usize::from(*byte))
    };
    if elf.get(..5) != Some(b"\x7fELF\x02") {
        bail!("{} is not a 64-bit ELF file", path.display());
    }
    let (table, size, count) = (at(32, 8), at(54, 2), at(56, 2));
    if (0..count).any(|n| at(table + n * size, 4) == 3) {
        bail!("{} is dynamically linked", path.display());
    }
    Ok(())
}

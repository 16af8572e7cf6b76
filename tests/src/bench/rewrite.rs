//! `castlink-upgrade rewrite` on a long stream of manifests: throughput and memory. Beside
//! it `sed`, which replaces text on lines and knows no YAML, and `cat`, which is the least
//! that passing the bytes on costs.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, BufWriter, Write as _};
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::args::Rewrite;
use super::exec::{self, Job, Usage};
use super::report::median;
use super::{block_on, print, say};
use crate::process;

const REGISTRY: &str = "123456789012.dkr.ecr.us-east-1.amazonaws.com";

/// MB a second, and MB of memory, that are asked of it.
const SPEED: f64 = 200.0;
const MEMORY: f64 = 100.0;

/// What the stream is made of: every workload of the namespace, over and over.
const MANIFEST: &str = include_str!("../../fixtures/castai-agent.yaml");

/// Measures and prints.
///
/// # Errors
/// When a run fails, does not change what it should, or takes too much memory.
pub fn run(args: &Rewrite) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let stream = dir.path().join("stream.yaml");
    let written = write(&stream, args.size * 1_000_000)?;
    say(&format!(
        "{} MB, {} images",
        written.bytes / 1_000_000,
        written.images
    ));
    let mut rounds: BTreeMap<&str, Vec<Usage>> = BTreeMap::new();
    block_on(async {
        for round in 1..=args.repeat {
            say(&format!("round {round} of {}", args.repeat));
            for (name, command) in tools(args, &stream)? {
                let used = measure(dir.path(), name, command, &written).await?;
                rounds.entry(name).or_default().push(used);
            }
        }
        Ok(())
    })?;
    report(&rounds, written.bytes)
}

struct Written {
    bytes: usize,
    images: usize,
}

fn write(file: &Path, size: usize) -> Result<Written> {
    let digest = format!("sha256:{}", "a".repeat(64));
    let one = MANIFEST.replace("{CLICKHOUSE_DIGEST}", &digest) + "\n---\n";
    let is_image = |line: &&str| {
        line.trim_start().starts_with("image: ") || line.contains("library/jmx-exporter-init")
    };
    let images = one.lines().filter(is_image).count();
    let mut out = BufWriter::new(File::create(file)?);
    let times = size.div_ceil(one.len());
    for _ in 0..times {
        out.write_all(one.as_bytes())?;
    }
    out.flush()?;
    Ok(Written {
        bytes: times * one.len(),
        images: times * images,
    })
}

const OURS: &str = "castlink-upgrade rewrite";

fn tools(args: &Rewrite, stream: &Path) -> Result<Vec<(&'static str, Vec<String>)>> {
    let castlink = match &args.castlink {
        Some(path) => path.clone(),
        None => process::binary("castlink-upgrade")?,
    };
    let castlink = castlink.to_str().context("a path that is no text")?;
    let stream = stream.to_str().context("a path that is no text")?;
    let sed = format!("s#^( *(- )?image: [\"']?)#\\1{REGISTRY}/#");
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    Ok(vec![
        (
            OURS,
            words(&[castlink, "rewrite", "-q", "--to", REGISTRY, stream]),
        ),
        ("sed -E", words(&["sed", "-E", &sed, stream])),
        ("cat", words(&["cat", stream])),
    ])
}

async fn measure(dir: &Path, name: &str, command: Vec<String>, written: &Written) -> Result<Usage> {
    let log = dir.join("output");
    drop(fs::remove_file(&log));
    let path = ("PATH".to_owned(), "/usr/bin:/bin".to_owned());
    let job = Job {
        commands: vec![command],
        env: [path, ("HOME".to_owned(), dir.display().to_string())].into(),
        dir: dir.to_owned(),
        log: log.clone(),
    };
    let used = exec::run(&job, dir).await?;
    ensure!(
        used.failed == 0,
        "{name} failed: {}",
        exec::last_words(&log)
    );
    if name == OURS {
        check(&log, written)?;
    }
    Ok(used)
}

/// As many references as there are images, and not a byte besides.
fn check(output: &Path, written: &Written) -> Result<()> {
    let prefix = format!("{REGISTRY}/");
    let (mut bytes, mut images) = (0, 0);
    for line in BufReader::new(File::open(output)?).lines() {
        let line = line?;
        let found = line.matches(&prefix).count();
        images += found;
        bytes += line.len() + 1 - found * prefix.len();
    }
    ensure!(
        images == written.images,
        "{images} of {} images",
        written.images
    );
    ensure!(bytes == written.bytes, "{bytes} of {} bytes", written.bytes);
    Ok(())
}

fn report(rounds: &BTreeMap<&str, Vec<Usage>>, bytes: usize) -> Result<()> {
    let of =
        |name: &str, field: fn(&Usage) -> f64| median(rounds[name].iter().map(field).collect());
    let speed = |name: &str| bytes as f64 / 1e6 / of(name, |one| one.wall_s);
    let mut text = String::new();
    for name in rounds.keys() {
        text += &format!(
            "{name:<26} {:>7.0} MB/s {:>7.2} s {:>7.2} CPU-s {:>6.0} MB\n",
            speed(name),
            of(name, |one| one.wall_s),
            of(name, |one| one.cpu_s),
            of(name, |one| one.rss_mb),
        );
    }
    print(&text)?;
    let verdict = |met: bool| if met { "met" } else { "missed" };
    let memory = of(OURS, |one| one.rss_mb);
    print(&format!(
        "bars, for a release: {SPEED} MB/s {}, {MEMORY} MB {}\n",
        verdict(speed(OURS) >= SPEED),
        verdict(memory <= MEMORY)
    ))?;
    ensure!(
        memory <= MEMORY,
        "{memory:.0} MB of memory, the bar is {MEMORY}"
    );
    Ok(())
}

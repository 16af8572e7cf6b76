//! Running one process of the sequence: records from a file to its stdin, its stdout
//! into a file, its stderr to ours.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use castlink_core::{
    Exit, Failure, Result,
    record::{Line, Record},
};
use tokio::process::Command;

use crate::{dispatch, plan::Stage};

/// What one stage left behind.
#[derive(Debug)]
pub(crate) struct Done {
    /// The stage's name.
    pub(crate) name: &'static str,
    /// How it ended.
    pub(crate) exit: Exit,
    /// What it wrote.
    pub(crate) records: Vec<Record>,
    /// How long it took.
    pub(crate) took: Duration,
}

/// The file in the run directory that holds a stage's records.
pub(crate) fn records_file(run_dir: &Path, stage: &str) -> PathBuf {
    run_dir.join(format!("{stage}.jsonl"))
}

/// Runs `stage` and reads back its records.
pub(crate) async fn run(stage: &Stage, run_dir: &Path) -> Result<Done> {
    let start = Instant::now();
    let file = records_file(run_dir, stage.name);
    let stdin = match stage.reads {
        Some(source) => Stdio::from(open(&records_file(run_dir, source))?),
        None => Stdio::null(),
    };
    let stdout = File::create(&file).map_err(|err| cannot("creating", &file, err))?;
    let program = dispatch::sibling(stage.program);
    let child = Command::new(&program)
        .args(&stage.args)
        .stdin(stdin)
        .stdout(stdout)
        .spawn()
        .map_err(|err| dispatch::cannot_start(&program, err))?;
    Ok(Done {
        name: stage.name,
        exit: dispatch::wait(child).await?,
        records: read(&file)?,
        took: start.elapsed(),
    })
}

fn read(file: &Path) -> Result<Vec<Record>> {
    let text = std::fs::read_to_string(file).map_err(|err| cannot("reading", file, err))?;
    let mut records = Vec::new();
    for line in text.lines().filter(|line| line.starts_with('{')) {
        if let Line::Record(record) = Record::from_line(line)? {
            records.push(record);
        }
    }
    Ok(records)
}

fn open(file: &Path) -> Result<File> {
    File::open(file).map_err(|err| cannot("opening", file, err))
}

pub(crate) fn cannot(doing: &str, path: &Path, err: std::io::Error) -> Failure {
    Failure::failed(format!("{doing} {}", path.display())).because(err)
}

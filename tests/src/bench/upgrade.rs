//! `castlink-upgrade apply` beside `kubectl set image` and `kubectl rollout status`, one
//! workload after the other: ten workloads on three nodes of the same control plane.
//!
//! Everything reaches the API server through the same gate, which counts. Each turn has a
//! new namespace; every pod pulls its image, which takes a set time; afterwards every pod
//! must be ready on the new image, or the turn does not count.

mod field;
mod table;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use serde_json::json;

use self::field::{Field, WORKLOADS, Workload};
use super::args::Upgrade;
use super::exec::{self, Job, Usage};
use super::machine::{Machine, load};
use super::{block_on, print, say};
use crate::api_gate::ApiGate;
use crate::process;

/// How many times faster than one after the other, at the least.
const FASTER: f64 = 4.0;
/// How many times the slowest single rollout, at the most.
const SLOWEST: f64 = 1.2;

/// What one contender used in one round.
#[derive(Clone, Debug, Default, Serialize)]
struct Turn {
    wall_s: f64,
    cpu_s: f64,
    rss_mb: f64,
    requests: BTreeMap<String, usize>,
    /// Seconds per workload, where they were changed one by one.
    singles: BTreeMap<String, f64>,
}

#[derive(Debug, Serialize)]
struct Round {
    castlink: Turn,
    kubectl: Turn,
    /// Processes that wanted a core when the round began.
    load: f64,
}

#[derive(Debug, Serialize)]
struct Results {
    machine: Machine,
    castlink: PathBuf,
    workloads: usize,
    nodes: usize,
    pull_s: f64,
    rounds: Vec<Round>,
}

/// Measures and prints; an error when a bar is missed.
///
/// # Errors
/// When something does not start, a turn fails, or a bar is missed.
pub fn run(args: &Upgrade) -> Result<()> {
    let results = block_on(measure(args))?;
    if let Some(path) = &args.json {
        let text = serde_json::to_string_pretty(&results)?;
        fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let (text, met) = table::render(&results);
    print(&text)?;
    ensure!(met, "a bar is missed");
    Ok(())
}

async fn measure(args: &Upgrade) -> Result<Results> {
    let castlink = match &args.castlink {
        Some(path) => path.clone(),
        None => process::binary("castlink-upgrade")?,
    };
    say("starting the control plane and its nodes");
    let field = Field::start(args.pull).await?;
    let gate = ApiGate::start(field.plane()?, "admin", Some("system:masters")).await?;
    let bench = Bench {
        kubeconfig: gate.kubeconfig(field.dir())?,
        field,
        gate,
        castlink,
    };
    let mut rounds = Vec::new();
    for number in 1..=args.repeat {
        rounds.push(bench.round(number).await?);
    }
    Ok(Results {
        machine: Machine::read(),
        castlink: bench.castlink,
        workloads: WORKLOADS.len(),
        nodes: bench.field.nodes()?,
        pull_s: args.pull,
        rounds,
    })
}

struct Bench {
    field: Field,
    gate: ApiGate,
    kubeconfig: PathBuf,
    castlink: PathBuf,
}

impl Bench {
    /// Both have their turn, and every other round the other one is first.
    async fn round(&self, number: u32) -> Result<Round> {
        let load = load();
        let names = [format!("castlink-{number}"), format!("kubectl-{number}")];
        let (castlink, kubectl);
        if number % 2 == 1 {
            castlink = self
                .turn(&names[0], async |namespace| self.castlink(namespace).await)
                .await?;
            kubectl = self
                .turn(&names[1], async |namespace| self.kubectl(namespace).await)
                .await?;
        } else {
            kubectl = self
                .turn(&names[1], async |namespace| self.kubectl(namespace).await)
                .await?;
            castlink = self
                .turn(&names[0], async |namespace| self.castlink(namespace).await)
                .await?;
        }
        Ok(Round {
            castlink,
            kubectl,
            load,
        })
    }

    async fn turn(
        &self,
        namespace: &str,
        work: impl AsyncFnOnce(&str) -> Result<Turn>,
    ) -> Result<Turn> {
        self.field.plant(namespace).await?;
        let mark = self.gate.journal.mark();
        let mut turn = work(namespace).await?;
        turn.requests = self.gate.journal.counts(mark);
        self.field.check(namespace).await?;
        self.field.clear(namespace).await?;
        say(&format!(
            "{namespace}: {:.1} s, {:.2} CPU-s, {} requests",
            turn.wall_s,
            turn.cpu_s,
            turn.requests.values().sum::<usize>()
        ));
        Ok(turn)
    }

    /// All workloads with one command.
    async fn castlink(&self, namespace: &str) -> Result<Turn> {
        let records = self.field.dir().join(format!("{namespace}.jsonl"));
        let lines = WORKLOADS.iter().map(|one| {
            let (source, target) = (self.field.image(one, "v1"), self.field.image(one, "v2"));
            json!({"castlink": 1, "kind": "mirrored", "source": source, "target": target,
                "status": "copied"})
            .to_string()
        });
        fs::write(&records, lines.collect::<Vec<_>>().join("\n"))?;
        let script = "exec \"$0\" apply - -n \"$1\" --soak 0s --progress never < \"$2\"";
        let command = [
            "/bin/sh",
            "-c",
            script,
            text(&self.castlink)?,
            namespace,
            text(&records)?,
        ];
        let used = self.run(&[&command]).await?;
        Ok(Turn::of(used))
    }

    /// One workload after the other: set the image, wait for the rollout.
    async fn kubectl(&self, namespace: &str) -> Result<Turn> {
        let mut turn = Turn::default();
        for one in &WORKLOADS {
            let name = format!("{}/{}", one.kind.to_lowercase(), one.name);
            let image = format!("app={}", self.field.image(one, "v2"));
            let kubectl = self.field.kubectl();
            let kubectl = text(&kubectl)?;
            let set = [kubectl, "-n", namespace, "set", "image", &name, &image];
            let wait = [kubectl, "-n", namespace, "rollout", "status", &name];
            let used = self.run(&[&set, &wait]).await?;
            turn.add(one, used);
        }
        Ok(turn)
    }

    async fn run(&self, commands: &[&[&str]]) -> Result<Usage> {
        let dir = self.field.dir();
        let words = |command: &&[&str]| command.iter().map(ToString::to_string).collect();
        let home = text(dir)?.to_owned();
        let job = Job {
            commands: commands.iter().map(words).collect(),
            env: BTreeMap::from([
                ("HOME".to_owned(), home),
                ("KUBECONFIG".to_owned(), text(&self.kubeconfig)?.to_owned()),
                ("PATH".to_owned(), "/usr/bin:/bin".to_owned()),
            ]),
            dir: dir.to_owned(),
            log: dir.join("output.log"),
        };
        let used = exec::run(&job, dir).await?;
        ensure!(used.failed == 0, "failed: {}", exec::last_words(&job.log));
        Ok(used)
    }
}

impl Turn {
    fn of(used: Usage) -> Self {
        Self {
            wall_s: used.wall_s,
            cpu_s: used.cpu_s,
            rss_mb: used.rss_mb,
            ..Self::default()
        }
    }

    fn add(&mut self, workload: &Workload, used: Usage) {
        self.wall_s += used.wall_s;
        self.cpu_s += used.cpu_s;
        self.rss_mb = self.rss_mb.max(used.rss_mb);
        self.singles.insert(workload.name.to_owned(), used.wall_s);
    }

    fn slowest(&self) -> f64 {
        self.singles.values().copied().fold(0.0, f64::max)
    }
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path that is no text")
}

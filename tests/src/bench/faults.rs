//! `castlink-bench faults`: cold copies over networks that break, every tool under the same
//! seeds.

use anyhow::{Result, bail};
use serde::Serialize;

use super::args::Faults;
use super::machine::Machine;
use super::mirror::State;
use super::proxy::{Conditions, Trouble};
use super::report::median;
use super::site::{Measured, Site, Source};
use super::tools::{Kit, Tool};
use super::{images, say};
use crate::servers;

/// How many bytes a copy may move, as a multiple of the set.
const MOVED: f64 = 1.2;
/// Who takes part: skopeo a second time, with the retries it does not make by default.
const TOOLS: [Tool; 6] = [
    Tool::Castlink,
    Tool::Skopeo,
    Tool::SkopeoRetry,
    Tool::Crane,
    Tool::Regctl,
    Tool::Regsync,
];

/// How the network is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Fault {
    F1,
    F2,
    F3,
}

impl Fault {
    const ALL: [Self; 3] = [Self::F1, Self::F2, Self::F3];

    fn title(self) -> &'static str {
        match self {
            Self::F1 => "F1: 30 % of the connections to the source are cut after 0-20 MB",
            Self::F2 => "F2: 30 % of the connections to the destination are cut after 0-20 MB",
            Self::F3 => "F3: 15 % of new connections to both answer 503, Retry-After: 1",
        }
    }

    /// The networks to the source and to the destination.
    fn conditions(self, seed: u64) -> [Conditions; 2] {
        let (near, far) = match self {
            Self::F1 => (Trouble::Cuts, Trouble::None),
            Self::F2 => (Trouble::None, Trouble::Cuts),
            Self::F3 => (Trouble::Refusals, Trouble::Refusals),
        };
        // Two networks, two fates.
        let of = |trouble, seed| Conditions {
            trouble,
            seed,
            ..Conditions::default()
        };
        [of(near, 2 * seed), of(far, 2 * seed + 1)]
    }
}

/// One copy over a broken network.
#[derive(Debug, Serialize)]
struct Attempt {
    fault: Fault,
    seed: u64,
    tool: Tool,
    #[serde(flatten)]
    measured: Measured,
}

impl Attempt {
    /// MB that moved, on the busier side.
    fn moved(&self) -> f64 {
        self.measured.pulled_mb.max(self.measured.pushed_mb)
    }
}

/// Everything that was measured.
#[derive(Debug, Serialize)]
struct Results {
    machine: Machine,
    versions: Vec<String>,
    set_mb: f64,
    quick: bool,
    attempts: Vec<Attempt>,
}

/// Measures, prints the tables, writes the JSON.
///
/// # Errors
/// When something cannot be set up, or castlink-mirror did not get through.
pub fn run(args: &Faults) -> Result<()> {
    let tools = args.common.tools(&TOOLS);
    let kit = Kit::ensure(&tools, args.common.castlink.as_deref(), &say)?;
    let registry = servers::ensure(&say)?.registry;
    let data = images::ensure(&registry, args.common.scale(), &say)?;
    let results = super::block_on(async {
        let mut source = Source::start(&registry, &data).await?;
        let attempts = measure(&mut source, &kit, &tools, args.seeds).await?;
        anyhow::Ok(Results {
            machine: Machine::read(),
            versions: kit.versions()?,
            set_mb: source.bytes(State::Cold.load()) as f64 / 1e6,
            quick: args.common.quick,
            attempts,
        })
    })?;
    if let Some(path) = &args.common.json {
        std::fs::write(path, serde_json::to_vec_pretty(&results)?)?;
    }
    super::print(&render(&results, &tools))?;
    let mut ours = results
        .attempts
        .iter()
        .filter(|one| one.tool == Tool::Castlink);
    match ours.find_map(|one| one.measured.error.as_ref()) {
        Some(error) => bail!("castlink-mirror did not get through: {error}"),
        None => Ok(()),
    }
}

async fn measure(
    source: &mut Source,
    kit: &Kit,
    tools: &[Tool],
    seeds: u64,
) -> Result<Vec<Attempt>> {
    let mut attempts = Vec::new();
    let total = Fault::ALL.len() * tools.len() * usize::try_from(seeds)?;
    for fault in Fault::ALL {
        for seed in 1..=seeds {
            for tool in tools {
                let mut site = Site::new(source, Some(fault.conditions(seed))).await?;
                let measured = site.run(*tool, kit, State::Cold.load(), true).await?;
                let attempt = Attempt {
                    fault,
                    seed,
                    tool: *tool,
                    measured,
                };
                say(&format!(
                    "{} of {total}: {}",
                    attempts.len() + 1,
                    line(&attempt)
                ));
                attempts.push(attempt);
            }
        }
    }
    Ok(attempts)
}

fn line(attempt: &Attempt) -> String {
    let measured = &attempt.measured;
    let end = match &measured.error {
        Some(error) => format!("FAILED: {error}"),
        None => "ok".to_owned(),
    };
    format!(
        "{:?} seed {} {}: {:.1} s, {:.0} MB, {:?} connections broken, {end}",
        attempt.fault,
        attempt.seed,
        attempt.tool.title(),
        measured.usage.wall_s,
        attempt.moved(),
        measured.broken,
    )
}

fn render(results: &Results, tools: &[Tool]) -> String {
    let mut lines = vec![format!(
        "cold copies of {:.0} MB on loopback; MB moved on the busier side",
        results.set_mb
    )];
    if results.quick {
        lines.push("small layers: few connections live long enough to be cut".to_owned());
    }
    for fault in Fault::ALL {
        lines.extend([String::new(), fault.title().to_owned()]);
        for tool in tools {
            let all = results.attempts.iter();
            let all: Vec<_> = all
                .filter(|one| one.fault == fault && one.tool == *tool)
                .collect();
            lines.push(row(*tool, &all, results.set_mb));
        }
    }
    lines.push(String::new());
    lines.join("\n")
}

fn row(tool: Tool, all: &[&Attempt], set_mb: f64) -> String {
    let good: Vec<_> = all
        .iter()
        .filter(|one| one.measured.error.is_none())
        .collect();
    let text = format!("  {:<18} ok {} of {}", tool.title(), good.len(), all.len());
    if good.is_empty() {
        return text;
    }
    let walls = good.iter().map(|one| one.measured.usage.wall_s).collect();
    let moved = good.iter().map(|one| one.moved()).fold(0.0, f64::max);
    let ratio = moved / set_mb;
    let mark = match (tool, good.len() == all.len() && ratio <= MOVED) {
        (Tool::Castlink, true) => "  met",
        (Tool::Castlink, false) => "  NOT MET",
        _ => "",
    };
    format!(
        "{text}  {:>6.1} s  at most {moved:>6.0} MB = {ratio:.2}x the set{mark}",
        median(walls)
    )
}

//! `castlink-bench mirror`: every tool cold, warm and for an upgrade, on each network, in
//! turns.

use std::path::PathBuf;

use anyhow::{Result, bail};
use serde::Serialize;

use super::args::Mirror;
use super::ecr::{self, EcrRun};
use super::images::{self, LARGE, Load, NAMES};
use super::machine::Machine;
use super::network::Network;
use super::proxy::{self, Ceiling, Conditions};
use super::site::{Measured, Site, Source};
use super::tools::{Kit, Tool};
use super::{report, say};
use crate::servers;

/// What the destination holds when a run begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Nothing.
    Cold,
    /// Everything.
    Warm,
    /// The release before: three of ten images differ.
    Part,
    /// Nothing, and what comes is one image with one large layer.
    Large,
}

impl State {
    /// In the order they are measured in: each leaves what the next begins with.
    pub const ALL: [Self; 3] = [Self::Cold, Self::Warm, Self::Part];

    /// What is copied.
    #[must_use]
    pub fn load(self) -> Load {
        let release = usize::from(self == Self::Part);
        let images: &[&str] = if self == Self::Large { &LARGE } else { &NAMES };
        Load { release, images }
    }
}

/// What a run was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Setting {
    /// Between the tool and the registries.
    pub network: Network,
    /// Whether the destination mounts blobs across repositories.
    pub mounts: bool,
    /// What the destination held.
    pub state: State,
    /// Who copied.
    pub tool: Tool,
}

/// One run.
#[derive(Clone, Debug, Serialize)]
pub struct Run {
    /// What it was.
    #[serde(flatten)]
    pub setting: Setting,
    /// Its round, from 1.
    pub round: u32,
    /// What it came to.
    #[serde(flatten)]
    pub measured: Measured,
}

/// Everything that was measured.
#[derive(Debug, Serialize)]
pub struct Results {
    /// Where.
    pub machine: Machine,
    /// castlink-mirror's executable.
    pub castlink: PathBuf,
    /// The peers' versions.
    pub versions: Vec<String>,
    /// What the proxies can do at most, when there were any.
    pub proxy: Option<Ceiling>,
    /// MB (10^6 bytes) of the first release, each blob once.
    pub set_mb: f64,
    /// Whether the layers are the small ones.
    pub quick: bool,
    /// In the order they ran.
    pub runs: Vec<Run>,
    /// Against ECR's rules.
    pub ecr: Vec<EcrRun>,
}

/// An empty destination and what is done with it.
#[derive(Clone, Copy, Debug)]
struct Turn {
    network: Network,
    mounts: bool,
    tool: Tool,
    round: u32,
    states: &'static [State],
}

/// Measures, prints the tables, writes the JSON.
///
/// # Errors
/// When something cannot be set up, a run cannot be measured, or castlink-mirror did not
/// copy what it should have.
pub fn run(args: &Mirror) -> Result<()> {
    let tools = args.common.tools(&Tool::COMPARED);
    let kit = Kit::ensure(&tools, args.common.castlink.as_deref(), &say)?;
    let registry = servers::ensure(&say)?.registry;
    let data = images::ensure(&registry, args.common.scale(), &say)?;
    let turns = turns(args, &tools);
    let results = super::block_on(async {
        let mut source = Source::start(&registry, &data).await?;
        measure(args, &turns, &mut source, &kit).await
    })?;
    if let Some(path) = &args.common.json {
        std::fs::write(path, serde_json::to_vec_pretty(&results)?)?;
    }
    super::print(&report::render(&results))?;
    match ours_failed(&results) {
        Some(error) => bail!("castlink-mirror did not copy what it should have: {error}"),
        None => Ok(()),
    }
}

/// Who comes when: in every round every tool once, so that whatever else the machine does
/// hits all alike.
fn turns(args: &Mirror, tools: &[Tool]) -> Vec<Turn> {
    let rounds = if args.common.quick { 1 } else { args.repeat };
    let networks = args.network.list();
    let mut turns = Vec::new();
    let mut add = |network, mounts, tools: &[Tool], rounds, states| {
        for round in 1..=rounds {
            turns.extend(tools.iter().map(|tool| Turn {
                network,
                mounts,
                tool: *tool,
                round,
                states,
            }));
        }
    };
    for network in &networks {
        add(*network, true, tools, rounds, &State::ALL);
    }
    if networks.contains(&Network::Rtt20) {
        let some = [Tool::Castlink, Tool::Skopeo, Tool::Regsync];
        let some: Vec<_> = some
            .into_iter()
            .filter(|tool| tools.contains(tool))
            .collect();
        add(Network::Rtt20, false, &some, 1, &[State::Cold]);
    }
    if networks.contains(&Network::Loopback) && tools.contains(&Tool::Castlink) {
        add(
            Network::Loopback,
            true,
            &[Tool::Castlink],
            1,
            &[State::Large],
        );
    }
    turns
}

async fn measure(args: &Mirror, turns: &[Turn], source: &mut Source, kit: &Kit) -> Result<Results> {
    let set_mb = source.bytes(State::Cold.load()) as f64 / 1e6;
    say(&format!(
        "the set: {set_mb:.0} MB in {} images",
        NAMES.len()
    ));
    let proxied = turns.iter().any(|turn| !turn.is_direct());
    let proxy = match proxied {
        true => Some(proxy::ceiling().await?),
        false => None,
    };
    let mut runs = Vec::new();
    for (number, turn) in turns.iter().enumerate() {
        say(&format!("turn {} of {}", number + 1, turns.len()));
        turn.take(source, kit, &mut runs).await?;
    }
    let ours = turns.iter().any(|turn| turn.tool == Tool::Castlink);
    let ecr = match ours && args.network.list().contains(&Network::Loopback) {
        true => ecr::run(source, kit).await?,
        false => Vec::new(),
    };
    Ok(Results {
        machine: Machine::read(),
        castlink: kit.castlink().to_owned(),
        versions: kit.versions()?,
        proxy,
        set_mb,
        quick: args.common.quick,
        runs,
        ecr,
    })
}

impl Turn {
    /// Whether the tool talks to the registries themselves.
    fn is_direct(&self) -> bool {
        self.network == Network::Loopback && self.mounts
    }

    /// An empty destination, then each state.
    async fn take(self, source: &mut Source, kit: &Kit, runs: &mut Vec<Run>) -> Result<()> {
        let conditions = Conditions {
            rtt: self.network.rtt(),
            rate: self.network.rate(),
            refuse_mounts: !self.mounts,
            ..Conditions::default()
        };
        let conditions = (!self.is_direct()).then_some([conditions; 2]);
        let mut site = Site::new(source, conditions).await?;
        for state in self.states {
            let check = *state != State::Warm;
            let mut measured = site.run(self.tool, kit, state.load(), check).await?;
            if !self.mounts && measured.destination.mounted > 0 {
                measured.error = Some("blobs were mounted after all".to_owned());
            }
            let setting = Setting {
                network: self.network,
                mounts: self.mounts,
                state: *state,
                tool: self.tool,
            };
            let run = Run {
                setting,
                round: self.round,
                measured,
            };
            say(&report::line(&run));
            let failed = run.measured.error.is_some();
            runs.push(run);
            if failed {
                break; // what follows begins with what this should have left
            }
        }
        Ok(())
    }
}

fn ours_failed(results: &Results) -> Option<&str> {
    let ours = results
        .runs
        .iter()
        .filter(|run| run.setting.tool == Tool::Castlink);
    let errors = ours.map(|run| &run.measured.error);
    let errors = errors.chain(results.ecr.iter().map(|run| &run.error));
    errors.flatten().map(String::as_str).next()
}

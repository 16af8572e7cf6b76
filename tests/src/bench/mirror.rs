//! `castlink-bench mirror`: every tool cold, warm and for an upgrade, on each network, in
//! turns.

use anyhow::Result;
use serde::Serialize;

use super::args::Mirror;
use super::machine::Machine;
use super::network::Network;
use super::proxy::Conditions;
use super::site::{Measured, Site, Source};
use super::tools::{Kit, Tool};
use super::{images, report, say};
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
}

impl State {
    /// In the order they are measured in: each leaves what the next begins with.
    pub const ALL: [Self; 3] = [Self::Cold, Self::Warm, Self::Part];

    fn release(self) -> usize {
        usize::from(self == Self::Part)
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
    /// The peers' versions.
    pub versions: Vec<String>,
    /// MB (10^6 bytes) of the first release, each blob once.
    pub set_mb: f64,
    /// Whether the layers are the small ones.
    pub quick: bool,
    /// In the order they ran.
    pub runs: Vec<Run>,
}

/// Sets everything up; blocks while something is built.
fn prepare(args: &Mirror, tools: &[Tool]) -> Result<(Kit, std::path::PathBuf, std::path::PathBuf)> {
    let kit = Kit::ensure(tools, args.common.castlink.as_deref(), &say)?;
    let registry = servers::ensure(&say)?.registry;
    let data = images::ensure(&registry, args.common.scale(), &say)?;
    Ok((kit, registry, data))
}

/// Measures, prints the tables, writes the JSON.
///
/// # Errors
/// When something cannot be set up, or a run cannot be measured.
pub fn run(args: &Mirror) -> Result<()> {
    let tools = args.common.tools(&Tool::COMPARED);
    let (kit, registry, data) = prepare(args, &tools)?;
    let rounds = if args.common.quick { 1 } else { args.repeat };
    let runtime = tokio::runtime::Runtime::new()?;
    let results = runtime.block_on(async {
        let mut source = Source::start(&registry, &data).await?;
        let set_mb = source.bytes(0) as f64 / 1e6;
        say(&format!(
            "the set: {set_mb:.0} MB in {} images",
            images::NAMES.len()
        ));
        let mut runs = Vec::new();
        for network in args.network.list() {
            for round in 1..=rounds {
                for tool in &tools {
                    turn(&mut source, &kit, (network, true, *tool), round, &mut runs).await?;
                }
            }
        }
        anyhow::Ok(Results {
            machine: Machine::read(),
            versions: kit.versions()?,
            set_mb,
            quick: args.common.quick,
            runs,
        })
    })?;
    if let Some(path) = &args.common.json {
        std::fs::write(path, serde_json::to_vec_pretty(&results)?)?;
    }
    report::print(&results)
}

/// One tool's turn: an empty destination, then each state.
async fn turn(
    source: &mut Source,
    kit: &Kit,
    (network, mounts, tool): (Network, bool, Tool),
    round: u32,
    runs: &mut Vec<Run>,
) -> Result<()> {
    let conditions = Conditions {
        rtt: network.rtt(),
        rate: network.rate(),
        refuse_mounts: !mounts,
        ..Conditions::default()
    };
    let direct = network == Network::Loopback && mounts;
    let mut site = Site::new(source, (!direct).then_some([conditions; 2])).await?;
    for state in State::ALL {
        let check = state != State::Warm;
        let measured = site.run(tool, kit, state.release(), check).await?;
        let setting = Setting {
            network,
            mounts,
            state,
            tool,
        };
        let run = Run {
            setting,
            round,
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

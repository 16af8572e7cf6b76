//! What castlink-mirror is held to, and whether it gets there.

use super::mirror::{Results, Run, State};
use super::network::Network;
use super::report::median;
use super::tools::Tool;

/// How many times faster than a peer: network, state, peer, ratio of the wall clocks.
const RATIOS: [(Network, State, Tool, f64); 18] = [
    (Network::Loopback, State::Cold, Tool::Skopeo, 2.0),
    (Network::Loopback, State::Cold, Tool::Regsync, 1.6),
    (Network::Loopback, State::Warm, Tool::Skopeo, 20.0),
    (Network::Loopback, State::Warm, Tool::Regsync, 1.2),
    (Network::Loopback, State::Part, Tool::Skopeo, 2.5),
    (Network::Loopback, State::Part, Tool::Regsync, 1.1),
    (Network::Rtt20, State::Cold, Tool::Skopeo, 4.5),
    (Network::Rtt20, State::Cold, Tool::Regsync, 3.0),
    (Network::Rtt20, State::Warm, Tool::Skopeo, 60.0),
    (Network::Rtt20, State::Warm, Tool::Regsync, 2.5),
    (Network::Rtt20, State::Part, Tool::Skopeo, 11.0),
    (Network::Rtt20, State::Part, Tool::Regsync, 2.0),
    (Network::Rtt80, State::Cold, Tool::Skopeo, 10.0),
    (Network::Rtt80, State::Cold, Tool::Regsync, 6.0),
    (Network::Rtt80, State::Warm, Tool::Skopeo, 100.0),
    (Network::Rtt80, State::Warm, Tool::Regsync, 2.5),
    (Network::Rtt80, State::Part, Tool::Skopeo, 14.0),
    (Network::Rtt80, State::Part, Tool::Regsync, 2.5),
];
/// CPU seconds per GB (10^9 bytes) that a cold copy moves, on loopback.
const CPU_PER_GB: f64 = 1.3;
/// Peak memory in MB, whatever is copied.
const RSS_MB: f64 = 48.0;
/// Requests to ECR for a cold copy of the set.
const ECR_COLD: f64 = 260.0;
/// Requests to the source per image when there is nothing to do.
const WARM_SOURCE: f64 = 1.0;
/// Batch questions to ECR per repository when there is nothing to do.
const WARM_BATCHES: f64 = 1.0;

/// A bar and what was reached.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Bar {
    pub(super) title: String,
    pub(super) wanted: String,
    pub(super) reached: String,
    pub(super) met: bool,
}

impl Bar {
    fn least(title: String, wanted: f64, reached: f64) -> Self {
        Self {
            title,
            wanted: format!(">= {wanted:.1}x"),
            reached: format!("{reached:.2}x"),
            met: reached >= wanted,
        }
    }

    fn most(title: &str, wanted: f64, reached: f64) -> Self {
        Self {
            title: title.to_owned(),
            wanted: format!("<= {wanted}"),
            reached: format!("{reached:.2}"),
            met: reached <= wanted,
        }
    }
}

/// Every bar that these results can tell about; with small layers, requests alone.
pub(super) fn judge(results: &Results) -> Vec<Bar> {
    let mut bars = Vec::new();
    if !results.quick {
        bars.extend(RATIOS.iter().filter_map(|bar| ratio(results, *bar)));
        bars.extend(absolutes(results));
    }
    bars.extend(requests(results));
    bars
}

fn good(results: &Results, tool: Tool) -> impl Iterator<Item = &Run> {
    let of = move |run: &&Run| run.setting.tool == tool && run.measured.error.is_none();
    results.runs.iter().filter(of)
}

fn ratio(results: &Results, bar: (Network, State, Tool, f64)) -> Option<Bar> {
    let (network, state, peer, wanted) = bar;
    let wall = |tool| {
        let runs = good(results, tool).filter(|run| {
            let setting = run.setting;
            (setting.network, setting.state, setting.mounts) == (network, state, true)
        });
        let walls: Vec<_> = runs.map(|run| run.measured.usage.wall_s).collect();
        (!walls.is_empty()).then(|| median(walls))
    };
    let reached = wall(peer)? / wall(Tool::Castlink)?;
    let title = format!("{network:?}, {state:?}, against {}", peer.title()).to_lowercase();
    Some(Bar::least(title, wanted, reached))
}

fn absolutes(results: &Results) -> Vec<Bar> {
    let mut bars = Vec::new();
    let cold = good(results, Tool::Castlink)
        .filter(|run| run.setting.state == State::Cold && run.setting.network == Network::Loopback);
    let cpu: Vec<_> = cold
        .map(|run| run.measured.usage.cpu_s / (run.measured.pulled_mb / 1e3))
        .collect();
    if !cpu.is_empty() {
        bars.push(Bar::most(
            "CPU s per GB, cold on loopback",
            CPU_PER_GB,
            median(cpu),
        ));
    }
    for (title, large) in [
        ("peak memory in MB", false),
        ("the same with one 4 GB layer", true),
    ] {
        let runs = good(results, Tool::Castlink);
        let runs = runs.filter(|run| (run.setting.state == State::Large) == large);
        if let Some(peak) = runs.map(|run| run.measured.usage.rss_mb).reduce(f64::max) {
            bars.push(Bar::most(title, RSS_MB, peak));
        }
    }
    bars
}

fn requests(results: &Results) -> Vec<Bar> {
    let mut bars = Vec::new();
    let images = State::Cold.load().images.len() as f64;
    for run in results.ecr.iter().filter(|run| run.error.is_none()) {
        if run.state == State::Cold {
            bars.push(Bar::most(
                "requests to ECR, cold",
                ECR_COLD,
                run.total() as f64,
            ));
            continue;
        }
        let asked = run.source.total() as f64 / images;
        bars.push(Bar::most(
            "warm, source requests per image",
            WARM_SOURCE,
            asked,
        ));
        let batches = run
            .destination
            .iter()
            .filter(|(kind, _)| kind.contains(":Batch"));
        let batches: usize = batches.map(|(_, count)| count).sum();
        let batches = batches as f64 / images;
        bars.push(Bar::most(
            "warm, batch calls per repository of ECR",
            WARM_BATCHES,
            batches,
        ));
        bars.push(Bar::most("warm, writes to ECR", 0.0, run.writes as f64));
    }
    bars
}

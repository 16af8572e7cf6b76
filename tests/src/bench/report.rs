//! What was measured, as text.

use std::collections::BTreeMap;

use super::bars;
use super::ecr::EcrRun;
use super::mirror::{Results, Run, Setting, State};
use super::network::Network;
use super::tools::Tool;

/// A run on one line, when it is through.
pub(super) fn line(run: &Run) -> String {
    let Setting {
        network,
        state,
        tool,
        ..
    } = run.setting;
    let measured = &run.measured;
    let end = match &measured.error {
        Some(error) => format!("FAILED: {error}"),
        None => format!(
            "{:.2} s, CPU {:.2} s, {:.0} MB, {} + {} requests, {:.0} MB in, {:.0} MB out",
            measured.usage.wall_s,
            measured.usage.cpu_s,
            measured.usage.rss_mb,
            measured.source.total(),
            measured.destination.total(),
            measured.pulled_mb,
            measured.pushed_mb,
        ),
    };
    format!(
        "{network:?} {state:?} {} #{}: {end}",
        tool.title(),
        run.round
    )
    .to_lowercase()
}

/// Head, tables and bars.
pub(super) fn render(results: &Results) -> String {
    let mut lines = head(results);
    for network in Network::ALL {
        for mounts in [true, false] {
            for state in [State::Cold, State::Warm, State::Part, State::Large] {
                lines.extend(table(results, (network, mounts, state)));
            }
        }
    }
    lines.extend(results.ecr.iter().flat_map(ecr));
    lines.extend(judged(results));
    lines.push(String::new());
    lines.join("\n")
}

fn head(results: &Results) -> Vec<String> {
    let machine = &results.machine;
    let memory = match machine.destination_in_memory {
        true => "memory",
        false => "a directory on disk",
    };
    let mut lines = vec![
        format!(
            "{} cores ({}), Linux {}, {} MB; destination in {memory}",
            machine.cores, machine.processor, machine.kernel, machine.memory_mb
        ),
        format!("castlink: {}", results.castlink.display()),
        format!("peers: {}", results.versions.join(", ")),
        format!("set: {:.0} MB, each blob once", results.set_mb),
    ];
    if let Some(proxy) = &results.proxy {
        lines.push(format!(
            "delay proxy: at most {:.0} MB/s, {:.2} CPU-s per GB",
            proxy.mb_per_s, proxy.cpu_s_per_gb
        ));
    }
    if results.quick {
        lines.push("small layers: the figures say nothing about real ones".to_owned());
    }
    lines
}

/// Requests to AWS by kind.
fn ecr(run: &EcrRun) -> Vec<String> {
    let state = format!("{:?}", run.state).to_lowercase();
    let mut lines = vec![String::new(), format!("ECR with blob mounting, {state}")];
    if let Some(error) = &run.error {
        lines.push(format!("  FAILED: {error}"));
    }
    lines.push(format!(
        "  {:.2} s, {:.0} MB of memory, {} requests to AWS, {} to the source",
        run.usage.wall_s,
        run.usage.rss_mb,
        run.total(),
        run.source.total()
    ));
    let kinds = run.destination.iter();
    let kinds: Vec<_> = kinds
        .map(|(kind, count)| format!("{count} {kind}"))
        .collect();
    lines.push(format!("  {}", kinds.join(", ")));
    lines
}

fn judged(results: &Results) -> Vec<String> {
    let mut lines = vec![String::new(), "bars".to_owned()];
    for bar in bars::judge(results) {
        let mark = if bar.met { "met" } else { "NOT MET" };
        lines.push(format!(
            "  {:<46} {:>10} {:>10}  {mark}",
            bar.title, bar.wanted, bar.reached
        ));
    }
    lines
}

fn table(results: &Results, of: (Network, bool, State)) -> Vec<String> {
    let mut groups: BTreeMap<Tool, Vec<&Run>> = BTreeMap::new();
    for run in &results.runs {
        let Setting {
            network,
            mounts,
            state,
            tool,
        } = run.setting;
        if (network, mounts, state) == of {
            groups.entry(tool).or_default().push(run);
        }
    }
    if groups.is_empty() {
        return Vec::new();
    }
    let mounts = if of.1 { "" } else { ", mounts refused" };
    let state = format!("{:?}", of.2).to_lowercase();
    let columns = "median s    min s   ratio   CPU s RSS MB src rq dst rq    MB in   MB out  reg.s";
    let title = format!("{}{mounts}, {state}", of.0.title());
    let mut lines = vec![String::new(), title, format!("{:<20} {columns}", "")];
    let ours = groups.get(&Tool::Castlink).and_then(|runs| wall(runs));
    let ours = ours.map(|(median, _)| median);
    lines.extend(groups.iter().map(|(tool, runs)| row(*tool, runs, ours)));
    lines
}

fn row(tool: Tool, runs: &[&Run], ours: Option<f64>) -> String {
    let good: Vec<_> = runs
        .iter()
        .filter(|run| run.measured.error.is_none())
        .collect();
    let Some((median, least)) = wall(runs) else {
        return format!(
            "  {:<18} failed {} of {}",
            tool.title(),
            runs.len(),
            runs.len()
        );
    };
    let of = |value: fn(&Run) -> f64| self::median(good.iter().map(|run| value(run)).collect());
    let ratio = ours.map_or(String::new(), |ours| format!("{:.1}x", median / ours));
    let failed = match runs.len() - good.len() {
        0 => String::new(),
        some => format!("  failed {some} of {}", runs.len()),
    };
    format!(
        "  {:<18} {median:>8.2} {least:>8.2} {ratio:>7} {:>7.2} {:>6.0} {:>6.0} {:>6.0} {:>8.0} {:>8.0} {:>6.1}{failed}",
        tool.title(),
        of(|run| run.measured.usage.cpu_s),
        of(|run| run.measured.usage.rss_mb),
        of(|run| run.measured.source.total() as f64),
        of(|run| run.measured.destination.total() as f64),
        of(|run| run.measured.pulled_mb),
        of(|run| run.measured.pushed_mb),
        of(|run| run.measured.registries_cpu_s),
    )
}

/// Median and least wall clock of the runs that count.
fn wall(runs: &[&Run]) -> Option<(f64, f64)> {
    let good = runs.iter().filter(|run| run.measured.error.is_none());
    let walls: Vec<_> = good.map(|run| run.measured.usage.wall_s).collect();
    let least = walls.iter().copied().reduce(f64::min)?;
    Some((median(walls), least))
}

/// The middle of some numbers, the mean of the two middle ones of an even count; 0 of none.
pub(super) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let (low, high) = (values.len().saturating_sub(1) / 2, values.len() / 2);
    match (values.get(low), values.get(high)) {
        (Some(low), Some(high)) => f64::midpoint(*low, *high),
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn medians() {
        for (values, expected) in [
            (vec![], 0.0),
            (vec![3.0], 3.0),
            (vec![3.0, 1.0], 2.0),
            (vec![5.0, 1.0, 2.0], 2.0),
        ] {
            assert!((median(values) - expected).abs() < 1e-9);
        }
    }
}

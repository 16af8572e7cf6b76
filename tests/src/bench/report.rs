//! What was measured, as text.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::Result;

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

/// Prints the tables.
pub(super) fn print(results: &Results) -> Result<()> {
    let mut text = String::new();
    let machine = &results.machine;
    writeln!(
        text,
        "{} cores ({}), Linux {}, {} MB; destination in {}\n{}\nset: {:.0} MB, each blob once",
        machine.cores,
        machine.processor,
        machine.kernel,
        machine.memory_mb,
        if machine.destination_in_memory {
            "memory"
        } else {
            "a directory on disk"
        },
        results.versions.join(", "),
        results.set_mb,
    )?;
    for network in Network::ALL {
        for mounts in [true, false] {
            for state in State::ALL {
                table(&mut text, results, (network, mounts, state))?;
            }
        }
    }
    super::print(&text)
}

fn table(text: &mut String, results: &Results, of: (Network, bool, State)) -> Result<()> {
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
        return Ok(());
    }
    let mounts = if of.1 { "" } else { ", mounts refused" };
    writeln!(
        text,
        "\n{}{mounts}, {}",
        of.0.title(),
        format!("{:?}", of.2).to_lowercase()
    )?;
    writeln!(
        text,
        "  {:<18} {:>8} {:>8} {:>7} {:>7} {:>6} {:>6} {:>6} {:>8} {:>8} {:>6}",
        "",
        "median s",
        "min s",
        "ratio",
        "CPU s",
        "RSS MB",
        "src rq",
        "dst rq",
        "MB in",
        "MB out",
        "reg.s"
    )?;
    let ours = groups.get(&Tool::Castlink).and_then(|runs| wall(runs));
    for (tool, runs) in &groups {
        writeln!(text, "{}", row(*tool, runs, ours.map(|(median, _)| median)))?;
    }
    Ok(())
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

//! What was measured of rollouts, as text, and whether the bars are met.

use super::super::report::median;
use super::{FASTER, Results, Round, SLOWEST, Turn};

/// The tables, and whether every bar is met.
pub(super) fn render(results: &Results) -> (String, bool) {
    let machine = &results.machine;
    let mut lines = vec![
        format!(
            "{} cores ({}), Linux {}; {} workloads on {} nodes, a pull takes {} s",
            machine.cores,
            machine.processor,
            machine.kernel,
            results.workloads,
            results.nodes,
            results.pull_s
        ),
        format!("castlink: {}", results.castlink.display()),
        String::new(),
        format!(
            "{:<26} {:>9} {:>7} {:>7} {:>9}",
            "", "median s", "CPU s", "RSS MB", "requests"
        ),
        row("castlink-upgrade apply", results, |round| &round.castlink),
        row("kubectl, one by one", results, |round| &round.kubectl),
    ];
    let slowest = of(results, |round| round.kubectl.slowest());
    lines.push(format!("{:<26} {slowest:>9.2}", "  its slowest rollout"));
    let (bars, met) = bars(results);
    lines.extend([String::new(), "bars".to_owned()]);
    lines.extend(bars);
    lines.push(String::new());
    (lines.join("\n"), met)
}

fn of(results: &Results, value: impl Fn(&Round) -> f64) -> f64 {
    median(results.rounds.iter().map(value).collect())
}

fn row(title: &str, results: &Results, turn: fn(&Round) -> &Turn) -> String {
    format!(
        "{title:<26} {:>9.2} {:>7.2} {:>7.0} {:>9.0}",
        of(results, |round| turn(round).wall_s),
        of(results, |round| turn(round).cpu_s),
        of(results, |round| turn(round).rss_mb),
        of(
            results,
            |round| turn(round).requests.values().sum::<usize>() as f64
        ),
    )
}

/// Ratios within a round, so that what else the machine does is in both.
fn bars(results: &Results) -> (Vec<String>, bool) {
    let slowest = of(results, |round| {
        round.castlink.wall_s / round.kubectl.slowest()
    });
    let faster = of(results, |round| {
        round.kubectl.wall_s / round.castlink.wall_s
    });
    let bar = |title: &str, wanted: String, reached: f64, met: bool| {
        let mark = if met { "met" } else { "NOT MET" };
        format!("  {title:<46} {wanted:>10} {reached:>9.2}x  {mark}")
    };
    let (near, quick) = (slowest <= SLOWEST, faster >= FASTER);
    let lines = vec![
        bar(
            "of the slowest single rollout",
            format!("<= {SLOWEST}x"),
            slowest,
            near,
        ),
        bar(
            "times faster than one by one",
            format!(">= {FASTER}x"),
            faster,
            quick,
        ),
    ];
    (lines, near && quick)
}

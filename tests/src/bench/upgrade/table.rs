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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::super::machine::Machine;
    use super::*;

    fn results(castlink: f64, singles: &[f64]) -> Results {
        let names = singles.iter().enumerate();
        let singles: BTreeMap<String, f64> = names
            .map(|(index, seconds)| (index.to_string(), *seconds))
            .collect();
        let turn = |wall_s, singles| Turn {
            wall_s,
            singles,
            ..Turn::default()
        };
        let round = Round {
            castlink: turn(castlink, BTreeMap::new()),
            kubectl: turn(singles.values().sum(), singles),
            load: 0.0,
        };
        Results {
            machine: Machine::read(),
            castlink: "castlink-upgrade".into(),
            workloads: 3,
            nodes: 3,
            pull_s: 3.0,
            rounds: vec![round],
        }
    }

    #[test]
    fn both_bars_count() {
        let singles = [10.0, 10.0, 4.0, 4.0, 4.0, 4.0, 4.0, 4.0];
        for (castlink, met) in [(10.5, true), (12.5, false), (30.0, false)] {
            let (text, all) = render(&results(castlink, &singles));
            assert_eq!(all, met, "{text}");
            assert_eq!(text.contains("NOT MET"), !met, "{text}");
        }
        // As quick as the slowest, and yet hardly quicker than all of them.
        let (text, all) = render(&results(10.0, &[10.0, 1.0]));
        assert!(!all && text.contains("1.10x  NOT MET"), "{text}");
    }
}

//! The picture as a Mermaid flowchart. Identifiers are ours, labels are data.

use super::{Cell, Drawn, Health, Picture, Place};

/// The whole chart: a row of zones, and the endpoints below it. In which zones an endpoint has
/// interfaces stands in its label: lines from each to each would hide what matters.
pub(super) fn draw(picture: &Picture) -> String {
    let title = format!(
        "{} {} {}",
        picture.vpc,
        picture.region,
        picture.cidrs.join(" ")
    );
    let mut out = String::from("flowchart TB\n");
    out.push_str(&format!("  subgraph vpc[{}]\n", label(&[&title])));
    out.push_str("    direction TB\n");
    out.push_str(&zones(picture));
    out.push_str(&endpoints(picture));
    out.push_str("    zones ~~~ endpoints\n  end\n");
    for (index, problem) in picture.problems.iter().enumerate() {
        out.push_str(&format!("  p{index}[{}]:::bad\n", label(&[problem])));
    }
    out.push_str(CLASSES);
    out
}

/// Side by side, by links that are not drawn; what is not linked stands one below the other.
fn zones(picture: &Picture) -> String {
    let mut out = String::from("    subgraph zones[\"subnets\"]\n      direction LR\n");
    let mut numbers = 0..;
    for (index, zone) in picture.zones.iter().enumerate() {
        let title = format!("{} {}", zone.name, zone.id);
        let title = label(&[title.trim()]);
        out.push_str(&format!(
            "      subgraph z{index}[{title}]\n        direction LR\n"
        ));
        for (place, number) in zone.subnets.iter().zip(&mut numbers) {
            out.push_str(&format!("        {}\n", subnet(number, place)));
        }
        out.push_str("      end\n");
    }
    for index in 1..picture.zones.len() {
        out.push_str(&format!("      z{} ~~~ z{index}\n", index - 1));
    }
    out.push_str("    end\n");
    out
}

fn endpoints(picture: &Picture) -> String {
    let mut out = String::from("    subgraph endpoints[\"endpoints\"]\n      direction TB\n");
    for (index, one) in picture.endpoints.iter().enumerate() {
        out.push_str(&format!("      {}\n", endpoint(picture, index, one)));
    }
    out.push_str("    end\n");
    out
}

const CLASSES: &str = "  classDef good stroke:#1a7f37,stroke-width:2px
  classDef wait stroke:#9a6700,stroke-width:2px
  classDef bad stroke:#cf222e,stroke-width:2px,stroke-dasharray:5 4
  classDef plain stroke:#8c959f
";

fn subnet(number: usize, place: &Place) -> String {
    let mark = if place.tagged { "tagged" } else { "not tagged" };
    let public = if place.public { ", public" } else { "" };
    let last = format!("{mark}{public}");
    let text = label(&[&place.name, &place.id, &place.cidr, &last]);
    let class = if place.tagged { "good" } else { "plain" };
    format!("s{number}[{text}]:::{class}")
}

fn endpoint(picture: &Picture, index: usize, one: &Drawn) -> String {
    let id = one.id.as_deref().unwrap_or_default();
    let names = match one.private.as_slice() {
        [] => one.dns.first().cloned().unwrap_or_default(),
        names => names.join(" "),
    };
    let tables = one.tables.join(" ");
    let there = zones_where(picture, one, "in", |cell| {
        matches!(cell, Cell::Interface(_))
    });
    let gaps = zones_where(picture, one, "missing in", |cell| matches!(cell, Cell::Gap));
    let text = label(&[&one.role, &one.state, id, &names, &tables, &there, &gaps]);
    let class = match one.health {
        Health::Good if gaps.is_empty() => "good",
        Health::Waiting if gaps.is_empty() => "wait",
        _ => "bad",
    };
    format!("e{index}[{text}]:::{class}")
}

/// `in us-east-1a us-east-1b`: the zones whose cell `wanted` takes; nothing when there are none.
fn zones_where(
    picture: &Picture,
    one: &Drawn,
    what: &str,
    wanted: impl Fn(&Cell) -> bool,
) -> String {
    let cells = picture.zones.iter().zip(&one.cells);
    let names: Vec<&str> = cells
        .filter(|(_, cell)| wanted(cell))
        .map(|(zone, _)| zone.name.as_str())
        .collect();
    match names.as_slice() {
        [] => String::new(),
        names => format!("{what} {}", names.join(" ")),
    }
}

/// A quoted label of several lines; empty ones are left out.
fn label(lines: &[&str]) -> String {
    let lines = lines.iter().filter(|line| !line.is_empty());
    let lines: Vec<String> = lines.map(|line| escape(line)).collect();
    format!("\"{}\"", lines.join("<br/>"))
}

/// Mermaid's own form of entities, for whatever could end a label or become markup.
fn escape(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars().filter(|c| !c.is_control()) {
        match c {
            '"' | '#' | '<' | '>' | '&' | '`' | ';' | '*' | '_' | '[' | ']' | '{' | '}' => {
                out.push_str(&format!("#{};", u32::from(c)));
            }
            c => out.push(c),
        }
    }
    out
}

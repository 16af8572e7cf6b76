//! The picture as a Mermaid flowchart. Identifiers are ours, labels are data.

use super::{Cell, Drawn, Health, Picture, Place};

/// The whole chart.
pub(super) fn draw(picture: &Picture) -> String {
    let mut out = String::from("flowchart TB\n");
    let title = format!(
        "{} {} {}",
        picture.vpc,
        picture.region,
        picture.cidrs.join(" ")
    );
    out.push_str(&format!("  subgraph vpc[{}]\n", label(&[&title])));
    for (index, zone) in picture.zones.iter().enumerate() {
        let title = format!("{} {}", zone.name, zone.id);
        out.push_str(&format!(
            "    subgraph z{index}[{}]\n",
            label(&[title.trim()])
        ));
        for place in &zone.subnets {
            out.push_str(&format!("      {}\n", subnet(picture, place)));
        }
        out.push_str("    end\n");
    }
    for (index, one) in picture.endpoints.iter().enumerate() {
        out.push_str(&format!("    {}\n", endpoint(index, one)));
    }
    out.push_str("  end\n");
    for (index, one) in picture.endpoints.iter().enumerate() {
        out.push_str(&links(picture, index, one));
    }
    for (index, problem) in picture.problems.iter().enumerate() {
        out.push_str(&format!("  p{index}[{}]:::bad\n", label(&[problem])));
    }
    out.push_str(CLASSES);
    out
}

const CLASSES: &str = "  classDef good stroke:#1a7f37,stroke-width:2px
  classDef wait stroke:#9a6700,stroke-width:2px
  classDef bad stroke:#cf222e,stroke-width:2px,stroke-dasharray:5 4
  classDef plain stroke:#8c959f
";

fn subnet(picture: &Picture, place: &Place) -> String {
    let mark = if place.tagged { "tagged" } else { "not tagged" };
    let public = if place.public { ", public" } else { "" };
    let last = format!("{mark}{public}");
    let text = label(&[&place.name, &place.id, &place.cidr, &last]);
    let class = if place.tagged { "good" } else { "plain" };
    format!("{}[{text}]:::{class}", id_of(picture, &place.id))
}

fn endpoint(index: usize, one: &Drawn) -> String {
    let id = one.id.as_deref().unwrap_or_default();
    let names = match one.private.as_slice() {
        [] => one.dns.first().cloned().unwrap_or_default(),
        names => names.join(" "),
    };
    let tables = one.tables.join(" ");
    let text = label(&[&one.role, &one.state, id, &names, &tables]);
    let class = match one.health {
        Health::Good => "good",
        Health::Waiting => "wait",
        Health::Bad => "bad",
    };
    format!("e{index}([{text}]):::{class}")
}

fn links(picture: &Picture, index: usize, one: &Drawn) -> String {
    let mut out = String::new();
    for (zone, cell) in one.cells.iter().enumerate() {
        match cell {
            Cell::Interface(subnet) => {
                out.push_str(&format!("  {} --- e{index}\n", id_of(picture, subnet)));
            }
            Cell::Gap => {
                out.push_str(&format!("  z{zone} -. missing .- e{index}\n"));
            }
            Cell::Unneeded => {}
        }
    }
    out
}

/// The identifier of a subnet: its place in the picture.
fn id_of(picture: &Picture, subnet: &str) -> String {
    let mut all = picture.zones.iter().flat_map(|zone| &zone.subnets);
    let place = all.position(|place| place.id == subnet).unwrap_or_default();
    format!("s{place}")
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

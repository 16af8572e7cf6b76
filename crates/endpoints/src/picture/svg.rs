//! The picture as SVG, laid out by hand: one column for each zone, subnets above, one
//! band for each endpoint below with a cell in every column.
//!
//! Widths of text are reckoned from a fixed-width font, and what does not fit is cut in
//! the middle; the whole text is in the tooltip. Names are data: everything is escaped.

use castlink_core::printer::count;

use super::{Cell, Drawn, Health, Picture, Place, Zone};

/// Around everything, and between columns.
const MARGIN: u32 = 24;
const GAP: u32 = 14;
/// Inside boxes.
const PAD: u32 = 12;
/// No column is narrower, and all of them together are not.
const COLUMN: u32 = 216;
const CONTENT: u32 = 640;
const HEADER: u32 = 78;
const PROBLEM: u32 = 26;
const ZONE_HEAD: u32 = 34;
const SUBNET: u32 = 70;
const BAND: u32 = 112;
/// Height of a cell of a band.
const CELL: u32 = 26;
const FOOTER: u32 = 40;

const STYLE: &str = "
text { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace; font-size: 11px; fill: #1f2328 }
.big { font-size: 16px; font-weight: 600 }
.bold { font-weight: 600 }
.dim { fill: #59636e }
.good { fill: #1a7f37 }
.wait { fill: #9a6700 }
.bad { fill: #cf222e }
.end { text-anchor: end }
.paper { fill: #ffffff; stroke: #d0d7de }
.zone rect.frame { fill: #f6f8fa; stroke: #d0d7de }
.box { fill: #ffffff; stroke: #d0d7de }
.tagged { fill: #1a7f37 }
.untagged { fill: #c4ccd4 }
.band { fill: #ffffff; stroke: #d0d7de }
.band.lost { fill: #fff5f4; stroke: #cf222e; stroke-dasharray: 5 4 }
.there { fill: #ddf4ff; stroke: #54aeff }
.gap { fill: #ffebe9; stroke: #cf222e; stroke-dasharray: 4 3 }
.none { fill: none; stroke: #d8dee4; stroke-dasharray: 2 4 }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 }
.dim { fill: #9198a1 }
.good { fill: #3fb950 }
.wait { fill: #d29922 }
.bad { fill: #f85149 }
.paper { fill: #0d1117; stroke: #3d444d }
.zone rect.frame { fill: #151b23; stroke: #3d444d }
.box { fill: #0d1117; stroke: #3d444d }
.tagged { fill: #3fb950 }
.untagged { fill: #3d444d }
.band { fill: #0d1117; stroke: #3d444d }
.band.lost { fill: #25171c; stroke: #f85149 }
.there { fill: #10263e; stroke: #388bfd }
.gap { fill: #25171c; stroke: #f85149 }
.none { stroke: #2f353d }
}
";

/// The whole document.
pub(super) fn draw(picture: &Picture) -> String {
    let grid = Grid::of(picture);
    let mut page = Page::default();
    let (width, height) = (grid.width(), grid.height(picture));
    page.rect(
        "paper",
        Area {
            x: 0,
            y: 0,
            width,
            height,
        },
        10,
    );
    header(&mut page, &grid, picture);
    for (index, zone) in picture.zones.iter().enumerate() {
        draw_zone(&mut page, grid.zone(index), zone);
    }
    for (index, endpoint) in picture.endpoints.iter().enumerate() {
        band(&mut page, &grid, grid.band(index), endpoint, picture);
    }
    footer(&mut page, width, height);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" role=\"img\">\n<title>{}</title>\n\
         <style>{STYLE}</style>\n{}</svg>\n",
        escape(&format!("CAST AI endpoints of {}", picture.vpc)),
        page.0
    )
}

/// Where everything is.
struct Grid {
    columns: u32,
    column: u32,
    top: u32,
    zones: u32,
}

#[derive(Clone, Copy)]
struct Area {
    x: u32,
    y: u32,
    width: u32,
    height: u32,
}

impl Grid {
    fn of(picture: &Picture) -> Self {
        let columns = number(picture.zones.len()).max(1);
        let even = (CONTENT.saturating_sub(GAP * (columns - 1))) / columns;
        let tallest = picture.zones.iter().map(|zone| zone.subnets.len()).max();
        let subnets = number(tallest.unwrap_or(0));
        Self {
            columns,
            column: even.max(COLUMN),
            top: HEADER + PROBLEM * number(picture.problems.len()),
            zones: ZONE_HEAD + subnets * (SUBNET + PAD) + PAD / 2,
        }
    }

    fn content(&self) -> u32 {
        self.columns * self.column + (self.columns - 1) * GAP
    }

    fn width(&self) -> u32 {
        self.content() + 2 * MARGIN
    }

    fn height(&self, picture: &Picture) -> u32 {
        self.band(picture.endpoints.len()).y + FOOTER
    }

    fn zone(&self, index: usize) -> Area {
        Area {
            x: MARGIN + number(index) * (self.column + GAP),
            y: self.top,
            width: self.column,
            height: self.zones,
        }
    }

    fn band(&self, index: usize) -> Area {
        Area {
            x: MARGIN,
            y: self.top + self.zones + GAP + number(index) * (BAND + GAP),
            width: self.content(),
            height: BAND,
        }
    }
}

fn header(page: &mut Page, grid: &Grid, picture: &Picture) {
    let right = MARGIN + grid.content();
    let summary = format!(
        "{} of {} available",
        picture.available(),
        count(picture.endpoints.len(), "endpoint")
    );
    let (class, taken) = match picture.is_whole() {
        true => ("bold good end", width(&summary, 11)),
        false => ("bold bad end", width(&summary, 11)),
    };
    let title = format!("{} · {}", picture.vpc, picture.region);
    page.text("big", MARGIN, 36, &title, 16, grid.content() - taken - GAP);
    page.text(class, right, 36, &summary, 11, taken);
    page.text(
        "dim",
        MARGIN,
        58,
        &picture.cidrs.join(" · "),
        11,
        grid.content(),
    );
    for (index, problem) in picture.problems.iter().enumerate() {
        let y = HEADER - 2 + PROBLEM * number(index);
        page.text(
            "bold bad",
            MARGIN,
            y + 6,
            &format!("✗ {problem}"),
            11,
            grid.content(),
        );
    }
}

fn draw_zone(page: &mut Page, area: Area, zone: &Zone) {
    page.open("zone", &zone.name);
    page.rect("frame", area, 8);
    let inner = area.width - 2 * PAD;
    let taken = width(&zone.id, 11);
    page.text(
        "bold",
        area.x + PAD,
        area.y + 22,
        &zone.name,
        11,
        inner - taken - PAD,
    );
    page.text(
        "dim end",
        area.x + area.width - PAD,
        area.y + 22,
        &zone.id,
        11,
        taken,
    );
    for (index, place) in zone.subnets.iter().enumerate() {
        let area = Area {
            x: area.x + PAD,
            y: area.y + ZONE_HEAD + number(index) * (SUBNET + PAD),
            width: inner,
            height: SUBNET,
        };
        subnet(page, area, place);
    }
    page.close();
}

fn subnet(page: &mut Page, area: Area, place: &Place) {
    page.open("subnet", &place.id);
    page.rect("box", area, 6);
    let bar = Area { width: 4, ..area };
    page.rect(if place.tagged { "tagged" } else { "untagged" }, bar, 2);
    let (x, inner) = (area.x + PAD, area.width - PAD - PAD / 2);
    let name = if place.name.is_empty() {
        "no name"
    } else {
        &place.name
    };
    page.text("bold", x, area.y + 17, name, 11, inner);
    page.text("dim", x, area.y + 32, &place.id, 11, inner);
    let cidr = if place.cidr.is_empty() {
        "IPv6 only"
    } else {
        &place.cidr
    };
    let room = format!("{cidr} · {} free", place.free);
    page.text("dim", x, area.y + 47, &room, 11, inner);
    let (class, mark) = if place.tagged {
        ("good", "✓ tagged")
    } else {
        ("dim", "not tagged")
    };
    page.text(class, x, area.y + 62, mark, 11, inner / 2);
    if place.public {
        page.text(
            "wait end",
            area.x + area.width - PAD / 2,
            area.y + 62,
            "public",
            11,
            inner / 2,
        );
    }
    page.close();
}

fn band(page: &mut Page, grid: &Grid, area: Area, endpoint: &Drawn, picture: &Picture) {
    page.open("endpoint", &endpoint.role);
    let lost = endpoint.id.is_none();
    page.rect(if lost { "band lost" } else { "band" }, area, 8);
    head(page, area, endpoint);
    if endpoint.gateway {
        routes(page, area, endpoint);
    }
    for (index, cell) in endpoint.cells.iter().enumerate() {
        let column = grid.zone(index);
        let area = Area {
            x: column.x + PAD,
            y: area.y + 34,
            width: column.width - 2 * PAD,
            height: CELL,
        };
        draw_cell(page, area, cell, picture);
    }
    let (x, inner) = (area.x + PAD, area.width - 2 * PAD);
    let (class, names) = resolved(endpoint);
    page.text(class, x, area.y + 81, &names, 11, inner);
    if let Some(name) = endpoint.dns.first() {
        page.text("dim", x, area.y + 98, name, 11, inner);
    }
    page.close();
}

/// Role and title on the left, state and id on the right.
fn head(page: &mut Page, area: Area, endpoint: &Drawn) {
    let inner = area.width - 2 * PAD;
    let right = area.x + area.width - PAD;
    let (x, y) = (area.x + PAD, area.y + 21);
    let role = width(&endpoint.role, 11).min(inner / 4);
    page.text("bold", x, y, &endpoint.role, 11, role);
    let id = endpoint.id.as_deref().unwrap_or_default();
    let id_width = width(id, 11);
    page.text("dim end", right, y, id, 11, id_width);
    let rest = inner.saturating_sub(role + id_width + 3 * PAD);
    let state = width(&endpoint.state, 11).min(rest);
    let state_end = right - id_width - if id.is_empty() { 0 } else { PAD };
    page.text(
        tone(endpoint.health),
        state_end,
        y,
        &endpoint.state,
        11,
        state,
    );
    let left = rest.saturating_sub(state + PAD);
    page.text("dim", x + role + PAD, y, &endpoint.title, 11, left);
}

fn tone(health: Health) -> &'static str {
    match health {
        Health::Good => "bold good end",
        Health::Waiting => "bold wait end",
        Health::Bad => "bold bad end",
    }
}

fn draw_cell(page: &mut Page, area: Area, cell: &Cell, picture: &Picture) {
    let (class, tone, text) = match cell {
        Cell::Interface(subnet) => ("there", "", name_of(picture, subnet)),
        Cell::Gap => ("gap", "bold bad", "✗ no interface".to_owned()),
        Cell::Unneeded => ("none", "dim", "–".to_owned()),
    };
    page.rect(class, area, 5);
    page.text(
        tone,
        area.x + PAD,
        area.y + 17,
        &text,
        11,
        area.width - 2 * PAD,
    );
}

fn name_of(picture: &Picture, subnet: &str) -> String {
    let mut all = picture.zones.iter().flat_map(|zone| &zone.subnets);
    let named = all.find(|place| place.id == subnet && !place.name.is_empty());
    named.map_or(subnet, |place| &place.name).to_owned()
}

/// A gateway has one cell for all columns.
fn routes(page: &mut Page, area: Area, endpoint: &Drawn) {
    let area = Area {
        x: area.x + PAD,
        y: area.y + 34,
        width: area.width - 2 * PAD,
        height: CELL,
    };
    let (class, tone, text) = match endpoint.tables.as_slice() {
        [] => ("gap", "bold bad", "✗ no routes".to_owned()),
        tables => ("there", "", format!("routes in {}", tables.join(" "))),
    };
    page.rect(class, area, 5);
    page.text(
        tone,
        area.x + PAD,
        area.y + 17,
        &text,
        11,
        area.width - 2 * PAD,
    );
}

/// What private DNS does.
fn resolved(endpoint: &Drawn) -> (&'static str, String) {
    match (endpoint.private_dns, endpoint.private.as_slice()) {
        _ if endpoint.gateway => ("dim", "gateway: routes, no names of its own".to_owned()),
        (true, []) => ("good", "private DNS on".to_owned()),
        (true, names) => ("good", format!("{} resolves here", names.join(" "))),
        (false, _) if endpoint.id.is_none() => ("bad", "nothing resolves here".to_owned()),
        (false, _) => ("bad", "private DNS off".to_owned()),
    }
}

fn footer(page: &mut Page, width: u32, height: u32) {
    let text = "green bar: tagged cast.ai/routable=true · blue: interface · red: missing";
    page.text("dim", MARGIN, height - 18, text, 11, width - 2 * MARGIN);
}

/// Elements in the order in which they are painted.
#[derive(Default)]
struct Page(String);

impl Page {
    fn open(&mut self, class: &str, id: &str) {
        self.0.push_str(&format!(
            "<g class=\"{class}\" data-id=\"{}\">\n",
            escape(id)
        ));
    }

    fn close(&mut self) {
        self.0.push_str("</g>\n");
    }

    fn rect(&mut self, class: &str, area: Area, round: u32) {
        let Area {
            x,
            y,
            width,
            height,
        } = area;
        self.0.push_str(&format!(
            "<rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" rx=\"{round}\"/>\n"
        ));
    }

    /// At most `room` wide; what is cut off is in the tooltip.
    fn text(&mut self, class: &str, x: u32, y: u32, text: &str, size: u32, room: u32) {
        let shown = fit(text, size, room);
        if shown.is_empty() {
            return;
        }
        let whole = if shown == text {
            String::new()
        } else {
            format!("<title>{}</title>", escape(text))
        };
        self.0.push_str(&format!(
            "<text class=\"{class}\" x=\"{x}\" y=\"{y}\">{whole}{}</text>\n",
            escape(&shown)
        ));
    }
}

/// The width of text in pixels, rounded up: the letters of the fonts named above are 0.60
/// to 0.61 of their size wide, those of East Asia twice that.
fn width(text: &str, size: u32) -> u32 {
    number(console::measure_text_width(text)) * size * 62 / 100 + 1
}

/// The text, or its ends with an ellipsis between them.
fn fit(text: &str, size: u32, room: u32) -> String {
    let clean: String = text.chars().filter(|c| !c.is_control()).collect();
    if width(&clean, size) <= room {
        return clean;
    }
    let letters: Vec<char> = clean.chars().collect();
    for keep in (2..letters.len()).rev() {
        let tail = keep / 2;
        let head: String = letters[..keep - tail].iter().collect();
        let end: String = letters[letters.len() - tail..].iter().collect();
        let cut = format!("{head}…{end}");
        if width(&cut, size) <= room {
            return cut;
        }
    }
    String::new()
}

fn escape(text: &str) -> String {
    let clean: String = text.chars().filter(|c| !c.is_control()).collect();
    clean
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

fn number(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

//! The geometry of the drawing, read back from the SVG: everything once, inside of what
//! it belongs to, and no text longer than its box.

use std::collections::BTreeSet;

use castlink_core::config::Config;
use castlink_ec2::{Service, Tags, Vpc};
use roxmltree::{Document, Node};

use super::*;

const NASTY: &str = r#"<b>"R&D" `x`</b> of the very long name that nobody should give to a subnet"#;

/// So many zones, two subnets in each: one tagged, one public in every third zone. Of the
/// endpoints the first lacks the last zone, the second is pending, one was never made.
fn picture(zones: u32) -> Picture {
    let mut config = Config::default();
    config.endpoints.aws_services = vec!["s3".into()];
    let settings = Settings::resolve(&config, "us-east-1").unwrap();
    let world = world(&settings, zones);
    let plan = planner::plan(&settings, &world);
    Picture::of(&settings, &world, &plan)
}

fn world(settings: &Settings, zones: u32) -> World {
    let zone = |n: u32| char::from_u32(u32::from('a') + n).unwrap();
    let subnet = |n: u32, kind: &str| Subnet {
        id: format!("subnet-0123456789abcd{kind}{n:02}"),
        zone: format!("us-east-1{}", zone(n)),
        zone_id: format!("use1-az{}", n + 1),
        cidr: format!("10.0.{n}.0/24"),
        free: 240 + n,
        tags: match kind {
            "a" => Tags::from([
                ("Name".into(), format!("prod-private-{}", zone(n))),
                ("cast.ai/routable".into(), "true".into()),
            ]),
            _ => Tags::from([("Name".into(), NASTY.into())]),
        },
        ..Subnet::default()
    };
    let subnets: Vec<Subnet> = (0..zones)
        .flat_map(|n| [subnet(n, "a"), subnet(n, "b")])
        .collect();
    let public = subnets.iter().filter(|one| one.id.ends_with("b00"));
    World {
        vpc: Vpc {
            id: "vpc-0123456789abcdef0".into(),
            cidrs: vec!["10.0.0.0/16".into(), "100.64.0.0/16".into()],
            dns_support: true,
            dns_hostnames: true,
        },
        public: public.map(|one| (one.id.clone(), "igw-1".into())).collect(),
        services: settings.names().into_iter().map(service).collect(),
        endpoints: endpoints(settings, zones),
        subnets,
        ..World::default()
    }
}

fn service(name: String) -> (String, Service) {
    let service = Service {
        gateway: name.ends_with(".s3"),
        private_names: vec!["api.cast.ai".into()],
        names_verified: true,
        name: name.clone(),
        ..Service::default()
    };
    (name, service)
}

/// Of five of the six services, in order.
fn endpoints(settings: &Settings, zones: u32) -> Vec<Endpoint> {
    let one = |(n, service): (u32, &castlink_core::catalogue::Service)| {
        let id = format!("vpce-0{n}23456789abcdef0");
        let host = service.name.rsplit('.').next().unwrap();
        let zones = if n == 0 { zones - 1 } else { zones };
        Endpoint {
            service: service.name.clone(),
            state: if n == 1 {
                State::Pending
            } else {
                State::Available
            },
            subnets: (0..zones)
                .map(|n| format!("subnet-0123456789abcda{n:02}"))
                .collect(),
            private_dns: n != 2,
            dns_names: vec![
                format!("{id}-a1b2c3d4.{host}.us-east-1.vpce.amazonaws.com"),
                format!("{}.cast.ai", service.role),
            ],
            id,
            ..Endpoint::default()
        }
    };
    (0..5).zip(&settings.services).map(one).collect()
}

fn number(node: Node<'_, '_>, name: &str) -> f64 {
    node.attribute(name).unwrap().parse().unwrap()
}

/// Left, top, right, bottom of a group's first rectangle.
fn area(node: Node<'_, '_>) -> [f64; 4] {
    let rect = match node.has_tag_name(("http://www.w3.org/2000/svg", "rect")) {
        true => node,
        false => node
            .children()
            .find(|one| one.attribute("rx").is_some())
            .unwrap(),
    };
    let [x, y] = ["x", "y"].map(|name| number(rect, name));
    let [width, height] = ["width", "height"].map(|name| number(rect, name));
    [x, y, x + width, y + height]
}

fn inside(inner: [f64; 4], outer: [f64; 4]) -> bool {
    inner[0] >= outer[0] && inner[1] >= outer[1] && inner[2] <= outer[2] && inner[3] <= outer[3]
}

fn groups<'a>(document: &'a Document<'_>, class: &'a str) -> Vec<Node<'a, 'a>> {
    let all = document.descendants();
    all.filter(|node| node.tag_name().name() == "g" && node.attribute("class") == Some(class))
        .collect()
}

/// The horizontal extent of a text: 0.62 of the size for each letter.
fn extent(text: Node<'_, '_>) -> [f64; 2] {
    let class = text.attribute("class").unwrap_or_default();
    let size = if class.contains("big") { 16.0 } else { 11.0 };
    let shown: String = text
        .children()
        .filter_map(|node| node.is_text().then(|| node.text())?)
        .collect();
    let width =
        f64::from(u32::try_from(console::measure_text_width(&shown)).unwrap()) * size * 0.62;
    let x = number(text, "x");
    if class.contains("end") {
        [x - width, x]
    } else {
        [x, x + width]
    }
}

#[test]
fn every_subnet_is_once_in_its_zone_and_nothing_overlaps() {
    for zones in [1, 2, 3, 6] {
        let picture = picture(zones);
        let svg = svg::draw(&picture);
        let document = Document::parse(&svg).unwrap();
        let page = area(
            document
                .descendants()
                .find(|n| n.attribute("class") == Some("paper"))
                .unwrap(),
        );
        let frames = groups(&document, "zone");
        assert_eq!(frames.len(), picture.zones.len());
        let mut seen = BTreeSet::new();
        for (frame, zone) in frames.iter().zip(&picture.zones) {
            assert_eq!(frame.attribute("data-id"), Some(zone.name.as_str()));
            assert!(inside(area(*frame), page), "{zones}: {zone:?}");
            let boxes: Vec<_> = frame
                .children()
                .filter(|n| n.attribute("class") == Some("subnet"))
                .collect();
            assert_eq!(boxes.len(), zone.subnets.len());
            for (one, place) in boxes.iter().zip(&zone.subnets) {
                assert_eq!(one.attribute("data-id"), Some(place.id.as_str()));
                assert!(seen.insert(place.id.clone()) && inside(area(*one), area(*frame)));
            }
            let tops: Vec<f64> = boxes.iter().map(|one| area(*one)[1]).collect();
            let bottoms: Vec<f64> = boxes.iter().map(|one| area(*one)[3]).collect();
            assert!(
                tops.iter()
                    .skip(1)
                    .zip(&bottoms)
                    .all(|(top, above)| top >= above)
            );
        }
        let lefts = frames.iter().skip(1).map(|one| area(*one)[0]);
        assert!(
            lefts
                .zip(&frames)
                .all(|(left, before)| left >= area(*before)[2])
        );
        assert_eq!(seen.len(), usize::try_from(2 * zones).unwrap());
    }
}

#[test]
fn every_cell_is_under_its_zone_and_gaps_are_red() {
    for zones in [2, 6] {
        let picture = picture(zones);
        let svg = svg::draw(&picture);
        let document = Document::parse(&svg).unwrap();
        let columns: Vec<[f64; 4]> = groups(&document, "zone").into_iter().map(area).collect();
        let bands = groups(&document, "endpoint");
        assert_eq!(bands.len(), 7);
        for (band, drawn) in bands.iter().zip(&picture.endpoints) {
            let rects = band.children().filter(|n| n.attribute("rx") == Some("5"));
            let cells: Vec<(&str, [f64; 4])> = rects
                .map(|n| (n.attribute("class").unwrap(), area(n)))
                .collect();
            assert!(cells.iter().all(|cell| inside(cell.1, area(*band))));
            assert!(area(*band)[1] >= columns[0][3], "under the zones");
            if drawn.gateway {
                continue;
            }
            assert_eq!(cells.len(), columns.len());
            for ((class, cell), (column, want)) in
                cells.iter().zip(columns.iter().zip(&drawn.cells))
            {
                assert!(cell[0] >= column[0] && cell[2] <= column[2]);
                let want = match want {
                    Cell::Interface(_) => "there",
                    Cell::Gap => "gap",
                    Cell::Unneeded => "none",
                };
                assert_eq!(*class, want);
            }
        }
        assert_eq!(picture.endpoints[0].cells.last(), Some(&Cell::Gap));
        assert!(!picture.is_whole());
    }
}

#[test]
fn no_text_leaves_its_box() {
    for zones in [1, 2, 6] {
        let svg = svg::draw(&picture(zones));
        let document = Document::parse(&svg).unwrap();
        let texts = document
            .descendants()
            .filter(|node| node.tag_name().name() == "text");
        for text in texts {
            let parent = text.parent().unwrap();
            let outer = match parent.tag_name().name() {
                "svg" => [0.0, 0.0, number(parent, "width"), number(parent, "height")],
                _ => area(parent),
            };
            let [left, right] = extent(text);
            let said = text
                .descendants()
                .filter_map(|node| node.text())
                .collect::<String>();
            assert!(
                left >= outer[0] && right <= outer[2],
                "{zones} zones: {said}"
            );
            assert!(number(text, "y") < outer[3], "{said}");
        }
    }
}

#[test]
fn a_whole_network_has_nothing_red() {
    let whole = Picture::default();
    assert!(whole.is_whole());
    let svg = svg::draw(&whole);
    let document = Document::parse(&svg).unwrap();
    let red = |node: &Node<'_, '_>| {
        node.attribute("class")
            .is_some_and(|class| class.contains("bad"))
    };
    assert_eq!(document.descendants().filter(red).count(), 0);
}

#[test]
fn the_flowchart_names_every_subnet_once_and_keeps_labels_closed() {
    let chart = mermaid::draw(&picture(3));
    for line in chart.lines() {
        assert_eq!(line.matches('"').count() % 2, 0, "{line}");
        assert!(!line.contains("<b>"), "{line}");
    }
    // One of them is the frame around the others.
    assert_eq!(chart.matches("subgraph z").count(), 3 + 1);
    for n in 0..3 {
        let id = format!("subnet-0123456789abcda{n:02}");
        assert_eq!(chart.matches(&id).count(), 1, "{chart}");
    }
    assert!(
        chart.contains("<br/>in us-east-1a us-east-1b<br/>missing in us-east-1c\"]:::bad"),
        "{chart}"
    );
    assert!(
        chart.contains("#60;b#62;#34;R#38;D#34; #96;x#96;"),
        "{chart}"
    );
}

#[test]
fn the_pictures_are_those_of_the_files() {
    for (zones, name) in [(2, "two.svg"), (6, "six.svg")] {
        let got = svg::draw(&picture(zones));
        let path = format!("{}/src/picture/golden/{name}", env!("CARGO_MANIFEST_DIR"));
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&path, &got).unwrap();
        }
        assert!(
            got == std::fs::read_to_string(&path).unwrap(),
            "{name} differs"
        );
    }
}

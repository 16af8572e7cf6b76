//! The network as a picture: zones with their subnets, and under them every endpoint with
//! its interfaces. What is missing is what the planner would add.
//!
//! [`Picture`] is made from a plan; drawing it is a pure function of that.

mod mermaid;
mod svg;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use castlink_core::{Exit, Printer, Result, app::Outcome};
use castlink_ec2::{Endpoint, Network, State, Subnet};
use clap::ValueEnum;

use crate::{
    choose::is_routable,
    observe::{self, Scope, World},
    plan::{Item, Plan, Verdict},
    planner,
    settings::Settings,
};

/// How it is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// A grid, for browsers and documents
    Svg,
    /// A flowchart, for Markdown
    Mermaid,
}

/// A VPC with its endpoints.
#[derive(Debug, Default)]
struct Picture {
    vpc: String,
    region: String,
    cidrs: Vec<String>,
    /// By name of the zone.
    zones: Vec<Zone>,
    endpoints: Vec<Drawn>,
    /// What stands in the way of everything.
    problems: Vec<String>,
}

/// An availability zone.
#[derive(Debug)]
struct Zone {
    name: String,
    id: String,
    subnets: Vec<Place>,
}

/// A subnet.
#[derive(Debug)]
struct Place {
    id: String,
    name: String,
    cidr: String,
    free: u32,
    tagged: bool,
    public: bool,
}

/// An endpoint, or that there is none.
#[derive(Debug)]
struct Drawn {
    role: String,
    title: String,
    /// Nothing when it does not exist.
    id: Option<String>,
    state: String,
    health: Health,
    /// Names of its own.
    dns: Vec<String>,
    /// The service's names, when they resolve to it.
    private: Vec<String>,
    private_dns: bool,
    /// One per zone of the picture; empty for gateways.
    cells: Vec<Cell>,
    /// Route tables of a gateway.
    tables: Vec<String>,
    gateway: bool,
}

/// How well an endpoint does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Health {
    Good,
    Waiting,
    Bad,
}

/// An endpoint in a zone.
#[derive(Debug, PartialEq, Eq)]
enum Cell {
    /// An interface, in this subnet.
    Interface(String),
    /// None, though nodes are here.
    Gap,
    /// None, and none is needed.
    Unneeded,
}

/// Prints the picture; exit 3 when it has gaps.
pub(crate) async fn run(
    printer: &Printer,
    network: &Network,
    scope: &Scope,
    settings: &Settings,
    format: Format,
) -> Result<Outcome> {
    let world = observe::observe(network, scope, settings).await?;
    let plan = planner::plan(settings, &world);
    let picture = Picture::of(settings, &world, &plan);
    let text = match format {
        Format::Svg => svg::draw(&picture),
        Format::Mermaid => mermaid::draw(&picture),
    };
    printer.raw(text.trim_end());
    let exit = if picture.is_whole() {
        Exit::Done
    } else {
        Exit::Pending
    };
    Ok(exit.into())
}

impl Picture {
    fn of(settings: &Settings, world: &World, plan: &Plan) -> Self {
        let zones = zones(world);
        let drawn = |item: &Item| drawn(item, &zones, world);
        Self {
            vpc: world.vpc.id.clone(),
            region: settings.region.clone(),
            cidrs: world.vpc.cidrs.clone(),
            endpoints: plan.items.iter().map(drawn).collect(),
            problems: plan.problems.iter().map(ToString::to_string).collect(),
            zones,
        }
    }

    fn is_whole(&self) -> bool {
        let good = |one: &Drawn| one.health == Health::Good && !one.cells.contains(&Cell::Gap);
        self.problems.is_empty() && self.endpoints.iter().all(good)
    }

    fn available(&self) -> usize {
        let good = self
            .endpoints
            .iter()
            .filter(|one| one.health == Health::Good);
        good.count()
    }
}

fn zones(world: &World) -> Vec<Zone> {
    let names: BTreeSet<&str> = world.subnets.iter().map(|one| one.zone.as_str()).collect();
    let zone = |name: &str| {
        let mut here: Vec<&Subnet> = world
            .subnets
            .iter()
            .filter(|one| one.zone == name)
            .collect();
        here.sort_by_key(|one| (!is_routable(one), one.name(), one.id.as_str()));
        Zone {
            name: name.to_owned(),
            id: here
                .first()
                .map(|one| one.zone_id.clone())
                .unwrap_or_default(),
            subnets: here.into_iter().map(|one| place(one, world)).collect(),
        }
    };
    names.into_iter().map(zone).collect()
}

fn place(subnet: &Subnet, world: &World) -> Place {
    Place {
        id: subnet.id.clone(),
        name: subnet.name().to_owned(),
        cidr: subnet.cidr.clone(),
        free: subnet.free,
        tagged: is_routable(subnet),
        public: world.public.contains_key(&subnet.id),
    }
}

fn drawn(item: &Item, zones: &[Zone], world: &World) -> Drawn {
    let endpoint = item.endpoint.as_ref();
    let service = world.services.get(&item.service.name);
    let gateway = service.is_some_and(|service| service.gateway);
    let names = endpoint
        .map(|one| one.dns_names.clone())
        .unwrap_or_default();
    let (dns, private) = names.into_iter().partition(|name| is_own(name));
    let (state, health) = state(item);
    Drawn {
        role: item.service.role.clone(),
        title: item.service.title.clone(),
        id: endpoint.map(|one| one.id.clone()),
        state,
        health,
        dns,
        private,
        private_dns: endpoint.is_some_and(|one| one.private_dns),
        cells: if gateway {
            Vec::new()
        } else {
            zones
                .iter()
                .map(|zone| cell(item, endpoint, zone))
                .collect()
        },
        tables: endpoint
            .map(|one| one.route_tables.clone())
            .unwrap_or_default(),
        gateway,
    }
}

/// AWS's name for one endpoint, not the service's own.
fn is_own(name: &str) -> bool {
    name.ends_with(".vpce.amazonaws.com") || name.ends_with(".vpce.amazonaws.com.cn")
}

fn state(item: &Item) -> (String, Health) {
    match (&item.verdict, &item.endpoint) {
        (Verdict::Blocked(failure), _) => (failure.to_string(), Health::Bad),
        (_, None) => ("no endpoint".to_owned(), Health::Bad),
        (_, Some(endpoint)) => (endpoint.state.to_string(), health(endpoint)),
    }
}

fn health(endpoint: &Endpoint) -> Health {
    match endpoint.state {
        State::Available => Health::Good,
        State::Pending | State::PendingAcceptance => Health::Waiting,
        _ => Health::Bad,
    }
}

fn cell(item: &Item, endpoint: Option<&Endpoint>, zone: &Zone) -> Cell {
    let used = |place: &&Place| endpoint.is_some_and(|one| one.subnets.contains(&place.id));
    match zone.subnets.iter().find(used) {
        Some(place) => Cell::Interface(place.id.clone()),
        None if item.zones.contains(&zone.name) => Cell::Gap,
        None => Cell::Unneeded,
    }
}

//! What is there after the plan has been carried out, and what of it is there already.
//! Pure.

use std::collections::BTreeSet;

use castlink_ec2::{Endpoint, EndpointChange, Rule, Tags};

use super::identifier;
use crate::{
    observe::World,
    plan::{GroupStep, Item, Plan, Verdict},
    settings::Settings,
    steps,
};

/// Everything that an exporter writes down.
#[derive(Debug)]
pub(crate) struct Design {
    pub(crate) region: String,
    pub(crate) vpc: String,
    /// DNS attributes of the VPC to switch on, as flags of the AWS CLI.
    pub(crate) dns: Vec<&'static str>,
    pub(crate) group: Option<Group>,
    pub(crate) endpoints: Vec<Planned>,
    /// Role and reason of what cannot be made.
    pub(crate) left_out: Vec<(String, String)>,
    /// Seconds to wait for EC2.
    pub(crate) timeout: u64,
}

/// Our security group.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) id: Option<String>,
    pub(crate) name: String,
    pub(crate) text: String,
    pub(crate) tags: Tags,
    /// The rules it has.
    pub(crate) rules: Vec<Rule>,
    /// CIDRs that are still to be let in on 443.
    pub(crate) admit: Vec<String>,
}

/// A security group of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum GroupRef {
    /// Ours, which may not exist yet.
    Own,
    /// One that exists.
    Id(String),
}

/// An endpoint as it is to be.
#[derive(Debug)]
pub(crate) struct Planned {
    pub(crate) role: String,
    /// The role as an identifier, unlike all others.
    pub(crate) label: String,
    pub(crate) service: String,
    pub(crate) service_region: Option<String>,
    /// Its id, when it exists.
    pub(crate) id: Option<String>,
    pub(crate) subnets: Vec<String>,
    pub(crate) groups: Vec<GroupRef>,
    /// Route tables of a gateway; empty for an interface endpoint.
    pub(crate) route_tables: Vec<String>,
    pub(crate) gateway: bool,
    pub(crate) private_dns: bool,
    /// Private DNS comes by a change, once the provider has accepted the endpoint.
    pub(crate) after_acceptance: bool,
    pub(crate) dual_stack: bool,
    pub(crate) tags: Tags,
    /// What is to be changed, when it exists.
    pub(crate) change: Option<EndpointChange>,
    /// That change adds our group.
    pub(crate) own_group: bool,
    /// An endpoint that must be gone first.
    pub(crate) after: Option<String>,
}

impl Design {
    /// Pure: the same plan is the same design.
    pub(crate) fn of(settings: &Settings, world: &World, plan: &Plan) -> Self {
        let mut labels = BTreeSet::new();
        let group = plan.group.as_ref().map(|step| group(settings, world, step));
        let own = group.as_ref().and_then(|group| group.id.clone());
        let mut design = Self {
            region: settings.region.clone(),
            vpc: world.vpc.id.clone(),
            dns: plan.dns.iter().map(|attribute| attribute.flag()).collect(),
            group,
            endpoints: Vec::new(),
            left_out: Vec::new(),
            timeout: settings.deadline.as_secs(),
        };
        for item in &plan.items {
            if let Verdict::Blocked(failure) = &item.verdict {
                let role = item.service.role.clone();
                design.left_out.push((role, failure.one_line()));
            } else {
                let label = unique(&mut labels, &item.service.role);
                let from = Source {
                    settings,
                    world,
                    own: own.as_deref(),
                };
                design.endpoints.extend(from.planned(item, label));
            }
        }
        design
    }

    /// The endpoints that exist and are to be changed.
    pub(crate) fn changed(&self) -> impl Iterator<Item = &Planned> {
        self.endpoints.iter().filter(|one| one.change.is_some())
    }
}

/// Two roles may differ only in what identifiers cannot hold.
fn unique(taken: &mut BTreeSet<String>, role: &str) -> String {
    let base = identifier(role);
    let more = (2..).map(|n| format!("{base}_{n}"));
    let mut names = std::iter::once(base.clone()).chain(more);
    // CloudFormation's names have no underscores.
    let key = |name: &String| name.replace('_', "").to_ascii_lowercase();
    names.find(|name| taken.insert(key(name))).unwrap_or(base)
}

fn group(settings: &Settings, world: &World, step: &GroupStep) -> Group {
    let there = world
        .groups
        .iter()
        .find(|group| Some(&group.id) == step.id.as_ref());
    Group {
        id: step.id.clone(),
        name: there.map_or(&step.name, |group| &group.name).clone(),
        text: steps::group_text(&world.vpc.id),
        tags: there.map_or_else(|| settings.tags_for(&step.name), |group| ours(&group.tags)),
        rules: there.map(|group| group.ingress.clone()).unwrap_or_default(),
        admit: step.admit.clone(),
    }
}

/// Tags without those that AWS gives and nobody may set.
fn ours(tags: &Tags) -> Tags {
    let tags = tags.iter().filter(|(key, _)| !key.starts_with("aws:"));
    tags.map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

/// What an item is read with.
struct Source<'a> {
    settings: &'a Settings,
    world: &'a World,
    own: Option<&'a str>,
}

impl Source<'_> {
    fn planned(&self, item: &Item, label: String) -> Option<Planned> {
        let mut planned = match (&item.verdict, &item.endpoint) {
            (
                Verdict::Create {
                    spec,
                    own_group,
                    after,
                },
                _,
            ) => Planned {
                service_region: spec.service_region.clone(),
                subnets: spec.subnets.clone(),
                groups: self.groups(&spec.groups, *own_group),
                route_tables: spec.route_tables.clone(),
                gateway: spec.is_gateway(),
                private_dns: spec.private_dns,
                dual_stack: spec.dual_stack,
                tags: spec.tags.clone(),
                after: after.clone(),
                ..self.blank(item, label)
            },
            (Verdict::Modify { change, own_group }, Some(endpoint)) => {
                let groups = without(&endpoint.groups, &change.remove_groups, &change.add_groups);
                Planned {
                    subnets: without(
                        &endpoint.subnets,
                        &change.remove_subnets,
                        &change.add_subnets,
                    ),
                    groups: self.groups(&groups, *own_group),
                    route_tables: without(&endpoint.route_tables, &[], &change.add_route_tables),
                    private_dns: change.private_dns.unwrap_or(endpoint.private_dns),
                    dual_stack: change
                        .dual_stack
                        .or(endpoint.dual_stack)
                        .unwrap_or_default(),
                    change: Some(change.clone()),
                    own_group: *own_group,
                    ..self.as_is(item, label, endpoint)
                }
            }
            (_, Some(endpoint)) => self.as_is(item, label, endpoint),
            (_, None) => return None,
        };
        planned.after_acceptance = self.waits(item, &planned);
        Some(planned)
    }

    fn as_is(&self, item: &Item, label: String, endpoint: &Endpoint) -> Planned {
        Planned {
            id: Some(endpoint.id.clone()),
            subnets: endpoint.subnets.clone(),
            groups: self.groups(&endpoint.groups, false),
            route_tables: endpoint.route_tables.clone(),
            gateway: endpoint.gateway,
            private_dns: endpoint.private_dns,
            dual_stack: endpoint.dual_stack.unwrap_or_default(),
            tags: ours(&endpoint.tags),
            ..self.blank(item, label)
        }
    }

    fn blank(&self, item: &Item, label: String) -> Planned {
        Planned {
            role: item.service.role.clone(),
            label,
            service: item.service.name.clone(),
            service_region: None,
            id: None,
            subnets: Vec::new(),
            groups: Vec::new(),
            route_tables: Vec::new(),
            gateway: false,
            private_dns: false,
            after_acceptance: false,
            dual_stack: false,
            tags: Tags::new(),
            change: None,
            own_group: false,
            after: None,
        }
    }

    fn groups(&self, ids: &[String], own_group: bool) -> Vec<GroupRef> {
        let named = |id: &String| match self.own {
            Some(own) if own == id => GroupRef::Own,
            _ => GroupRef::Id(id.clone()),
        };
        let mut groups: Vec<GroupRef> = ids.iter().map(named).collect();
        if own_group && !groups.contains(&GroupRef::Own) {
            groups.push(GroupRef::Own);
        }
        groups
    }

    /// EC2 takes private DNS only after the provider's acceptance.
    fn waits(&self, item: &Item, planned: &Planned) -> bool {
        let service = self.world.services.get(&item.service.name);
        let wanted = service.is_some_and(|service| {
            let named = service.names_verified && !service.private_names.is_empty();
            service.acceptance && named && !service.gateway
        });
        wanted && self.settings.private_dns && !planned.private_dns
    }
}

fn without(before: &[String], less: &[String], more: &[String]) -> Vec<String> {
    let kept = before.iter().filter(|id| !less.contains(id));
    let mut after: Vec<String> = kept.cloned().collect();
    for id in more {
        if !after.contains(id) {
            after.push(id.clone());
        }
    }
    after
}

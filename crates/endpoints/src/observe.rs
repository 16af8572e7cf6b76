//! Reads everything the plan needs, concurrently, in few calls.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use castlink_core::{Failure, Result, config};
use castlink_ec2::{Endpoint, Group, HostedZone, Network, Routes, Service, Subnet, Vpc};
use tokio::{time::timeout, try_join};

use crate::{plan::adopted, settings::Settings};

/// Route 53 is out of reach of most closed networks; what it knows only saves a refusal.
const ZONES: Duration = Duration::from_secs(5);

/// Zones whose endpoints cannot lead to another region, by id: EC2 refuses them.
const SECLUDED: [&str; 1] = ["use1-az3"];

/// Which VPC, and which of its subnets count.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Scope {
    pub(crate) vpc: String,
    /// Subnets that were named: only these are used. Empty = all.
    pub(crate) named: Vec<String>,
    /// Subnets of the cluster, if one was named: their zones are where nodes may be.
    pub(crate) nodes: Vec<String>,
}

/// The network as it is.
#[derive(Debug, Clone, Default)]
pub(crate) struct World {
    pub(crate) scope: Scope,
    pub(crate) vpc: Vpc,
    /// All subnets of the VPC.
    pub(crate) subnets: Vec<Subnet>,
    /// Those that route to an internet gateway, with the gateway.
    pub(crate) public: BTreeMap<String, String>,
    /// The route table of each subnet, when somebody needs to know.
    pub(crate) tables: BTreeMap<String, String>,
    /// The services that EC2 knows, by name.
    pub(crate) services: BTreeMap<String, Service>,
    /// Endpoints of the wanted services in the VPC, in whatever state.
    pub(crate) endpoints: Vec<Endpoint>,
    /// Endpoints of other services in the VPC.
    pub(crate) others: Vec<Endpoint>,
    /// All security groups of the VPC.
    pub(crate) groups: Vec<Group>,
    /// Private hosted zones of the VPC; read only when names are to be switched on.
    pub(crate) hosted_zones: Vec<HostedZone>,
    /// Why they could not be read.
    pub(crate) unread_zones: Option<String>,
}

/// Finds the VPC: named, the cluster's, or that of the named subnets.
///
/// # Errors
/// Exit 2 when nothing is selected, something selected does not exist, or the parts of
/// the selection belong to different VPCs.
pub(crate) async fn scope(network: &Network, selection: &config::Network) -> Result<Scope> {
    let mut scope = Scope {
        named: selection.subnets.clone(),
        ..Scope::default()
    };
    let mut vpcs: Vec<(String, String)> = Vec::new();
    vpcs.extend(
        selection
            .vpc
            .iter()
            .map(|vpc| (vpc.clone(), "--vpc".to_owned())),
    );
    if let Some(name) = &selection.cluster {
        let cluster = network.cluster(name).await?;
        scope.nodes.clone_from(&cluster.subnets);
        let groups = network.node_groups(name).await?;
        scope
            .nodes
            .extend(groups.into_iter().flat_map(|group| group.subnets));
        vpcs.extend(cluster.vpc.map(|vpc| (vpc, format!("cluster {name}"))));
    }
    // An emulator's cluster may have no VPC; its subnets have one.
    let ids = if vpcs.is_empty() && scope.named.is_empty() {
        &scope.nodes
    } else {
        &scope.named
    };
    if !ids.is_empty() {
        let found = network.subnets(ids).await?;
        vpcs.extend(found.into_iter().map(|subnet| (subnet.vpc, subnet.id)));
    }
    scope.vpc = the_only(&vpcs)?;
    Ok(scope)
}

fn the_only(vpcs: &[(String, String)]) -> Result<String> {
    let Some((first, by)) = vpcs.first() else {
        return Err(Failure::usage("no VPC is selected").hint(
            "give --vpc ID, --cluster NAME or --subnet ID, or fill in [network] in castlink.toml",
        ));
    };
    match vpcs.iter().find(|(vpc, _)| vpc != first) {
        None => Ok(first.clone()),
        Some((other, who)) => Err(
            Failure::usage(format!("{who} is in {other}, {by} in {first}"))
                .hint("endpoints are made in one VPC at a time"),
        ),
    }
}

/// Reads the network: seven or eight calls, all at once, and one more when names are to
/// be switched on.
///
/// # Errors
/// Exit 2 when the VPC does not exist.
pub(crate) async fn observe(
    network: &Network,
    scope: &Scope,
    settings: &Settings,
) -> Result<World> {
    let names = settings.names();
    let (vpc, (subnets, routes), services, endpoints, groups) = try_join!(
        network.vpc(&scope.vpc),
        subnets(network, scope, settings),
        services(network, settings),
        network.endpoints(&scope.vpc, &[]),
        network.groups(&scope.vpc),
    )?;
    let services = reachable(services, &subnets, settings);
    let (endpoints, others) = endpoints
        .into_iter()
        .partition(|endpoint| names.contains(&endpoint.service));
    let mut world = World {
        scope: scope.clone(),
        vpc,
        subnets,
        public: routes.public,
        tables: routes.tables,
        services,
        endpoints,
        others,
        groups,
        ..World::default()
    };
    if needs_names(&world, settings) {
        match hosted_zones(network, &scope.vpc).await {
            Ok(zones) => world.hosted_zones = zones,
            Err(failure) => world.unread_zones = Some(failure.one_line()),
        }
    }
    Ok(world)
}

/// True when a service is to get names that no endpoint has yet.
fn needs_names(world: &World, settings: &Settings) -> bool {
    let nameless = |name: &String| {
        let named = adopted(&world.endpoints, name).is_some_and(|endpoint| endpoint.private_dns);
        let offered = world.services.get(name);
        !named && offered.is_some_and(|service| !service.private_names.is_empty())
    };
    settings.private_dns && settings.names().iter().any(nameless)
}

async fn hosted_zones(network: &Network, vpc: &str) -> Result<Vec<HostedZone>> {
    let late = |_| Failure::unreachable("Route 53 does not answer");
    timeout(ZONES, network.hosted_zones(vpc))
        .await
        .map_err(late)?
}

/// With named subnets and no gateway nobody needs to know the routes.
async fn subnets(
    network: &Network,
    scope: &Scope,
    settings: &Settings,
) -> Result<(Vec<Subnet>, Routes)> {
    let subnets = network.subnets_of(&scope.vpc).await?;
    let routes = if scope.named.is_empty() || settings.aws.needs_routes() {
        network.routes(&subnets).await?
    } else {
        Routes::default()
    };
    Ok((subnets, routes))
}

/// CAST AI's services, and AWS's own if any are wanted: at most two calls.
async fn services(network: &Network, settings: &Settings) -> Result<BTreeMap<String, Service>> {
    let castai = settings.castai_names();
    let aws = settings.aws.names();
    let (mut services, more) = try_join!(
        network.services_in(settings.service_region.as_deref(), &castai),
        network.aws_services(&aws),
    )?;
    services.extend(more);
    Ok(services)
}

/// EC2 names no zones for a service of another region: all are meant but those that
/// cannot reach other regions.
fn reachable(
    mut services: BTreeMap<String, Service>,
    subnets: &[Subnet],
    settings: &Settings,
) -> BTreeMap<String, Service> {
    if settings.service_region.is_none() {
        return services;
    }
    let ids = subnets.iter().map(|subnet| subnet.zone_id.clone());
    let ids: BTreeSet<String> = ids.filter(|id| !SECLUDED.contains(&id.as_str())).collect();
    for wanted in &settings.services {
        if let Some(service) = services.get_mut(&wanted.name)
            && service.zones.is_empty()
            && service.zone_ids.is_empty()
        {
            service.zone_ids = ids.iter().cloned().collect();
        }
    }
    services
}

impl World {
    /// The route tables through which nodes may go: of the named subnets, else of the
    /// cluster's and of all private ones.
    pub(crate) fn node_tables(&self) -> BTreeSet<&str> {
        let scope = &self.scope;
        let counts = |subnet: &&Subnet| match scope.named.as_slice() {
            [] => scope.nodes.contains(&subnet.id) || !self.public.contains_key(&subnet.id),
            named => named.contains(&subnet.id),
        };
        let subnets = self.subnets.iter().filter(counts);
        let tables = subnets.filter_map(|subnet| self.tables.get(&subnet.id));
        tables.map(String::as_str).collect()
    }

    /// Those of them in which a gateway endpoint has no route.
    pub(crate) fn without_route(&self, endpoint: &Endpoint) -> Vec<&str> {
        let tables = self.node_tables().into_iter();
        let known = |table: &&str| endpoint.route_tables.iter().any(|one| one == table);
        tables.filter(|table| !known(table)).collect()
    }
}

#[cfg(test)]
mod tests {
    use castlink_core::Exit;

    use super::*;

    fn zones_of_kvisor(service_region: Option<&str>) -> Vec<String> {
        let mut config = config::Config::default();
        config.endpoints.service_region = service_region.map(Into::into);
        config.endpoints.services = vec!["kvisor".into()];
        let settings = Settings::resolve(&config, "us-east-1").unwrap();
        let name = settings.services[0].name.clone();
        let subnet = |id: &str| Subnet {
            zone_id: id.into(),
            ..Subnet::default()
        };
        let subnets = ["use1-az1", "use1-az3", "use1-az6"].map(subnet);
        let services = BTreeMap::from([(name.clone(), Service::default())]);
        reachable(services, &subnets, &settings)[&name]
            .zone_ids
            .clone()
    }

    #[test]
    fn a_service_of_another_region_is_everywhere_but_in_the_secluded_zone() {
        assert_eq!(zones_of_kvisor(Some("us-east-2")), ["use1-az1", "use1-az6"]);
        assert!(zones_of_kvisor(None).is_empty(), "as EC2 says");
    }

    #[test]
    fn one_vpc_or_a_usage_error() {
        let pair = |vpc: &str, by: &str| (vpc.to_owned(), by.to_owned());
        let same = [pair("vpc-1", "--vpc"), pair("vpc-1", "subnet-1")];
        assert_eq!(the_only(&same).unwrap(), "vpc-1");
        let err = the_only(&[pair("vpc-1", "--vpc"), pair("vpc-2", "subnet-1")]).unwrap_err();
        assert_eq!(err.exit(), Exit::Usage);
        assert!(err.to_string().contains("subnet-1 is in vpc-2"), "{err}");
        assert_eq!(the_only(&[]).unwrap_err().exit(), Exit::Usage);
    }
}

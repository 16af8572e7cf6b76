//! Describes the subnets that are meant, each with the reasons why.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use castlink_core::{Failure, Result, config};
use castlink_ec2::{Network, Subnet};
use tokio::{join, time::timeout};

use crate::{
    discover::{self, Found},
    nodes::Nodes,
};

/// A subnet that is meant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Candidate {
    /// As EC2 describes it.
    pub(crate) subnet: Subnet,
    /// Why it is meant: `named`, `node group blue`.
    pub(crate) reasons: Vec<String>,
    /// Somebody named this very subnet.
    pub(crate) named: bool,
    /// The internet gateway it routes to.
    pub(crate) gateway: Option<String>,
    /// The other account that owns it and shares it with this one.
    pub(crate) shared_by: Option<String>,
}

/// What was found, and what is worth knowing about the search.
#[derive(Debug, Default)]
pub(crate) struct World {
    /// Sorted by VPC, zone and id.
    pub(crate) candidates: Vec<Candidate>,
    pub(crate) warnings: Vec<String>,
}

const NAMED: &str = "named";
/// STS is asked only to tell whose subnets are; a closed network may not reach it.
const WHO: Duration = Duration::from_secs(5);

/// All subnets of the selection.
///
/// # Errors
/// Exit 2 when nothing is selected, or something selected does not exist.
pub(crate) async fn observe(
    network: &Network,
    selection: &config::Network,
    nodes: Option<&Nodes>,
) -> Result<World> {
    let (account, found) = join!(
        timeout(WHO, network.account()),
        search(network, selection, nodes)
    );
    let (found, subnets) = found?;
    let public = network.public_subnets(&subnets).await?;
    // Not knowing who asks only means not knowing what is shared.
    let account = account.ok().and_then(Result::ok);
    Ok(World {
        candidates: candidates(subnets, &found.reasons, &public, account.as_deref()),
        warnings: found.warnings,
    })
}

async fn search(
    network: &Network,
    selection: &config::Network,
    nodes: Option<&Nodes>,
) -> Result<(Found, Vec<Subnet>)> {
    let mut found = Found::default();
    found.add(&selection.subnets, NAMED);
    if let Some(nodes) = nodes {
        discover::of_nodes(network, nodes, &mut found).await?;
    }
    if let Some(cluster) = &selection.cluster {
        discover::of_cluster(network, cluster, &mut found).await?;
    }
    let mut subnets = match &selection.vpc {
        Some(vpc) => of_vpc(network, vpc, &mut found).await?,
        None => Vec::new(),
    };
    if found.reasons.is_empty() {
        return Err(nothing_selected(selection));
    }
    let known: BTreeSet<&str> = subnets.iter().map(|subnet| subnet.id.as_str()).collect();
    let missing: Vec<String> = found
        .reasons
        .keys()
        .filter(|id| !known.contains(id.as_str()))
        .cloned()
        .collect();
    subnets.extend(network.subnets(&missing).await?);
    Ok((found, subnets))
}

async fn of_vpc(network: &Network, vpc: &str, found: &mut Found) -> Result<Vec<Subnet>> {
    let subnets = network.subnets_of(vpc).await?;
    if subnets.is_empty() {
        // Tells a VPC that does not exist from one without subnets.
        network.vpc(vpc).await?;
        return Err(Failure::usage(format!("{vpc} has no subnets")));
    }
    let ids: Vec<&str> = subnets.iter().map(|subnet| subnet.id.as_str()).collect();
    found.add(&ids, &format!("in {vpc}"));
    Ok(subnets)
}

fn nothing_selected(selection: &config::Network) -> Failure {
    match &selection.cluster {
        Some(cluster) => Failure::usage(format!("cluster {cluster} has no subnets"))
            .hint("name them with --subnet"),
        None => Failure::usage("no subnets are selected").hint(
            "give --cluster NAME, --vpc ID or --subnet ID, or fill in [network] in castlink.toml",
        ),
    }
}

fn candidates(
    subnets: Vec<Subnet>,
    reasons: &BTreeMap<String, BTreeSet<String>>,
    public: &BTreeMap<String, String>,
    account: Option<&str>,
) -> Vec<Candidate> {
    let mut all: Vec<Candidate> = subnets
        .into_iter()
        .map(|subnet| {
            let why = reasons.get(&subnet.id).cloned().unwrap_or_default();
            Candidate {
                named: why.contains(NAMED),
                reasons: why.into_iter().collect(),
                gateway: public.get(&subnet.id).cloned(),
                shared_by: account
                    .filter(|account| !subnet.owner.is_empty() && subnet.owner != *account)
                    .map(|_| subnet.owner.clone()),
                subnet,
            }
        })
        .collect();
    all.sort_by(|a, b| key(a).cmp(&key(b)));
    all
}

fn key(candidate: &Candidate) -> [&str; 3] {
    let subnet = &candidate.subnet;
    [&subnet.vpc, &subnet.zone, &subnet.id]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subnet_of_another_account_is_known_as_shared_when_the_caller_is_known() {
        let subnet = |owner: &str| Subnet {
            id: "s".into(),
            owner: owner.into(),
            ..Subnet::default()
        };
        let none = BTreeMap::new();
        for (owner, account, want) in [
            ("1", Some("1"), None),
            ("2", Some("1"), Some("2")),
            ("2", None, None),
            ("", Some("1"), None),
        ] {
            let found = candidates(vec![subnet(owner)], &BTreeMap::new(), &none, account);
            assert_eq!(found[0].shared_by.as_deref(), want, "{owner:?} {account:?}");
        }
    }
}

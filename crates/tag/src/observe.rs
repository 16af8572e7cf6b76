//! Finds the subnets that are meant, each with the reasons why.

use std::collections::{BTreeMap, BTreeSet};

use castlink_core::{Failure, Result, config};
use castlink_ec2::{Network, Subnet};

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
}

/// Why subnets are meant, by id.
#[derive(Default)]
struct Reasons(BTreeMap<String, BTreeSet<String>>);

const NAMED: &str = "named";

impl Reasons {
    fn add(&mut self, ids: &[String], reason: &str) {
        for id in ids {
            self.0
                .entry(id.clone())
                .or_default()
                .insert(reason.to_owned());
        }
    }
}

/// All subnets of the selection, sorted by VPC, zone and id.
///
/// # Errors
/// Exit 2 when nothing is selected, or something selected does not exist.
pub(crate) async fn observe(
    network: &Network,
    selection: &config::Network,
) -> Result<Vec<Candidate>> {
    let mut reasons = Reasons::default();
    reasons.add(&selection.subnets, NAMED);
    if let Some(cluster) = &selection.cluster {
        of_cluster(network, cluster, &mut reasons).await?;
    }
    let mut subnets = match &selection.vpc {
        Some(vpc) => of_vpc(network, vpc, &mut reasons).await?,
        None => Vec::new(),
    };
    if reasons.0.is_empty() {
        return Err(nothing_selected(selection));
    }
    let known: BTreeSet<&str> = subnets.iter().map(|subnet| subnet.id.as_str()).collect();
    let missing: Vec<String> = reasons
        .0
        .keys()
        .filter(|id| !known.contains(id.as_str()))
        .cloned()
        .collect();
    subnets.extend(network.subnets(&missing).await?);
    let public = network.public_subnets(&subnets).await?;
    Ok(candidates(subnets, &reasons, &public))
}

async fn of_cluster(network: &Network, name: &str, reasons: &mut Reasons) -> Result<()> {
    // The cluster first: for an unknown one, its answer is the better error.
    let cluster = network.cluster(name).await?;
    let groups = network.node_groups(name).await?;
    reasons.add(&cluster.subnets, &format!("control plane of {name}"));
    for group in groups {
        reasons.add(&group.subnets, &format!("node group {}", group.name));
    }
    Ok(())
}

async fn of_vpc(network: &Network, vpc: &str, reasons: &mut Reasons) -> Result<Vec<Subnet>> {
    let subnets = network.subnets_of(vpc).await?;
    if subnets.is_empty() {
        // Tells a VPC that does not exist from one without subnets.
        network.vpc(vpc).await?;
        return Err(Failure::usage(format!("{vpc} has no subnets")));
    }
    let ids: Vec<String> = subnets.iter().map(|subnet| subnet.id.clone()).collect();
    reasons.add(&ids, &format!("in {vpc}"));
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
    reasons: &Reasons,
    public: &BTreeMap<String, String>,
) -> Vec<Candidate> {
    let mut all: Vec<Candidate> = subnets
        .into_iter()
        .map(|subnet| {
            let why = reasons.0.get(&subnet.id).cloned().unwrap_or_default();
            Candidate {
                named: why.contains(NAMED),
                reasons: why.into_iter().collect(),
                gateway: public.get(&subnet.id).cloned(),
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

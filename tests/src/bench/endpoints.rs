//! `castlink-endpoints plan` beside the AWS CLI asking the same questions of the same
//! gate. The CLI starts anew for each of them, and that is what a script of it costs.
//! And `apply`, where every endpoint is pending for a while: six should take as long as one.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};

use super::args::Endpoints;
use super::exec::{self, Job, Usage};
use super::report::median;
use super::{print, say};
use crate::aws_gate::{ACCESS_KEY, AwsGate, SECRET_KEY, Shared};
use crate::aws_stack::{ACCOUNT, REGION};
use crate::knobs::Knobs;
use crate::moto::{self, Moto};
use crate::network::Network;
use crate::wire::Journal;
use crate::{awscli, process};

/// How many times faster than the CLI.
const BAR: f64 = 5.0;

/// How long an endpoint is pending while `apply` is measured, in milliseconds.
const PENDING_MS: u64 = 10_000;

/// Seconds in which `apply` makes all of them.
const APPLY_BAR: f64 = 12.0;

/// Measures and prints; an error when the bar is missed.
///
/// # Errors
/// When something does not start, a run fails, or castlink is not fast enough.
pub fn run(args: &Endpoints) -> Result<()> {
    let (python, cli) = (moto::ensure(&say)?, awscli::ensure(&say)?);
    let dir = tempfile::tempdir()?;
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let moto = Moto::start(&python, &dir.path().join("logs")).await?;
        let shared = Shared::new(ACCOUNT, REGION, Knobs::default(), None)?;
        let gate = AwsGate::start(&moto.url, shared.clone()).await?;
        let network = Network::create(&gate.url).await?;
        let site = Site {
            dir: dir.path(),
            journal: shared.journal.clone(),
            env: environment(&gate.url, &cli, dir.path())?,
        };
        compare(&site, &network.vpc, args.repeat).await?;
        let slow = |knobs: &mut Knobs| knobs.endpoint_pending_ms = PENDING_MS;
        shared.panel.set(slow);
        make(&site, &network.vpc).await
    })
}

struct Site<'a> {
    dir: &'a Path,
    journal: Arc<Journal>,
    env: BTreeMap<String, String>,
}

/// What a contender used, round by round, and what it asked.
#[derive(Default)]
struct Rounds {
    used: Vec<Usage>,
    actions: Vec<String>,
}

async fn compare(site: &Site<'_>, vpc: &str, repeat: u32) -> Result<()> {
    let plan = vec![command("plan", vpc)?];
    let (mut ours, mut theirs) = (Rounds::default(), Rounds::default());
    let mut calls = Vec::new();
    for round in 1..=repeat {
        say(&format!("round {round} of {repeat}"));
        site.measure(&plan, &mut ours).await?;
        if calls.is_empty() {
            calls = questions(vpc, &site.services());
        }
        site.measure(&calls, &mut theirs).await?;
    }
    ensure!(
        ours.actions == theirs.actions,
        "not the same questions: {:?} and {:?}",
        ours.actions,
        theirs.actions
    );
    report(&ours, &theirs)
}

/// Makes the endpoints, all new, and prints how long that took.
async fn make(site: &Site<'_>, vpc: &str) -> Result<()> {
    say("making the endpoints");
    let mut rounds = Rounds::default();
    site.measure(&[command("apply", vpc)?], &mut rounds).await?;
    let made = rounds
        .actions
        .iter()
        .filter(|one| *one == "CreateVpcEndpoint");
    let (made, taken) = (made.count(), rounds.used[0].wall_s);
    print(&format!(
        "castlink-endpoints apply: {made} endpoints, each pending for {} s, in {taken:.2} s, {} calls (bar: {APPLY_BAR} s)\n",
        PENDING_MS / 1_000,
        rounds.actions.len()
    ))?;
    ensure!(
        taken < APPLY_BAR,
        "castlink-endpoints apply took {taken:.1} s"
    );
    Ok(())
}

fn report(ours: &Rounds, theirs: &Rounds) -> Result<()> {
    let of =
        |rounds: &Rounds, field: fn(&Usage) -> f64| median(rounds.used.iter().map(field).collect());
    let line = |name: &str, rounds: &Rounds| {
        format!(
            "{name:<24} {:>8.2} s {:>8.2} CPU-s {:>6.0} MB {:>4} calls\n",
            of(rounds, |one| one.wall_s),
            of(rounds, |one| one.cpu_s),
            of(rounds, |one| one.rss_mb),
            rounds.actions.len()
        )
    };
    let ratio = of(theirs, |one| one.wall_s) / of(ours, |one| one.wall_s);
    let verdict = format!("{ratio:.1} times faster (bar: {BAR})\n");
    print(
        &[
            line("castlink-endpoints plan", ours),
            line("aws ec2 …", theirs),
            verdict,
        ]
        .concat(),
    )?;
    ensure!(
        ratio >= BAR,
        "castlink-endpoints plan is only {ratio:.1} times faster than the AWS CLI"
    );
    Ok(())
}

impl Site<'_> {
    async fn measure(&self, commands: &[Vec<String>], into: &mut Rounds) -> Result<()> {
        let mark = self.journal.mark();
        let job = Job {
            commands: commands.to_vec(),
            env: self.env.clone(),
            dir: self.dir.to_owned(),
            log: self.dir.join("output.log"),
        };
        let used = exec::run(&job, self.dir).await?;
        ensure!(used.failed == 0, "failed: {}", exec::last_words(&job.log));
        into.used.push(used);
        into.actions = self
            .journal
            .since(mark)
            .into_iter()
            .map(|one| one.action)
            .collect();
        into.actions.sort();
        Ok(())
    }

    /// The services that castlink asked for.
    fn services(&self) -> Vec<String> {
        let asked = self.journal.since(0);
        let asked = asked
            .iter()
            .filter(|one| one.action == "DescribeVpcEndpointServices");
        let params = asked.flat_map(|one| &one.params);
        let names = params.filter(|(key, _)| key.starts_with("ServiceName."));
        names.map(|(_, value)| value.clone()).collect()
    }
}

fn command(verb: &str, vpc: &str) -> Result<Vec<String>> {
    let program = process::binary("castlink-endpoints")?;
    let program = program.to_str().context("a path that is no text")?;
    Ok([program, verb, "--vpc", vpc].map(str::to_owned).into())
}

/// The same questions as calls of the CLI.
fn questions(vpc: &str, services: &[String]) -> Vec<Vec<String>> {
    let here = format!("Name=vpc-id,Values={vpc}");
    let attribute = |name| {
        vec![
            "describe-vpc-attribute",
            "--vpc-id",
            vpc,
            "--attribute",
            name,
        ]
    };
    let mut which = vec!["describe-vpc-endpoint-services", "--service-names"];
    which.extend(services.iter().map(String::as_str));
    let calls = [
        vec!["describe-vpcs", "--filters", &here],
        attribute("enableDnsSupport"),
        attribute("enableDnsHostnames"),
        vec!["describe-subnets", "--filters", &here],
        vec!["describe-route-tables", "--filters", &here],
        which,
        vec!["describe-vpc-endpoints", "--filters", &here],
        vec!["describe-security-groups", "--filters", &here],
    ];
    let aws = |call: Vec<&str>| {
        let words = ["aws", "ec2"].into_iter().chain(call);
        words.map(str::to_owned).collect()
    };
    let zones = [
        "aws",
        "route53",
        "list-hosted-zones-by-vpc",
        "--vpc-id",
        vpc,
        "--vpc-region",
        REGION,
    ];
    let mut all: Vec<Vec<String>> = calls.into_iter().map(aws).collect();
    all.push(zones.map(str::to_owned).into());
    all
}

fn environment(gate: &str, cli: &Path, dir: &Path) -> Result<BTreeMap<String, String>> {
    let bin = awscli::program(cli, dir)?;
    let path = format!("{}:/usr/bin:/bin", bin.display());
    let home = dir.display().to_string();
    let env = [
        ("PATH", path.as_str()),
        ("HOME", &home),
        ("AWS_ENDPOINT_URL", gate),
        ("AWS_ACCESS_KEY_ID", ACCESS_KEY),
        ("AWS_SECRET_ACCESS_KEY", SECRET_KEY),
        ("AWS_REGION", REGION),
        ("AWS_DEFAULT_REGION", REGION),
        ("AWS_EC2_METADATA_DISABLED", "true"),
    ];
    Ok(env
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into())
}

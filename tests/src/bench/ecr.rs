//! castlink-mirror against ECR as the gates play it: how many requests the account pays
//! for, cold and warm.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::Serialize;

use super::access::Requests;
use super::exec::{self, Job, Usage};
use super::images::{HOST, Load, RELEASES, TAG, destination};
use super::machine;
use super::mirror::State;
use super::site::Source;
use super::tools::{Kit, references};
use crate::aws_gate::{ACCESS_KEY, AwsGate, SECRET_KEY, Shared};
use crate::aws_stack::{ACCOUNT, REGION};
use crate::ecr_gate::EcrGate;
use crate::knobs::Knobs;
use crate::registry::{Options, Registry};

/// One run against ECR.
#[derive(Clone, Debug, Serialize)]
pub struct EcrRun {
    /// What the account held.
    pub state: State,
    /// Time, CPU, memory.
    #[serde(flatten)]
    pub usage: Usage,
    /// What the source was asked.
    pub source: Requests,
    /// What AWS was asked, API and data plane, as `service:action`.
    pub destination: BTreeMap<String, usize>,
    /// Those of them that change something.
    pub writes: usize,
    /// Why it does not count.
    pub error: Option<String>,
}

impl EcrRun {
    /// Requests to AWS.
    #[must_use]
    pub fn total(&self) -> usize {
        self.destination.values().sum()
    }
}

/// Measures both states. The account has blob mounting switched on.
///
/// # Errors
/// When something does not start. A copy that fails is a result.
pub async fn run(source: &mut Source, kit: &Kit) -> Result<Vec<EcrRun>> {
    let prefix = "castlink-bench-";
    let dir = tempfile::Builder::new()
        .prefix(prefix)
        .tempdir_in(machine::scratch())?;
    let options = Options {
        name: "ecr-store".to_owned(),
        ..Options::default()
    };
    let http = reqwest::Client::builder().no_proxy().build()?;
    let store = Registry::start(source.program(), dir.path(), &options, &http).await?;
    let shared = Shared::new(ACCOUNT, REGION, Knobs::default(), None)?;
    shared.ecr.database().blob_mounting = true;
    // Nothing here asks for what the emulator plays.
    let api = AwsGate::start("http://127.0.0.1:9", shared.clone()).await?;
    let gate = EcrGate::start(&store.url, shared.clone()).await?;
    let mut runs = Vec::new();
    for state in [State::Cold, State::Warm] {
        let load = state.load();
        let job = job(source, kit, load, (&shared, &api, &gate), dir.path())?;
        source.take().await?;
        let mark = shared.journal.mark();
        let ran = exec::run(&job, dir.path()).await;
        let usage = ran.as_ref().copied().unwrap_or_default();
        let whole = ran.and_then(|usage| verdict(usage, &job, source, &shared, load));
        runs.push(EcrRun {
            state,
            usage,
            source: source.take().await?,
            destination: shared.journal.counts(mark),
            writes: shared
                .journal
                .writes(mark)
                .iter()
                .filter(|one| writes(&one.action))
                .count(),
            error: whole.err().map(|error| format!("{error:#}")),
        });
    }
    Ok(runs)
}

/// The API marks every call that is not a read by its HTTP method, which is POST for all.
fn writes(action: &str) -> bool {
    let reads = ["Get", "Batch", "Describe", "List", "Head", "Ping"];
    !reads.iter().any(|read| action.starts_with(read)) || action == "BatchDeleteImage"
}

fn job(
    source: &Source,
    kit: &Kit,
    load: Load,
    (shared, api, gate): (&Shared, &AwsGate, &EcrGate),
    home: &Path,
) -> Result<Job> {
    let host = shared.ecr.host();
    let (source, release) = (source.url(), RELEASES[load.release]);
    let text = format!(
        "[registries.\"{HOST}\"]\nendpoint = \"{source}/{release}\"\n\n\
         [registries.\"{host}\"]\nendpoint = \"{}\"\n",
        gate.url
    );
    fs::write(home.join("castlink.toml"), text)?;
    let mut command = vec![kit.castlink().display().to_string(), "copy".to_owned()];
    command.extend(references(load));
    command.extend(["--to".to_owned(), host]);
    let env = [
        ("AWS_ENDPOINT_URL", api.url.as_str()),
        ("AWS_ACCESS_KEY_ID", ACCESS_KEY),
        ("AWS_SECRET_ACCESS_KEY", SECRET_KEY),
        ("AWS_EC2_METADATA_DISABLED", "true"),
        ("HOME", home.to_str().context("a home that is not UTF-8")?),
    ];
    Ok(Job {
        commands: vec![command],
        env: env
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
        dir: home.to_owned(),
        log: home.join("output.log"),
    })
}

/// Fails unless the copy succeeded and every image is there, whole.
fn verdict(usage: Usage, job: &Job, source: &Source, shared: &Shared, load: Load) -> Result<()> {
    if usage.failed > 0 {
        bail!("{}", exec::last_words(&job.log));
    }
    let database = shared.ecr.database();
    for (name, tree) in source.trees(load) {
        let repository = destination(name);
        let found = database
            .repositories
            .get(&repository)
            .with_context(|| format!("no repository {repository}"))?;
        if found.tags.get(TAG) != Some(&tree.digest) {
            bail!("{repository}:{TAG} is not {}", tree.digest);
        }
        let missing = tree
            .manifests
            .iter()
            .filter(|one| !found.images.contains_key(*one));
        let blobs = tree
            .blobs
            .keys()
            .filter(|one| !found.blobs.contains_key(*one));
        if let Some(digest) = missing.chain(blobs).next() {
            bail!("{repository} does not have {digest}");
        }
    }
    Ok(())
}

//! The whole job, as a user runs it: `castlink run` against the whole stack. One story in
//! one order, because each chapter starts from the cluster the one before left.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use castlink_tests::kubelet::Faults;
use castlink_tests::process::wait_until;
use castlink_tests::products::Outcome;
use castlink_tests::stack::{Options, Stack};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;

const NAMESPACE: &str = "castai-agent";
const PINNER: &str = "us-docker.pkg.dev/castai-hub/library/pod-pinner:v1.13.0";
const PINNER_TWIN: &str = "ghcr.io/castai/images/pod-pinner:v1.13.0";
const SOON: Duration = Duration::from_secs(90);

#[tokio::test]
async fn the_whole_job_from_isolated_to_upgraded() -> Result<()> {
    let mut options = Options::default();
    options.aws.images.scale = 0.1;
    let stack = Stack::start(options).await?;
    before(&stack).await?;
    one_image_is_missing(&stack).await?;
    one_image_cannot_start(&stack).await?;
    all_is_well(&stack).await?;
    nothing_is_left_to_do(&stack).await?;
    a_chart_nobody_prepared(&stack).await
}

/// Isolated nodes cannot pull what onboarding left: nothing runs but what was there before.
async fn before(stack: &Stack) -> Result<()> {
    wait_until("pods of the closed cluster", SOON, async || {
        let pods = pods(stack).await?;
        ensure!(pods.len() > 20, "{} pods", pods.len());
        for pod in pods.iter().filter(|pod| !finished(pod)) {
            ensure!(
                reasons(pod).iter().any(|r| r.contains("ImagePull")),
                "{:?}",
                name(pod)
            );
            ensure!(!ready(pod), "{} is ready", name(pod));
        }
        Ok(())
    })
    .await
}

/// The other images travel, its workload is left alone, the summary names it: exit 4.
async fn one_image_is_missing(stack: &Stack) -> Result<()> {
    stack.unseed(PINNER).await?;
    stack.unseed(PINNER_TWIN).await?;
    let untouched = deployment(stack, "castai-pod-pinner")
        .await?
        .metadata
        .generation;
    let run = run(stack, &["--network", "--cluster", "castlink-sandbox"])
        .await?
        .expect_code(4)?;
    ensure!(
        run.stdout.contains(&format!("push: {PINNER}")),
        "not named\n{run}"
    );
    ensure!(
        run.stdout
            .contains("Deployment/castai-pod-pinner left alone"),
        "{run}"
    );
    ensure!(
        deployment(stack, "castai-pod-pinner")
            .await?
            .metadata
            .generation
            == untouched,
        "patched\n{run}"
    );
    ensure!(
        deployment(stack, "castai-agent").await?.metadata.generation != Some(1),
        "not patched\n{run}"
    );

    let writes = stack.aws.shared.journal.writes(0);
    let created = writes
        .iter()
        .filter(|entry| entry.action == "CreateVpcEndpoint")
        .count();
    ensure!(created == 6, "{created} endpoints created\n{run}");
    ensure!(
        writes.iter().any(|entry| entry.action == "CreateTags"),
        "no subnet tagged\n{run}"
    );
    Ok(())
}

/// Its workload goes back to what it ran, pod and reason are named: exit 5.
async fn one_image_cannot_start(stack: &Stack) -> Result<()> {
    stack.seed(&[PINNER, PINNER_TWIN]).await?;
    let faults = &stack.cluster()?.kubelets;
    faults.set_faults(Faults {
        crash: vec!["library/pod-pinner".into()],
        ..Faults::default()
    });
    let run = run(stack, &[]).await?.expect_code(5)?;
    faults.set_faults(Faults::default());
    ensure!(
        run.stdout
            .contains("Deployment/castai-pod-pinner rolled back"),
        "{run}"
    );
    ensure!(
        run.stdout.contains("pod castai-pod-pinner-"),
        "no pod named\n{run}"
    );
    // Which of them depends on whether it was seen ready before it crashed.
    let reasons = ["CrashLoopBackOff", "became ready and crashed"];
    ensure!(
        reasons.iter().any(|reason| run.stdout.contains(reason)),
        "no reason\n{run}"
    );
    let image = image(&deployment(stack, "castai-pod-pinner").await?)?;
    ensure!(image == PINNER, "left on {image}\n{run}");
    Ok(())
}

/// Everything runs from ECR, on the node's architecture: exit 0.
async fn all_is_well(stack: &Stack) -> Result<()> {
    run(stack, &[]).await?.expect_code(0)?;
    let host = stack.aws.ecr_host();
    wait_until("every pod is ready on an ECR image", SOON, async || {
        for pod in pods(stack).await?.iter().filter(|pod| !finished(pod)) {
            ensure!(ready(pod), "{} is not ready: {:?}", name(pod), reasons(pod));
            for id in image_ids(pod) {
                ensure!(id.starts_with(&host), "{} runs {id}", name(pod));
            }
        }
        Ok(())
    })
    .await
}

/// A second run says so and writes nothing anywhere: exit 0.
async fn nothing_is_left_to_do(stack: &Stack) -> Result<()> {
    let generations = generations(stack).await?;
    let mark = stack.aws.shared.journal.mark();
    let run = run(stack, &["--network", "--cluster", "castlink-sandbox"])
        .await?
        .expect_code(0)?;
    ensure!(run.stdout.contains("no changes"), "{run}");
    let writes = stack.aws.shared.journal.writes(mark);
    ensure!(writes.is_empty(), "writes: {writes:?}\n{run}");
    ensure!(
        self::generations(stack).await? == generations,
        "patched\n{run}"
    );
    Ok(())
}

/// The shell pipeline on a workload the sandbox never heard of.
async fn a_chart_nobody_prepared(stack: &Stack) -> Result<()> {
    let api: Api<Deployment> = Api::namespaced(stack.client().await?, NAMESPACE);
    let labels = serde_json::json!({"app": "db-agent"});
    let image = "us-docker.pkg.dev/castai-hub/library/db-agent:v0.21.0";
    let chart = serde_json::from_value(serde_json::json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "db-agent"},
        "spec": {"selector": {"matchLabels": labels}, "template": {
            "metadata": {"labels": labels},
            "spec": {"containers": [{"name": "agent", "image": image,
                "env": [{"name": "AGENT_IMAGE", "value": "v0.21.0"}]}]},
        }},
    }))?;
    api.create(&kube::api::PostParams::default(), &chart)
        .await?;

    let host = stack.aws.ecr_host();
    let images = stack
        .product("castlink-upgrade")?
        .args(["images"])
        .run()
        .await?
        .expect_code(0)?;
    let copy = stack
        .product("castlink-mirror")?
        .args(["copy", "-", "--to", &host]);
    let copied = copy.stdin(images.stdout).run().await?.expect_code(0)?;
    let apply = stack.product("castlink-upgrade")?.args(["apply", "-"]);
    let applied = apply.stdin(copied.stdout).run().await?.expect_code(0)?;
    let now = api.get("db-agent").await?;
    ensure!(self::image(&now)? == format!("{host}/{image}"), "{applied}");
    let container = now
        .spec
        .context("spec")?
        .template
        .spec
        .context("pod")?
        .containers
        .remove(0);
    ensure!(
        container.env.context("env")?[0].value.as_deref() == Some("v0.21.0"),
        "a version was rewritten"
    );
    Ok(())
}

async fn run(stack: &Stack, args: &[&str]) -> Result<Outcome> {
    let host = stack.aws.ecr_host();
    let mut words = vec!["run", "--to", &host];
    words.extend(args);
    stack.product("castlink")?.args(words).run().await
}

async fn deployment(stack: &Stack, name: &str) -> Result<Deployment> {
    let api: Api<Deployment> = Api::namespaced(stack.client().await?, NAMESPACE);
    Ok(api.get(name).await?)
}

fn image(deployment: &Deployment) -> Result<String> {
    let spec = deployment.spec.as_ref().context("no spec")?;
    let pod = spec.template.spec.as_ref().context("no pod template")?;
    pod.containers[0].image.clone().context("no image")
}

async fn generations(stack: &Stack) -> Result<BTreeSet<(String, Option<i64>)>> {
    let api: Api<Deployment> = Api::namespaced(stack.client().await?, NAMESPACE);
    let all = api.list(&ListParams::default()).await?;
    let pair = |one: Deployment| {
        (
            one.metadata.name.unwrap_or_default(),
            one.metadata.generation,
        )
    };
    Ok(all.into_iter().map(pair).collect())
}

async fn pods(stack: &Stack) -> Result<Vec<Pod>> {
    let api: Api<Pod> = Api::namespaced(stack.client().await?, NAMESPACE);
    let all = api.list(&ListParams::default()).await?;
    // What is being deleted has nothing to say any more.
    Ok(all
        .into_iter()
        .filter(|pod| pod.metadata.deletion_timestamp.is_none())
        .collect())
}

fn name(pod: &Pod) -> &str {
    pod.metadata.name.as_deref().unwrap_or_default()
}

/// A hook job that ran before the cluster was closed.
fn finished(pod: &Pod) -> bool {
    let owner = pod.metadata.owner_references.iter().flatten();
    owner.into_iter().any(|owner| owner.kind == "Job")
}

fn ready(pod: &Pod) -> bool {
    let conditions = pod
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    conditions
        .into_iter()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

fn image_ids(pod: &Pod) -> Vec<String> {
    let status = pod.status.iter();
    let containers = status.flat_map(|status| {
        let init = status.init_container_statuses.iter().flatten();
        status.container_statuses.iter().flatten().chain(init)
    });
    containers
        .map(|container| container.image_id.clone())
        .collect()
}

/// Why containers of a pod wait.
fn reasons(pod: &Pod) -> Vec<String> {
    let status = pod.status.iter();
    let containers = status.flat_map(|status| {
        let init = status.init_container_statuses.iter().flatten();
        status.container_statuses.iter().flatten().chain(init)
    });
    containers
        .filter_map(|container| container.state.as_ref()?.waiting.as_ref()?.reason.clone())
        .collect()
}

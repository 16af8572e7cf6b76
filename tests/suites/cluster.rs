//! The Kubernetes half of the stack keeps its promises: a real control plane, and nodes
//! that run an image only when this ECR serves it for their architecture.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use castlink_tests::faults::{Fault, Harm};
use castlink_tests::kubelet::Faults;
use castlink_tests::mirrored::mirror;
use castlink_tests::namespace;
use castlink_tests::process::{self, wait_until};
use castlink_tests::seed;
use castlink_tests::stack::{Options, Stack};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ContainerStatus, Event, Node, Pod};
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use oci_client::Reference;
use serde_json::{Value, json};
use tokio::sync::{OnceCell, RwLock};

const SOON: Duration = Duration::from_secs(60);
const AGENT: &str = "us-docker.pkg.dev/castai-hub/library/agent:v0.161.1";
/// Pulled by one test alone, so that no node has it before.
const FRESH: &str = "us-docker.pkg.dev/castai-hub/library/fresh:v1";
const INTEL_ONLY: &str = "us-docker.pkg.dev/castai-hub/library/intel-only:v1";

/// Tests that fail requests for everybody take it for writing.
static QUIET: RwLock<()> = RwLock::const_new(());

/// One stack for all tests, with a few images in its ECR, one of them for amd64 alone.
async fn stack() -> &'static Stack {
    static STACK: OnceCell<Stack> = OnceCell::const_new();
    let start = async || {
        let mut options = Options::bare_cluster(&[]);
        options.aws.images.scale = 0.1;
        let stack = Stack::start(options).await?;
        let small = seed::Options {
            scale: 0.1,
            ..Default::default()
        };
        let intel = seed::Options {
            platforms: vec!["linux/amd64".into()],
            ..small.clone()
        };
        mirror(&stack.aws, &[AGENT, FRESH], small).await?;
        mirror(&stack.aws, &[INTEL_ONLY], intel).await?;
        anyhow::Ok(stack)
    };
    STACK
        .get_or_try_init(start)
        .await
        .expect("the stack starts")
}

fn in_ecr(stack: &Stack, image: &str) -> String {
    format!("{}/{image}", stack.aws.ecr_host())
}

/// A pod with one container, on a node of `arch`.
async fn run(pods: &Api<Pod>, name: &str, image: &str, arch: &str) -> Result<()> {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {
            "nodeSelector": {"kubernetes.io/arch": arch},
            "containers": [{"name": "main", "image": image}],
        },
    });
    pods.create(&PostParams::default(), &serde_json::from_value(pod)?)
        .await?;
    Ok(())
}

/// Waits until the pod's one container satisfies `wanted`; the container.
async fn until(
    pods: &Api<Pod>,
    name: &str,
    wanted: impl Fn(&ContainerStatus) -> bool,
) -> Result<ContainerStatus> {
    wait_until(name, SOON, async || {
        let status = pods.get_status(name).await?.status.context("no status")?;
        let mut containers = status.container_statuses.context("no container statuses")?;
        let container = containers.pop().context("no container")?;
        ensure!(wanted(&container), "it is {:?}", container.state);
        Ok(container)
    })
    .await
}

fn waiting<'a>(container: &'a ContainerStatus, reason: &str) -> Option<&'a str> {
    let waiting = container.state.as_ref()?.waiting.as_ref()?;
    waiting
        .message
        .as_deref()
        .filter(|_| waiting.reason.as_deref() == Some(reason))
}

async fn pods(stack: &Stack) -> Result<Api<Pod>> {
    Ok(Api::namespaced(stack.client().await?, "default"))
}

#[tokio::test]
async fn nodes_are_of_both_architectures_in_three_zones() -> Result<()> {
    let nodes: Api<Node> = Api::all(stack().await.client().await?);
    let mut seen: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for node in nodes.list(&ListParams::default()).await? {
        let labels = node.metadata.labels.unwrap_or_default();
        let label = |key: &str| labels.get(key).cloned().unwrap_or_default();
        seen.entry(label("kubernetes.io/arch"))
            .or_default()
            .push(label("topology.kubernetes.io/zone"));
    }
    assert_eq!(seen["amd64"], ["us-east-1a", "us-east-1b", "us-east-1c"]);
    assert_eq!(seen["arm64"], ["us-east-1a", "us-east-1b"]);
    Ok(())
}

#[tokio::test]
async fn a_public_image_ends_in_back_off() -> Result<()> {
    let stack = stack().await;
    let _quiet = QUIET.read().await;
    let pods = pods(stack).await?;
    run(&pods, "public", AGENT, "amd64").await?;
    let back_off = |container: &_| waiting(container, "ImagePullBackOff").is_some();
    let container = until(&pods, "public", back_off).await?;
    let message = waiting(&container, "ImagePullBackOff").expect("a message");
    let unreachable = "failed to do request: Head \"https://us-docker.pkg.dev/v2/castai-hub/\
         library/agent/manifests/v0.161.1\": dial tcp: i/o timeout";
    assert!(
        message.starts_with(&format!(
            "Back-off pulling image \"{AGENT}\": ErrImagePull: "
        )),
        "{message}"
    );
    assert!(message.ends_with(unreachable), "{message}");
    Ok(())
}

#[tokio::test]
async fn a_mirrored_image_runs_on_either_architecture() -> Result<()> {
    let stack = stack().await;
    let _quiet = QUIET.read().await;
    let (pods, image) = (pods(stack).await?, in_ecr(stack, AGENT));
    let digest = stack.aws.seeder.digest_of(AGENT)?;
    let repository = image.rsplit_once(':').expect("a tag").0;
    for arch in ["amd64", "arm64"] {
        let name = format!("mirrored-{arch}");
        run(&pods, &name, &image, arch).await?;
        let container = until(&pods, &name, |container| container.ready).await?;
        assert_eq!(container.image_id, format!("{repository}@{digest}"));
    }
    Ok(())
}

#[tokio::test]
async fn a_missing_tag_is_not_found() -> Result<()> {
    let stack = stack().await;
    let _quiet = QUIET.read().await;
    let (pods, image) = (
        pods(stack).await?,
        in_ecr(stack, AGENT).replace("v0.161.1", "v9"),
    );
    run(&pods, "missing", &image, "arm64").await?;
    let failed = |container: &_| waiting(container, "ErrImagePull").is_some();
    let container = until(&pods, "missing", failed).await?;
    let message = waiting(&container, "ErrImagePull").expect("a message");
    assert!(
        message.ends_with(&format!("\"{image}\": {image}: not found")),
        "{message}"
    );
    Ok(())
}

#[tokio::test]
async fn an_image_for_one_architecture_fails_on_the_other() -> Result<()> {
    let stack = stack().await;
    let _quiet = QUIET.read().await;
    let (pods, image) = (pods(stack).await?, in_ecr(stack, INTEL_ONLY));
    run(&pods, "intel", &image, "amd64").await?;
    run(&pods, "arm", &image, "arm64").await?;
    until(&pods, "intel", |container| container.ready).await?;
    let failed = |container: &_| waiting(container, "ErrImagePull").is_some();
    let container = until(&pods, "arm", failed).await?;
    let message = waiting(&container, "ErrImagePull").expect("a message");
    assert!(
        message.ends_with("no match for platform in manifest: not found"),
        "{message}"
    );
    Ok(())
}

#[tokio::test]
async fn without_a_good_token_nothing_is_pulled() -> Result<()> {
    let stack = stack().await;
    let _alone = QUIET.write().await;
    let (pods, image) = (pods(stack).await?, in_ecr(stack, FRESH));
    // The nodes hold a token from a first pull; then it expires, and there is no other.
    run(&pods, "before", &in_ecr(stack, AGENT), "amd64").await?;
    until(&pods, "before", |container| container.ready).await?;
    let faults = &stack.aws.shared.faults;
    faults.add(Fault::on("ecr", "GetAuthorizationToken", Harm::Deny));
    stack.aws.shared.ecr.expire_tokens();
    run(&pods, "tokenless", &image, "amd64").await?;
    let outcomes = (
        refused_once(stack, "403 Forbidden").await,
        until(&pods, "tokenless", |container| {
            // Whichever of the two states it is caught in, the text ends alike.
            let states = ["ErrImagePull", "ImagePullBackOff"];
            let mut messages = states.iter().filter_map(|state| waiting(container, state));
            messages
                .any(|message| message.ends_with("authorization failed: no basic auth credentials"))
        })
        .await,
    );
    faults.clear();
    outcomes.0?;
    outcomes.1?;
    until(&pods, "tokenless", |container| container.ready).await?;
    Ok(())
}

/// Waits for an event of a pull whose error ends so, of any pod: the nodes share their token,
/// so a pod of another test may be the first to learn that it has expired.
async fn refused_once(stack: &Stack, end: &str) -> Result<()> {
    let events: Api<Event> = Api::all(stack.client().await?);
    wait_until("the event", SOON, async || {
        let events = events.list(&ListParams::default()).await?;
        let mut messages = events.iter().filter_map(|event| event.message.as_deref());
        ensure!(
            messages.any(|message| message.ends_with(end)),
            "none of them ends so"
        );
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_crashing_image_loops_until_the_fault_is_gone() -> Result<()> {
    let stack = stack().await;
    let _alone = QUIET.write().await;
    let (pods, kubelets) = (pods(stack).await?, &stack.cluster()?.kubelets);
    run(&pods, "crashing", &in_ecr(stack, AGENT), "amd64").await?;
    until(&pods, "crashing", |container| container.ready).await?;
    kubelets.set_faults(Faults {
        crash: vec!["library/agent".into()],
        ..Faults::default()
    });
    let looping = |container: &_| waiting(container, "CrashLoopBackOff").is_some();
    let outcome = until(&pods, "crashing", looping).await;
    kubelets.set_faults(Faults::default());
    assert!(outcome?.restart_count > 0);
    until(&pods, "crashing", |container| container.ready).await?;
    Ok(())
}

#[tokio::test]
async fn a_dead_node_is_not_ready_and_starts_nothing() -> Result<()> {
    let stack = stack().await;
    let _alone = QUIET.write().await;
    let (nodes, kubelets) = (
        Api::<Node>::all(stack.client().await?),
        &stack.cluster()?.kubelets,
    );
    let victim = kubelets.nodes()[2].name.clone();
    let ready = async |wanted: &str| {
        wait_until("node condition", SOON, async || {
            let status = nodes
                .get_status(&victim)
                .await?
                .status
                .context("no status")?;
            let conditions = status.conditions.unwrap_or_default();
            let ready = conditions
                .iter()
                .find(|c| c.type_ == "Ready")
                .context("no Ready")?;
            ensure!(ready.status == wanted, "Ready is {}", ready.status);
            Ok(())
        })
        .await
    };
    kubelets.set_faults(Faults {
        node_down: vec![victim.clone()],
        ..Faults::default()
    });
    let down = ready("Unknown").await;
    kubelets.set_faults(Faults::default());
    down?;
    ready("True").await
}

#[tokio::test]
async fn a_rollout_replaces_pods_and_a_bad_one_keeps_the_old() -> Result<()> {
    let stack = stack().await;
    let _quiet = QUIET.read().await;
    let api: Api<Deployment> = Api::namespaced(stack.client().await?, "default");
    let labels = json!({"app": "rollout"});
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "rollout"},
        "spec": {"replicas": 2, "selector": {"matchLabels": labels}, "template": {
            "metadata": {"labels": labels},
            "spec": {"containers": [{"name": "main", "image": in_ecr(stack, AGENT)}]},
        }},
    });
    api.create(&PostParams::default(), &serde_json::from_value(deployment)?)
        .await?;
    let counts = async |wanted: (i32, i32)| {
        wait_until("rollout", SOON, async || {
            let status = api
                .get_status("rollout")
                .await?
                .status
                .context("no status")?;
            let seen = (
                status.updated_replicas.unwrap_or(0),
                status.ready_replicas.unwrap_or(0),
            );
            ensure!(seen == wanted, "(updated, ready) is {seen:?}");
            Ok(())
        })
        .await
    };
    counts((2, 2)).await?;
    let patch = json!([{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": AGENT}]);
    let patch = Patch::<Value>::Json(serde_json::from_value(patch)?);
    api.patch("rollout", &PatchParams::default(), &patch)
        .await?;
    counts((1, 2)).await?;
    api.delete("rollout", &DeleteParams::default()).await?;
    Ok(())
}

#[tokio::test]
async fn castai_is_ready_on_mirrored_images() -> Result<()> {
    let stack = stack().await;
    let _quiet = QUIET.read().await;
    let seeder = &stack.aws.seeder;
    let mut manifests = namespace::manifests(|image| seeder.digest_of(image))?;
    let images = namespace::images()?;
    for image in &images {
        let name = Reference::try_from(image.as_str())?.whole();
        manifests = manifests.replace(
            &format!("image: {image}"),
            &format!("image: {}", in_ecr(stack, &name)),
        );
    }
    let small = seed::Options {
        scale: 0.1,
        ..Default::default()
    };
    mirror(
        &stack.aws,
        &images.iter().map(String::as_str).collect::<Vec<_>>(),
        small,
    )
    .await?;
    let client = stack.client().await?;
    namespace::create(&client, &manifests).await?;
    let pods: Api<Pod> = Api::namespaced(client, namespace::NAME);
    wait_until("the workloads", SOON * 2, async || {
        let pods = pods.list(&ListParams::default()).await?.items;
        let waiting: Vec<_> = pods.iter().filter(|pod| !settled(pod)).collect();
        ensure!(
            pods.len() > 25 && waiting.is_empty(),
            "{} of {} pods",
            waiting.len(),
            pods.len()
        );
        Ok(())
    })
    .await
}

/// Ready, or a job's that is through.
fn settled(pod: &Pod) -> bool {
    let status = pod.status.clone().unwrap_or_default();
    let conditions = status.conditions.unwrap_or_default();
    let ready = conditions
        .iter()
        .any(|c| c.type_ == "Ready" && c.status == "True");
    ready || status.phase.as_deref() == Some("Succeeded")
}

#[tokio::test]
async fn a_user_without_rights_is_forbidden() -> Result<()> {
    let plane = &stack().await.cluster()?.plane;
    let kubeconfig = plane.kubeconfig_for("nobody", Some("guests"))?;
    let client = castlink_tests::control_plane::client(&kubeconfig).await?;
    match Api::<Pod>::namespaced(client, "default")
        .list(&ListParams::default())
        .await
    {
        Err(kube::Error::Api(error)) => assert_eq!(error.code, 403, "{error:?}"),
        other => bail!("not refused: {other:?}"),
    }
    Ok(())
}

/// `kill -9` of the owner leaves nothing running: the kernel ends its children.
#[tokio::test]
async fn servers_die_with_a_killed_owner() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut owner = tokio::process::Command::new(process::binary("castlink-sandbox")?)
        .args(["serve", "--dir"])
        .arg(dir.path())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    let pid = owner.id().context("the sandbox has ended")?;
    let children = wait_until("servers of the sandbox", SOON, async || {
        let children = children(pid)?;
        ensure!(children.len() >= 4, "{} servers run", children.len());
        Ok(children)
    })
    .await?;
    owner.kill().await?;
    wait_until("servers to be gone", SOON, async || {
        let left: Vec<_> = children
            .iter()
            .filter(|pid| process::alive(**pid))
            .collect();
        ensure!(left.is_empty(), "still running: {left:?}");
        Ok(())
    })
    .await
}

/// Process ids whose parent is `owner`.
fn children(owner: u32) -> Result<Vec<u32>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        // Gone between the listing and the reading: not a child any more.
        let stat =
            fs::read_to_string(Path::new("/proc").join(&name).join("stat")).unwrap_or_default();
        let after_name = stat
            .rsplit_once(") ")
            .map(|(_, rest)| rest)
            .unwrap_or_default();
        if after_name
            .split(' ')
            .nth(1)
            .and_then(|parent| parent.parse().ok())
            == Some(owner)
        {
            found.push(pid);
        }
    }
    Ok(found)
}

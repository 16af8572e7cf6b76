//! What is told to whom, as cases: one release of live workloads each.

use serde_json::{Value, json};

use super::*;
use crate::values::text;
use castlink_core::{config::Config, reference::Layout};

const ECR: &str = "123456789012.dkr.ecr.us-east-1.amazonaws.com";

/// A Deployment as Helm leaves it.
fn workload(release: Option<&str>, chart: Option<&str>, name: &str, containers: Value) -> Workload {
    let mut labels = serde_json::Map::new();
    let mut annotations = serde_json::Map::new();
    if let Some(chart) = chart {
        labels.insert("helm.sh/chart".into(), chart.into());
    }
    if let Some(release) = release {
        annotations.insert("meta.helm.sh/release-name".into(), release.into());
        annotations.insert(
            "meta.helm.sh/release-namespace".into(),
            "castai-agent".into(),
        );
    }
    let object = json!({
        "metadata": {"name": name, "namespace": "castai-agent", "labels": labels, "annotations": annotations},
        "spec": {"template": {"spec": {"containers": containers}}},
    });
    Workload::new(Kind::Deployment, serde_json::from_value(object).unwrap())
}

fn one(image: &str) -> Value {
    json!([{"name": "c", "image": image}])
}

fn mapping() -> Mapping {
    Mapping::by_rule(Some(ECR), Some(Layout::Full), &Config::default()).unwrap()
}

fn advised(workloads: Vec<Workload>, components: &[Component]) -> Vec<Advice> {
    let seen = Observed {
        workloads,
        pods: Vec::new(),
        nodes: None,
    };
    advise(&seen, components, &mapping(), false)
}

/// `key=value` of each setting, with the registry left out.
fn settings(advice: &Advice) -> Vec<String> {
    let all = advice.settings.iter();
    all.map(|one| format!("{}={}", one.key, one.value.replace(ECR, "R")))
        .collect()
}

fn left(advice: &Advice) -> Vec<&str> {
    advice.left.iter().map(|left| left.image.as_str()).collect()
}

const AGENT: &str = "us-docker.pkg.dev/castai-hub/library/agent:v0.161.1";

fn agent() -> Vec<Workload> {
    let label = Some("castai-agent-0.161.1");
    let autoscaler = one("registry.k8s.io/cpa/cpvpa:v0.8.4");
    vec![
        workload(Some("castai-agent"), label, "castai-agent", one(AGENT)),
        // The chart writes no label on this one.
        workload(Some("castai-agent"), None, "castai-agent-cpvpa", autoscaler),
    ]
}

#[test]
fn a_release_gets_the_values_of_its_chart() {
    let all = advised(agent(), &[]);
    let advice = &all[0];
    assert_eq!(advice.release.as_deref(), Some("castai-agent"));
    assert_eq!(advice.chart.as_deref(), Some("castai-agent 0.161.1"));
    assert_eq!(advice.manager, Manager::Helm);
    assert!(!advice.global, "this chart does not know the value");
    let want = [
        "clusterVPA.repository=R/registry.k8s.io/cpa/cpvpa",
        "image.repository=R/us-docker.pkg.dev/castai-hub/library/agent",
    ];
    assert_eq!(settings(advice), want);
    let text = text::lines(advice).join("\n").replace(ECR, "R");
    let want = "\
# release castai-agent in namespace castai-agent (castai-agent 0.161.1)
# helm upgrade castai-agent REPOSITORY/castai-agent -n castai-agent --reset-then-reuse-values -f THIS-FILE
clusterVPA:
  repository: \"R/registry.k8s.io/cpa/cpvpa\"
image:
  repository: \"R/us-docker.pkg.dev/castai-hub/library/agent\"";
    assert_eq!(text, want);
}

#[test]
fn tags_are_named_on_request() {
    let seen = Observed {
        workloads: agent(),
        pods: Vec::new(),
        nodes: None,
    };
    let all = advise(&seen, &[], &mapping(), true);
    let tags: Vec<String> = settings(&all[0])
        .into_iter()
        .filter(|one| !one.contains("repository"))
        .collect();
    assert_eq!(tags, ["clusterVPA.version=v0.8.4", "image.tag=v0.161.1"]);
}

#[test]
fn what_runs_privately_already_keeps_its_name() {
    let private = format!("{ECR}/elsewhere/agent:v1");
    let label = Some("castai-agent-0.161.1");
    let all = advised(
        vec![workload(Some("a"), label, "castai-agent", one(&private))],
        &[],
    );
    assert_eq!(settings(&all[0]), ["image.repository=R/elsewhere/agent"]);
}

#[test]
fn kvisors_value_is_a_prefix_and_one_image_has_none() {
    let label = Some("castai-kvisor-1.164.8");
    let containers = json!([
        {"name": "kvisor", "image": "ghcr.io/castai/kvisor/kvisor-agent:v1.164.8"},
        {"name": "obi-init", "image": "busybox:1.37.0-musl"},
    ]);
    let controller = one("ghcr.io/castai/kvisor/kvisor-controller:v1.164.8");
    let all = advised(
        vec![
            workload(
                Some("castai-kvisor"),
                label,
                "castai-kvisor-agent",
                containers,
            ),
            workload(
                Some("castai-kvisor"),
                label,
                "castai-kvisor-controller",
                controller,
            ),
        ],
        &[],
    );
    assert_eq!(
        settings(&all[0]),
        ["image.repository=R/ghcr.io/castai/kvisor/kvisor"]
    );
    assert_eq!(left(&all[0]), ["busybox:1.37.0-musl"]);
    let text = text::lines(&all[0]);
    let traps = text.iter().find(|line| line.contains("registry: \"\""));
    assert!(
        traps.is_some_and(|line| line.contains("in front of")),
        "{text:?}"
    );
    assert!(
        text.iter()
            .any(|line| line.starts_with("# busybox:1.37.0-musl: "))
    );
}

#[test]
fn hook_jobs_are_told_though_nothing_shows_them() {
    let label = Some("castai-evictor-0.35.143");
    let evictor = one("us-docker.pkg.dev/castai-hub/library/evictor:v0.35.143");
    let all = advised(
        vec![workload(Some("e"), label, "castai-evictor", evictor)],
        &[],
    );
    let hook = all[0]
        .settings
        .iter()
        .find(|one| one.key.starts_with("crdUpgrade"));
    let hook = hook.unwrap();
    assert_eq!(hook.value, format!("{ECR}/rancher/kubectl"));
    assert!(hook.note.as_ref().unwrap().contains("hook"));
}

#[test]
fn one_value_is_for_all_images_of_a_registry() {
    let label = Some("castai-live-0.118.0");
    let live = |name: &str, image: &str| workload(Some("live"), label, name, one(image));
    let all = advised(
        vec![
            live(
                "a",
                "us-docker.pkg.dev/castai-hub/library/live-controller:1",
            ),
            live("b", "us-docker.pkg.dev/castai-hub/library/live-daemon:1"),
            live("c", "ghcr.io/castai/live/kubectl:1"),
            live("d", "x.example/other:1"),
        ],
        &[],
    );
    let want = "imageRegistry=R/us-docker.pkg.dev/castai-hub/library";
    assert_eq!(settings(&all[0]), [want]);
    assert_eq!(
        left(&all[0]),
        ["ghcr.io/castai/live/kubectl:1", "x.example/other:1"]
    );
}

#[test]
fn hook_jobs_that_no_value_reaches_are_told() {
    let gpu = workload(
        Some("gpu"),
        Some("gpu-metrics-exporter-0.1.30"),
        "gpu-metrics-exporter",
        one("ghcr.io/castai/gpu-metrics-exporter/gpu-metrics-exporter:0.1.29"),
    );
    let told = |workloads| {
        let all = advised(workloads, &[]);
        let told = all[0].left.iter();
        told.map(|left| format!("{}: {}", left.image, left.why))
            .collect::<Vec<_>>()
    };
    let said = told(vec![gpu]).join("\n");
    assert!(
        said.contains("library/alpine/k8s: no value is known for the hook Job"),
        "{said}"
    );
    let kentroller = workload(
        Some("castai-agent"),
        Some("castai-kentroller-0.1.199"),
        "castai-kentroller",
        one("us-docker.pkg.dev/castai-hub/library/kentroller:v1"),
    );
    let said = told([agent(), vec![kentroller]].concat()).join("\n");
    assert!(
        said.contains("bitnami/kubectl: a hook Job of the outer chart"),
        "{said}"
    );
    let pinner = one("us-docker.pkg.dev/castai-hub/library/pod-pinner:v1.13.0");
    let label = Some("castai-pod-pinner-1.13.0");
    let pinner = workload(Some("castai-agent"), label, "castai-pod-pinner", pinner);
    let said = told([agent(), vec![pinner]].concat()).join("\n");
    assert!(!said.contains("bitnami"), "{said}");
}

#[test]
fn charts_within_a_chart_have_their_values_below_a_section() {
    let mut workloads = agent();
    let pinner = one("us-docker.pkg.dev/castai-hub/library/pod-pinner:v1.13.0");
    let label = Some("castai-pod-pinner-1.13.0");
    workloads.push(workload(
        Some("castai-agent"),
        label,
        "castai-pod-pinner",
        pinner,
    ));
    let all = advised(workloads, &[]);
    assert_eq!(all[0].chart.as_deref(), Some("castai"));
    let keys: Vec<&str> = all[0].settings.iter().map(|one| one.key.as_str()).collect();
    assert_eq!(
        keys,
        [
            "autoscaler.castai-agent.clusterVPA.repository",
            "autoscaler.castai-agent.image.repository",
            "autoscaler.castai-pod-pinner.image.repository",
        ]
    );
}

#[test]
fn a_component_decides_unless_it_only_reads() {
    let component = |readonly| Component {
        name: "agent".into(),
        chart: "castai-agent".into(),
        release: "castai-agent".into(),
        readonly,
        images: Vec::new(),
    };
    let advice = &advised(agent(), &[component(false)])[0];
    assert_eq!(advice.manager, Manager::Operator("agent".into()));
    let text = text::lines(advice);
    assert!(
        text[1].contains("patch components.castware.cast.ai agent"),
        "{text:?}"
    );
    assert_eq!(text[2..5], ["spec:", "  values:", "    clusterVPA:"]);
    let advice = &advised(agent(), &[component(true)])[0];
    assert_eq!(advice.manager, Manager::Helm);
}

#[test]
fn the_form_is_the_managers() {
    let with = |owner: &str| {
        let mut workloads = agent();
        for workload in &mut workloads {
            workload.owner = Some(owner.to_owned());
        }
        text::lines(&advised(workloads, &[])[0]).join("\n")
    };
    let argo = with("argocd:platform");
    assert!(argo.contains("Application platform"), "{argo}");
    assert!(argo.contains("spec:\n  source:\n    helm:\n      valuesObject:\n        clusterVPA:"));
    let flux = with("flux:agent");
    assert!(
        flux.contains("HelmRelease agent") && flux.contains("spec:\n  values:\n    image:")
            || flux.contains("    image:")
    );
    let terraform = with("terraform:castai-agent");
    assert!(
        terraform.contains("#   name  = \"image.repository\""),
        "{terraform}"
    );
}

#[test]
fn what_is_not_known_is_said() {
    let charted = workload(Some("r"), Some("mystery-1.0.0"), "m", one("x.example/m:1"));
    let loose = workload(None, None, "l", one("x.example/l:1"));
    let all = advised(vec![charted, loose], &[]);
    assert_eq!(left(&all[0]), ["x.example/m:1"]);
    assert!(all[0].left[0].why.contains("post-renderer"));
    assert_eq!(
        (all[1].release.as_ref(), &all[1].manager),
        (None, &Manager::Manifest)
    );
    assert!(all[1].left[0].why.contains("castlink-upgrade rewrite"));
    let live = workload(
        Some("l"),
        Some("castai-live-0.118.0"),
        "w",
        one("ghcr.io/castai/live/kubectl:1"),
    );
    let all = advised(vec![live], &[]);
    assert!(all[0].left[0].why.contains("hooks of the chart"));
}

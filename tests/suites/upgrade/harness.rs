//! One stack for all tests, a namespace for each, and the workloads they need.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use castlink_tests::api_gate::ApiGate;
use castlink_tests::kubelet::Faults;
use castlink_tests::mirrored::mirror;
use castlink_tests::process::wait_until;
use castlink_tests::products::{Outcome, Product};
use castlink_tests::stack::{Options, Seeds, Stack};
use castlink_tests::{namespace, seed};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{Api, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::access;
pub(crate) use crate::pods::{cannot_pull, first_image, ready, running_since, waits_for};

/// The service account that `castlink-upgrade` runs as.
pub(crate) const ACCOUNT: &str = "castlink";

/// How long controllers and kubelets may take.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// Starts, stays.
pub(crate) const GOOD: &str = "ghcr.io/castlink/good:v1";
/// Starts, exits at once, each time.
pub(crate) const CRASHES: &str = "ghcr.io/castlink/crashes:v1";
/// Starts, is ready, exits two seconds later.
pub(crate) const CRASHES_LATE: &str = "ghcr.io/castlink/hopeful:v1";
/// Takes its time to be pulled.
pub(crate) const SLOW: &str = "ghcr.io/castlink/slow:v1";
/// The next release of the good one.
pub(crate) const NEXT: &str = "ghcr.io/castlink/good:v2";
/// In no registry at all.
pub(crate) const NOWHERE: &str = "ghcr.io/castlink/nowhere:v1";

/// The stack, with the images above in its ECR as a finished mirror leaves them.
pub(crate) async fn stack() -> &'static Stack {
    static STACK: OnceCell<Stack> = OnceCell::const_new();
    STACK
        .get_or_try_init(start)
        .await
        .expect("the stack starts")
}

async fn start() -> Result<Stack> {
    let images = namespace::images()?.into_iter().collect();
    let mut options = Options {
        network: false,
        seeds: Seeds::Only(images),
        ..Options::default()
    };
    options.aws.images.scale = 0.1;
    let stack = Stack::start(options).await?;
    mirrored(&stack, &[GOOD, NEXT, CRASHES, CRASHES_LATE, SLOW]).await?;
    let part = |image: &str| image.trim_start_matches("ghcr.io/").to_owned();
    stack.cluster()?.kubelets.set_faults(Faults {
        crash: vec![part(CRASHES)],
        crash_after: BTreeMap::from([(part(CRASHES_LATE), 2.0)]),
        slow: BTreeMap::from([(part(SLOW), 5.0)]),
        ..Faults::default()
    });
    Ok(stack)
}

/// Puts small images into the stack's ECR.
pub(crate) async fn mirrored(stack: &Stack, references: &[&str]) -> Result<Vec<seed::Seeded>> {
    let small = seed::Options {
        scale: 0.1,
        ..Default::default()
    };
    mirror(&stack.aws, references, small).await
}

/// A namespace of its own for one test.
pub(crate) struct Scene {
    pub(crate) stack: &'static Stack,
    pub(crate) client: kube::Client,
    pub(crate) namespace: String,
    /// Whose rights `castlink-upgrade` has.
    pub(crate) kubeconfig: PathBuf,
}

impl Scene {
    /// A new namespace, and a service account with the rights that `rbac` prints.
    pub(crate) async fn new(namespace: &str) -> Result<Self> {
        Self::with_rights(namespace, &[]).await
    }

    /// The same, with the rights that `rbac` prints with `flags`.
    pub(crate) async fn with_rights(namespace: &str, flags: &[&str]) -> Result<Self> {
        Self::existing(namespace).await?.created(flags).await
    }

    /// Itself, once its namespace has been made and its account admitted.
    pub(crate) async fn created(self, flags: &[&str]) -> Result<Self> {
        let scene = self;
        let namespace = scene.namespace.as_str();
        let api: Api<Namespace> = Api::all(scene.client.clone());
        let object = serde_json::from_value(json!({"metadata": {"name": namespace}}))?;
        api.create(&PostParams::default(), &object).await?;
        scene.admitted(flags).await
    }

    /// A namespace of others, and the administrator's rights.
    pub(crate) async fn existing(namespace: &str) -> Result<Self> {
        Self::on(stack().await, namespace).await
    }

    /// A namespace of any stack.
    pub(crate) async fn on(stack: &'static Stack, namespace: &str) -> Result<Self> {
        Ok(Self {
            stack,
            client: stack.client().await?,
            namespace: namespace.to_owned(),
            kubeconfig: stack.cluster()?.plane.kubeconfig().to_owned(),
        })
    }

    /// From now on as a service account with the rights that `rbac` prints with `flags`.
    pub(crate) async fn admitted(mut self, flags: &[&str]) -> Result<Self> {
        self.kubeconfig = access::account(&self, ACCOUNT, flags).await?;
        Ok(self)
    }

    /// An image of this test alone, in the ECR: faults of images are everybody's.
    pub(crate) async fn own_image(&self, name: &str) -> Result<String> {
        let image = format!("ghcr.io/castlink/{}-{name}:v1", self.namespace);
        mirrored(self.stack, &[&image]).await?;
        Ok(image)
    }

    /// Makes kubelets misbehave, or behave again.
    pub(crate) fn kubelets(&self, change: impl FnOnce(&mut Faults)) -> Result<()> {
        self.stack.cluster()?.kubelets.change_faults(change);
        Ok(())
    }

    /// The name of `image` in the ECR.
    pub(crate) fn target(&self, image: &str) -> String {
        format!("{}/{image}", self.stack.aws.ecr_host())
    }

    /// `castlink-upgrade` with this namespace and a short time for rollouts.
    pub(crate) fn upgrade(&self, args: &[&str]) -> Result<Product> {
        let state = self.stack.dir().join("state").join(&self.namespace);
        let product = self
            .stack
            .product("castlink-upgrade")?
            .args(args.iter().copied());
        Ok(product
            .args(["-n", &self.namespace])
            .env("KUBECONFIG", self.kubeconfig.display().to_string())
            .env("XDG_STATE_HOME", state.display().to_string()))
    }

    /// `apply -`, fed with `records`.
    pub(crate) async fn apply(&self, records: &[Value], more: &[&str]) -> Result<Outcome> {
        let lines: Vec<String> = records.iter().map(Value::to_string).collect();
        let timeout: &[&str] = match more.contains(&"--timeout") {
            true => &[],
            false => &["--timeout", "60s"],
        };
        let args = [&["apply", "-", "-o", "json"], timeout, more].concat();
        self.upgrade(&args)?.stdin(lines.join("\n")).run().await
    }

    /// A record that makes a run replace `from` by `to`, both as they are in the ECR.
    pub(crate) fn step(&self, from: &str, to: &str) -> Value {
        let mut record = self.record(&self.target(from), "copied", &[]);
        record["target"] = self.target(to).into();
        record
    }

    /// A gate before the API server with all rights, and a kubeconfig that leads to it.
    pub(crate) async fn gate(&self) -> Result<(ApiGate, String)> {
        let plane = &self.stack.cluster()?.plane;
        let gate = ApiGate::start(plane, "admin", Some("system:masters")).await?;
        let kubeconfig = gate.kubeconfig(self.stack.dir())?.display().to_string();
        Ok((gate, kubeconfig))
    }

    /// `apply -` of [`GOOD`], which must succeed; nothing is watched afterwards.
    pub(crate) async fn apply_good(&self) -> Result<Outcome> {
        let records = [self.copied(GOOD)];
        self.apply(&records, &["--soak", "0s"])
            .await?
            .expect_code(0)
    }

    /// What the API server would make of a Deployment with another template: how one sees
    /// that an admission policy is in force.
    pub(crate) async fn probe(&self, name: &str) -> kube::Result<DynamicObject> {
        let dry = PatchParams {
            dry_run: true,
            ..PatchParams::default()
        };
        let patch = json!({"spec": {"template": {"metadata": {"labels": {"probe": "x"}}}}});
        let api = self.api("Deployment");
        api.patch(name, &dry, &Patch::Merge(patch)).await
    }

    /// A record that says that `image` is in the ECR.
    pub(crate) fn copied(&self, image: &str) -> Value {
        self.record(image, "copied", &["linux/amd64", "linux/arm64"])
    }

    /// A copy names platforms, as the mirror's records do: nobody asks the registry again.
    pub(crate) fn record(&self, image: &str, status: &str, platforms: &[&str]) -> Value {
        let platforms = match (status, platforms) {
            ("copied", []) => &["linux/amd64", "linux/arm64"],
            _ => platforms,
        };
        json!({"castlink": 1, "kind": "mirrored", "source": image, "target": self.target(image),
            "status": status, "platforms": platforms})
    }

    /// Creates a workload with one container.
    pub(crate) async fn create(
        &self,
        kind: &str,
        name: &str,
        replicas: i64,
        image: &str,
    ) -> Result<()> {
        self.create_from(kind, name, json!({"replicas": replicas}), image)
            .await
    }

    /// Creates a workload with one container and more in its spec.
    pub(crate) async fn create_from(
        &self,
        kind: &str,
        name: &str,
        spec: Value,
        image: &str,
    ) -> Result<()> {
        let labels = json!({"app": name});
        let mut body = json!({
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"terminationGracePeriodSeconds": 1, "containers": [{"name": "app", "image": image}]},
            },
        });
        let fields = body.as_object_mut().context("an object")?;
        fields.extend(spec.as_object().context("an object")?.clone());
        match kind {
            "DaemonSet" => drop(fields.remove("replicas")),
            "StatefulSet" => drop(fields.insert("serviceName".into(), name.into())),
            _ => {}
        }
        let object = json!({"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name}, "spec": body});
        self.api(kind)
            .create(&PostParams::default(), &serde_json::from_value(object)?)
            .await?;
        Ok(())
    }

    /// Creates a CronJob whose time does not come.
    pub(crate) async fn create_cron_job(&self, name: &str, image: &str) -> Result<()> {
        let template = self.template(image, json!({"restartPolicy": "Never"}));
        let spec =
            json!({"schedule": "0 0 1 1 *", "jobTemplate": {"spec": {"template": template}}});
        self.create_object("CronJob", json!({"name": name}), spec)
            .await
    }

    /// Creates a Job.
    pub(crate) async fn create_job(&self, metadata: Value, image: &str) -> Result<()> {
        let template = self.template(image, json!({"restartPolicy": "Never"}));
        self.create_object("Job", metadata, json!({"template": template}))
            .await
    }

    /// Creates a ReplicationController with one pod.
    pub(crate) async fn create_controller(&self, name: &str, image: &str) -> Result<()> {
        let mut template = self.template(image, json!({}));
        template["metadata"] = json!({"labels": {"app": name}});
        let spec = json!({"replicas": 1, "selector": {"app": name}, "template": template});
        self.create_object("ReplicationController", json!({"name": name}), spec)
            .await
    }

    /// Creates a pod that nobody would make anew; `spec` is laid over its spec.
    pub(crate) async fn create_pod(&self, name: &str, spec: Value, image: &str) -> Result<()> {
        let template = self.template(image, spec);
        self.create_object("Pod", json!({"name": name}), template["spec"].clone())
            .await
    }

    fn template(&self, image: &str, more: Value) -> Value {
        let mut spec = json!({"terminationGracePeriodSeconds": 1, "containers": [{"name": "app", "image": image}]});
        for (key, value) in more.as_object().into_iter().flatten() {
            spec[key] = value.clone();
        }
        json!({"spec": spec})
    }

    /// Creates an object of `kind`.
    pub(crate) async fn create_object(
        &self,
        kind: &str,
        metadata: Value,
        spec: Value,
    ) -> Result<()> {
        let group = match kind {
            "CronJob" | "Job" => "batch/v1",
            "Pod" | "ReplicationController" => "v1",
            _ => "apps/v1",
        };
        let object = json!({"apiVersion": group, "kind": kind, "metadata": metadata, "spec": spec});
        self.api(kind)
            .create(&PostParams::default(), &serde_json::from_value(object)?)
            .await?;
        Ok(())
    }

    pub(crate) fn api(&self, kind: &str) -> Api<DynamicObject> {
        let group = match kind {
            "CronJob" | "Job" => "batch",
            "Pod" | "ReplicationController" => "",
            _ => "apps",
        };
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, "v1", kind));
        Api::namespaced_with(self.client.clone(), &self.namespace, &resource)
    }

    /// The image in the first container of a workload's template.
    pub(crate) async fn image(&self, kind: &str, name: &str) -> Result<String> {
        let object = self.api(kind).get(name).await?;
        let path = match kind {
            "Pod" => "/spec/containers/0/image",
            "CronJob" => "/spec/jobTemplate/spec/template/spec/containers/0/image",
            _ => "/spec/template/spec/containers/0/image",
        };
        let image = object.data.pointer(path).and_then(Value::as_str);
        Ok(image.context("no image")?.to_owned())
    }

    /// Generation of every workload: what a patch would raise.
    pub(crate) async fn generations(&self) -> Result<BTreeMap<String, i64>> {
        let mut all = BTreeMap::new();
        for kind in ["Deployment", "DaemonSet", "StatefulSet", "CronJob"] {
            for object in self.api(kind).list(&ListParams::default()).await? {
                let name = format!("{kind}/{}", object.metadata.name.unwrap_or_default());
                all.insert(name, object.metadata.generation.unwrap_or_default());
            }
        }
        Ok(all)
    }

    pub(crate) async fn pods(&self) -> Result<Vec<Pod>> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        let all = api.list(&ListParams::default()).await?.items;
        Ok(all
            .into_iter()
            .filter(|pod| pod.metadata.deletion_timestamp.is_none())
            .collect())
    }

    /// Waits until the namespace has `count` pods and all satisfy `wanted`.
    pub(crate) async fn pods_until(
        &self,
        count: usize,
        wanted: impl Fn(&Pod) -> bool,
    ) -> Result<()> {
        wait_until("the pods", SOON, async || {
            let pods = self.pods().await?;
            ensure!(pods.len() == count, "{} pods", pods.len());
            let late = pods.iter().find(|pod| !wanted(pod));
            ensure!(late.is_none(), "{late:?}");
            Ok(())
        })
        .await
    }

    /// A file in the stack's directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.stack.dir().join(format!("{}-{name}", self.namespace))
    }
}

/// The one change of `resource`.
pub(crate) fn change(outcome: &Outcome, resource: &str) -> Result<Value> {
    let all = outcome.records_of("change")?;
    let found = all
        .into_iter()
        .find(|change| change["resource"] == resource);
    found.with_context(|| format!("no change of {resource}\n{outcome}"))
}

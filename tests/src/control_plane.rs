//! A real Kubernetes control plane on loopback: etcd, API server, controller manager,
//! scheduler. No containers, no nodes (those are `kubelet`'s).
//!
//! Everybody identifies by a client certificate of the stack's own authority and is
//! authorised by RBAC, so that [`ControlPlane::kubeconfig_for`] can play any user.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::Api;
use serde_json::json;

use crate::pki::{Authority, Pair, PairFiles, signing_key};
use crate::process::{Child, Spec, free_port, wait_until};
use crate::servers::Servers;

/// One server, from start to ready; the API server takes 4 s on an idle machine.
const READY: Duration = Duration::from_secs(120);
/// The cluster, context and user name in kubeconfigs.
const CLUSTER: &str = "castlink-sandbox";
/// First address of the service range: what in-cluster clients call the API server.
const SERVICE_RANGE: (&str, &str) = ("10.96.0.0/16", "10.96.0.1");

/// A running control plane; everything is killed when this is dropped.
pub struct ControlPlane {
    dir: PathBuf,
    port: u16,
    authority: Authority,
    /// In order of dependence; dropped in reverse, see [`Drop`].
    children: Vec<Child>,
    kubeconfig: PathBuf,
}

/// The files every process needs.
struct Files {
    ca: PairFiles,
    server: PairFiles,
    account_key: PathBuf,
    account_public: PathBuf,
}

impl ControlPlane {
    /// Starts everything in `dir` and waits until pods can be created.
    ///
    /// # Errors
    /// When a process ends or is not ready in time (with the end of its log).
    pub async fn start(servers: &Servers, dir: &Path, say: &dyn Fn(&str)) -> Result<Self> {
        let authority = Authority::new("castlink-sandbox kubernetes")?;
        let port = free_port()?;
        let kubeconfig = dir.join("kubeconfig");
        let mut plane = Self {
            dir: dir.to_owned(),
            port,
            authority,
            children: Vec::new(),
            kubeconfig,
        };
        let files = plane.write_files()?;
        fs::write(
            &plane.kubeconfig,
            plane.render_kubeconfig("admin", Some("system:masters"))?,
        )?;
        let etcd = plane.start_etcd(servers).await?;
        plane.start_apiserver(servers, &files, &etcd).await?;
        say("kube-apiserver is ready");
        plane.start_controllers(servers, &files).await?;
        plane.wait_service_account().await?;
        say("kube-controller-manager and kube-scheduler are ready");
        Ok(plane)
    }

    /// The administrator's kubeconfig.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// The API server's URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// The cluster's CA, as EKS shows it.
    #[must_use]
    pub fn ca_base64(&self) -> String {
        BASE64_STANDARD.encode(&self.authority.pair().cert)
    }

    /// A kubeconfig for `user`, optionally in `group`, with no rights but RBAC's.
    ///
    /// # Errors
    /// When it cannot be signed or written.
    pub fn kubeconfig_for(&self, user: &str, group: Option<&str>) -> Result<PathBuf> {
        let path = self
            .dir
            .join(format!("{}.kubeconfig", user.replace([':', '/'], "-")));
        fs::write(&path, self.render_kubeconfig(user, group)?)
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    /// An HTTP client with the certificate of `user`, optionally in `group`.
    ///
    /// # Errors
    /// When the certificate cannot be signed.
    pub fn http_for(&self, user: &str, group: Option<&str>) -> Result<reqwest::Client> {
        let Pair { cert, key } = self.authority.client_cert(user, group)?;
        let identity = reqwest::Identity::from_pem(format!("{cert}{key}").as_bytes())?;
        let ca = reqwest::Certificate::from_pem(self.authority.pair().cert.as_bytes())?;
        Ok(reqwest::Client::builder()
            .no_proxy()
            .tls_certs_only([ca])
            .identity(identity)
            .build()?)
    }

    /// A client with the administrator's rights.
    ///
    /// # Errors
    /// When the kubeconfig is unusable.
    pub async fn client(&self) -> Result<kube::Client> {
        client(&self.kubeconfig).await
    }

    /// What was asked of the API server, one audit event per line; the cluster's own
    /// components are left out.
    #[must_use]
    pub fn audit_log(&self) -> PathBuf {
        self.dir.join("audit.log")
    }

    fn audit_policy(&self) -> Result<PathBuf> {
        let own = [
            "system:kube-controller-manager",
            "system:kube-scheduler",
            "system:apiserver",
        ];
        let policy = json!({
            "apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"],
            "rules": [
                {"level": "None", "users": own},
                {"level": "None", "userGroups": ["system:masters", "system:nodes", "system:serviceaccounts:kube-system"]},
                {"level": "Metadata"},
            ],
        });
        let path = self.dir.join("audit-policy.json");
        fs::write(&path, policy.to_string())?;
        Ok(path)
    }

    /// The processes' names and ids.
    #[must_use]
    pub fn pids(&self) -> Vec<(String, u32)> {
        self.children
            .iter()
            .map(|child| (child.name().to_owned(), child.pid()))
            .collect()
    }

    fn write_files(&self) -> Result<Files> {
        let pki = self.dir.join("pki");
        let names = [SERVICE_RANGE.1, "kubernetes", "kubernetes.default.svc"];
        let server = self.authority.server_cert("kube-apiserver", &names)?;
        let (private, public) = signing_key()?;
        let files = Files {
            ca: self.authority.pair().write(&pki, "ca")?,
            server: server.write(&pki, "server")?,
            account_key: pki.join("service-account.key"),
            account_public: pki.join("service-account.pub"),
        };
        fs::write(&files.account_key, private)?;
        fs::write(&files.account_public, public)?;
        Ok(files)
    }

    fn render_kubeconfig(&self, user: &str, group: Option<&str>) -> Result<String> {
        let Pair { cert, key } = self.authority.client_cert(user, group)?;
        let encode = |text: &str| BASE64_STANDARD.encode(text);
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": CLUSTER,
            "clusters": [{"name": CLUSTER, "cluster": {
                "server": self.url(),
                "certificate-authority-data": self.ca_base64(),
            }}],
            "users": [{"name": user, "user": {
                "client-certificate-data": encode(&cert), "client-key-data": encode(&key),
            }}],
            "contexts": [{"name": CLUSTER, "context": {"cluster": CLUSTER, "user": user}}],
        });
        Ok(serde_yaml_ng::to_string(&config)?)
    }

    /// Starts etcd; its client URL.
    async fn start_etcd(&mut self, servers: &Servers) -> Result<String> {
        let url = format!("http://127.0.0.1:{}", free_port()?);
        let peer = format!("http://127.0.0.1:{}", free_port()?);
        let spec = self.spec("etcd", &servers.etcd).args([
            "--name=e0".to_owned(),
            format!("--data-dir={}", self.dir.join("etcd").display()),
            format!("--listen-client-urls={url}"),
            format!("--advertise-client-urls={url}"),
            format!("--listen-peer-urls={peer}"),
            format!("--initial-advertise-peer-urls={peer}"),
            format!("--initial-cluster=e0={peer}"),
            "--unsafe-no-fsync".to_owned(),
            "--log-level=warn".to_owned(),
        ]);
        let http = reqwest::Client::builder().no_proxy().build()?;
        self.launch(spec, &http, &format!("{url}/health")).await?;
        Ok(url)
    }

    async fn start_apiserver(
        &mut self,
        servers: &Servers,
        files: &Files,
        etcd: &str,
    ) -> Result<()> {
        let spec = self.spec("kube-apiserver", &servers.apiserver).args([
            "--bind-address=127.0.0.1".to_owned(),
            "--advertise-address=127.0.0.1".to_owned(),
            format!("--secure-port={}", self.port),
            // The endpoint of the `kubernetes` service cannot be a loopback address.
            "--endpoint-reconciler-type=none".to_owned(),
            format!("--etcd-servers={etcd}"),
            format!("--client-ca-file={}", files.ca.cert.display()),
            format!("--service-cluster-ip-range={}", SERVICE_RANGE.0),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            format!(
                "--service-account-key-file={}",
                files.account_public.display()
            ),
            format!(
                "--service-account-signing-key-file={}",
                files.account_key.display()
            ),
            "--authorization-mode=RBAC".to_owned(),
            "--allow-privileged=true".to_owned(),
            "--profiling=false".to_owned(),
            format!("--audit-policy-file={}", self.audit_policy()?.display()),
            format!("--audit-log-path={}", self.audit_log().display()),
        ]);
        let spec = spec.args(serving_flags(files));
        let http = self.https(files)?;
        self.launch(spec, &http, &format!("{}/readyz", self.url()))
            .await
    }

    /// The controller manager and the scheduler; they start side by side.
    async fn start_controllers(&mut self, servers: &Servers, files: &Files) -> Result<()> {
        let http = self.https(files)?;
        let (manager_port, scheduler_port) = (free_port()?, free_port()?);
        let manager = self.controller(
            "kube-controller-manager",
            &servers.controller_manager,
            manager_port,
            files,
        )?;
        let manager = manager.args([
            "--use-service-account-credentials=true".to_owned(),
            format!(
                "--service-account-private-key-file={}",
                files.account_key.display()
            ),
            format!("--root-ca-file={}", files.ca.cert.display()),
            format!("--cluster-signing-cert-file={}", files.ca.cert.display()),
            format!("--cluster-signing-key-file={}", files.ca.key.display()),
        ]);
        let scheduler =
            self.controller("kube-scheduler", &servers.scheduler, scheduler_port, files)?;
        let first = self.children.len();
        for spec in [manager, scheduler] {
            self.children.push(spec.start()?);
        }
        for (child, port) in self.children[first..]
            .iter_mut()
            .zip([manager_port, scheduler_port])
        {
            let url = format!("https://127.0.0.1:{port}/healthz");
            child
                .ready(READY, async || healthy(&http, &url).await)
                .await?;
        }
        Ok(())
    }

    /// What controller manager and scheduler have in common.
    fn controller(&self, name: &str, program: &Path, port: u16, files: &Files) -> Result<Spec> {
        let kubeconfig = self.kubeconfig_for(&format!("system:{name}"), None)?;
        let kubeconfig = kubeconfig.display();
        let spec = self.spec(name, program).args([
            format!("--kubeconfig={kubeconfig}"),
            format!("--authentication-kubeconfig={kubeconfig}"),
            format!("--authorization-kubeconfig={kubeconfig}"),
            "--bind-address=127.0.0.1".to_owned(),
            format!("--secure-port={port}"),
            "--leader-elect=false".to_owned(), // saves 15 s of waiting for a lease
            "--kube-api-qps=200".to_owned(),
            "--kube-api-burst=400".to_owned(),
            "--profiling=false".to_owned(),
        ]);
        Ok(spec.args(serving_flags(files)))
    }

    /// Admission rejects pods until the controller manager has made this account.
    async fn wait_service_account(&self) -> Result<()> {
        let api: Api<ServiceAccount> = Api::namespaced(self.client().await?, "default");
        wait_until("default service account", READY, async || {
            Ok(api.get("default").await?)
        })
        .await?;
        Ok(())
    }

    fn spec(&self, name: &str, program: &Path) -> Spec {
        Spec::new(name, program, &self.dir.join("log"))
    }

    async fn launch(&mut self, spec: Spec, http: &reqwest::Client, url: &str) -> Result<()> {
        let mut child = spec.start()?;
        child
            .ready(READY, async || healthy(http, url).await)
            .await?;
        self.children.push(child);
        Ok(())
    }

    fn https(&self, files: &Files) -> Result<reqwest::Client> {
        let ca = reqwest::Certificate::from_pem(&fs::read(&files.ca.cert)?)?;
        Ok(reqwest::Client::builder()
            .no_proxy()
            .tls_certs_only([ca])
            .build()?)
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        // Last started, first killed: nothing then complains about what it lost.
        while self.children.pop().is_some() {}
    }
}

/// A client for the cluster that `kubeconfig` names; never the ambient one.
///
/// # Errors
/// When the file cannot be read or names no usable cluster.
pub async fn client(kubeconfig: &Path) -> Result<kube::Client> {
    let read = kube::config::Kubeconfig::read_from(kubeconfig);
    let read = read.with_context(|| format!("cannot read {}", kubeconfig.display()))?;
    let options = kube::config::KubeConfigOptions::default();
    let config = kube::Config::from_custom_kubeconfig(read, &options).await?;
    Ok(kube::Client::try_from(config)?)
}

fn serving_flags(files: &Files) -> [String; 2] {
    [
        format!("--tls-cert-file={}", files.server.cert.display()),
        format!("--tls-private-key-file={}", files.server.key.display()),
    ]
}

async fn healthy(http: &reqwest::Client, url: &str) -> Result<()> {
    let answer = http.get(url).timeout(Duration::from_secs(5)).send().await?;
    answer.error_for_status()?;
    Ok(())
}

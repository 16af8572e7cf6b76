//! The connection to one cluster: which kubeconfig and context, with deadlines, and the
//! one place where an error of the API becomes a failure with an exit code and a hint.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use castlink_core::{Failure, Result, config, printer::Printer};
use kube::{
    Api, Client,
    api::DynamicObject,
    client::ClientBuilder,
    config::{KubeConfigOptions, Kubeconfig, KubeconfigError},
};

use tower::util::MapRequestLayer;

use crate::workload::{Kind, resource};

/// The name under which changes are made, as `metadata.managedFields` shows it.
pub(crate) const FIELD_MANAGER: &str = "castlink";

/// A cluster that does not accept a connection in this time is unreachable.
const CONNECT: Duration = Duration::from_secs(5);

/// One that says nothing for this long has been lost. Requests get a minute from the API
/// server itself, and watches hear a bookmark from it every minute.
const SILENCE: Duration = Duration::from_secs(120);

/// A connected cluster and the namespace to work in.
#[derive(Clone)]
pub(crate) struct Cluster {
    pub(crate) client: Client,
    /// The context of the kubeconfig, or `in-cluster`.
    pub(crate) context: String,
    /// The URL of the API server.
    pub(crate) server: String,
    pub(crate) namespace: String,
    requests: Arc<AtomicU64>,
}

impl Cluster {
    /// Reads the kubeconfig and prepares a client; nothing is asked yet.
    ///
    /// # Errors
    /// Exit 2: no kubeconfig, or its context or certificates cannot be used.
    pub(crate) async fn connect(settings: &config::Kube, printer: &Printer) -> Result<Self> {
        let (mut config, context) = load(settings).await?;
        config.connect_timeout = Some(CONNECT);
        config.read_timeout = Some(SILENCE);
        // Or else the time in which a connection was not used would count.
        config.reset_reader_on_write = true;
        let server = config
            .cluster_url
            .to_string()
            .trim_end_matches('/')
            .to_owned();
        printer.detail(format!(
            "cluster: context {context}, {server}, namespace {}",
            settings.namespace
        ));
        let requests = Arc::new(AtomicU64::new(0));
        let client = counting(config, &requests).map_err(|err| {
            Failure::usage(format!(
                "the kubeconfig of context {context} cannot be used"
            ))
            .because(err)
        })?;
        Ok(Self {
            client,
            context,
            server,
            namespace: settings.namespace.clone(),
            requests,
        })
    }

    /// How many requests were sent so far; a watch is one for as long as it lasts.
    pub(crate) fn requests(&self) -> u64 {
        self.requests.load(Relaxed)
    }

    /// The resources of `kind` in the namespace.
    pub(crate) fn api(&self, kind: Kind) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &self.namespace, &resource(kind))
    }

    /// Explains an error of the API. `what` names the request: `listing deployments`.
    pub(crate) fn explain(&self, err: kube::Error, what: &str) -> Failure {
        let message = format!("{what} in namespace {}", self.namespace);
        match err {
            kube::Error::Api(status) => refused(&status, message),
            kube::Error::Auth(err) => Failure::credentials(format!(
                "no credentials for context {}",
                self.context
            ))
            .because(err)
            .hint("log in again: `aws sso login`, then `aws eks update-kubeconfig --name CLUSTER`"),
            kube::Error::Service(err) => self.unreachable().because(err),
            kube::Error::HyperError(err) => self.unreachable().because(err),
            other => Failure::failed(message).because(other),
        }
    }

    fn unreachable(&self) -> Failure {
        Failure::unreachable(format!(
            "the API server {} of context {} cannot be reached",
            self.server, self.context
        ))
        .hint("check the VPN or bastion, `--context`, and HTTPS_PROXY/NO_PROXY")
    }
}

/// A client that counts what it sends.
fn counting(config: kube::Config, requests: &Arc<AtomicU64>) -> kube::Result<Client> {
    let requests = Arc::clone(requests);
    let layer = MapRequestLayer::new(move |request: http::Request<kube::client::Body>| {
        requests.fetch_add(1, Relaxed);
        request
    });
    Ok(ClientBuilder::try_from(config)?.with_layer(&layer).build())
}

/// What the API server's answer means. Its message names the user, the verb and the resource.
fn refused(status: &kube::core::Status, message: String) -> Failure {
    let answer = Failure::failed(status.message.clone());
    match status.code {
        401 => Failure::credentials("the API server does not accept the credentials")
            .because(answer)
            .hint("log in again, or renew the kubeconfig: `aws eks update-kubeconfig --name CLUSTER`"),
        403 => Failure::credentials(format!("not allowed: {message}"))
            .because(answer)
            .hint("`castlink-upgrade rbac` prints the Role that is needed, for an administrator to apply"),
        409 => Failure::conflict(message).because(answer),
        429 | 500.. => Failure::unreachable(message).because(answer),
        _ => Failure::failed(message).because(answer),
    }
}

async fn load(settings: &config::Kube) -> Result<(kube::Config, String)> {
    let read = match &settings.kubeconfig {
        Some(file) => Kubeconfig::read_from(file),
        None => Kubeconfig::read(),
    };
    match read {
        Ok(kubeconfig) => from_kubeconfig(kubeconfig, settings).await,
        Err(err) if settings.kubeconfig.is_none() && settings.context.is_none() => in_cluster(err),
        Err(err) => Err(no_kubeconfig(err)),
    }
}

/// Inside a pod there is no kubeconfig but a service account.
fn in_cluster(err: KubeconfigError) -> Result<(kube::Config, String)> {
    match kube::Config::incluster() {
        Ok(config) => Ok((config, "in-cluster".into())),
        Err(_) => Err(no_kubeconfig(err)),
    }
}

fn no_kubeconfig(err: KubeconfigError) -> Failure {
    Failure::usage("no usable kubeconfig").because(err).hint(
        "set --kubeconfig or KUBECONFIG; `aws eks update-kubeconfig --name CLUSTER` writes one",
    )
}

async fn from_kubeconfig(
    kubeconfig: Kubeconfig,
    settings: &config::Kube,
) -> Result<(kube::Config, String)> {
    let context = settings
        .context
        .clone()
        .or_else(|| kubeconfig.current_context.clone());
    let Some(context) = context.filter(|name| !name.is_empty()) else {
        return Err(Failure::usage("the kubeconfig has no current context")
            .hint("choose one with --context, or `kubectl config use-context NAME`"));
    };
    let known: Vec<String> = kubeconfig
        .contexts
        .iter()
        .map(|context| context.name.clone())
        .collect();
    if !known.contains(&context) {
        return Err(unknown_context(&context, &known));
    }
    let options = KubeConfigOptions {
        context: Some(context.clone()),
        ..KubeConfigOptions::default()
    };
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options)
        .await
        .map_err(|err| {
            Failure::usage(format!(
                "context {context} of the kubeconfig cannot be used"
            ))
            .because(err)
        })?;
    Ok((config, context))
}

fn unknown_context(context: &str, known: &[String]) -> Failure {
    let names: Vec<&str> = known.iter().map(String::as_str).collect();
    let failure = Failure::usage(format!("the kubeconfig has no context {context}"));
    match config::nearest(context, &names) {
        Some(near) => failure.hint(format!("did you mean `--context {near}`?")),
        None => failure.hint(format!("contexts in it: {}", names.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use castlink_core::Exit;

    #[test]
    fn answers_of_the_api_have_their_exit_codes() {
        for (code, exit) in [
            (401, Exit::Credentials),
            (403, Exit::Credentials),
            (404, Exit::Failed),
            (409, Exit::Conflict),
            (422, Exit::Failed),
            (429, Exit::Unreachable),
            (503, Exit::Unreachable),
        ] {
            let status = kube::core::Status::failure("because", "Reason").with_code(code);
            let failure = refused(&status, "patching x".into());
            assert_eq!(failure.exit(), exit, "{code}");
            assert!(failure.one_line().ends_with("because"), "{failure:?}");
        }
    }

    #[test]
    fn a_mistyped_context_is_suggested() {
        let known = ["prod-eu".to_owned(), "prod-us".to_owned()];
        assert!(
            unknown_context("prod-eü", &known)
                .hint_text()
                .unwrap()
                .contains("prod-eu")
        );
        assert!(
            unknown_context("staging-cluster", &known)
                .hint_text()
                .unwrap()
                .contains("prod-us")
        );
    }
}

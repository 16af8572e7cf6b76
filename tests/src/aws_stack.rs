//! The AWS half of the stack: the emulator behind its gate, ECR with its blob store, and
//! the public registries, started together and stopped by being dropped.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};

use crate::aws_gate::{self, AwsGate, Shared};
use crate::ecr_gate::EcrGate;
use crate::knobs::Knobs;
use crate::moto::Moto;
use crate::pki::{Authority, PairFiles};
use crate::registry::{self, Registry};
use crate::seed::{self, Seeder};
use crate::upstream_gate::UpstreamGate;

/// The sandbox's account.
pub const ACCOUNT: &str = "123456789012";
/// The sandbox's region.
pub const REGION: &str = "us-east-1";
/// Hosts that the upstream registry stands for.
pub const UPSTREAM_HOSTS: [&str; 6] = [
    "us-docker.pkg.dev",
    "ghcr.io",
    "registry.k8s.io",
    "docker.io",
    "nvcr.io",
    "quay.io",
];

/// The programs that the stack starts.
#[derive(Clone, Debug)]
pub struct Programs {
    /// The reference registry.
    pub registry: PathBuf,
    /// A Python with moto (from [`crate::moto::ensure`]).
    pub python: PathBuf,
}

/// What the stack is to be like.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// How the gates begin; they can be turned later.
    pub knobs: Knobs,
    /// What seeded images are made like.
    pub images: seed::Options,
}

/// The running AWS half.
pub struct AwsStack {
    /// `AWS_ENDPOINT_URL`
    pub gate_url: String,
    /// The `endpoint` behind the ECR host.
    pub ecr_url: String,
    /// The public registries, without a path.
    pub upstream_url: String,
    /// The registry behind them, where seeds are pushed to.
    pub upstream_store: String,
    /// What was taken away from them on purpose.
    pub gone: PathBuf,
    /// The CA of the upstream's certificate.
    pub ca: PathBuf,
    /// Journal, faults, knobs and the registry's database.
    pub shared: Shared,
    /// Makes upstream images.
    pub seeder: Arc<Seeder>,
    /// The gate itself.
    pub gate: AwsGate,
    moto: Moto,
    store: Registry,
    upstream: Registry,
    _ecr: EcrGate,
    _upstream: UpstreamGate,
}

impl AwsStack {
    /// Starts everything below `dir` and waits until it answers.
    ///
    /// # Errors
    /// When a program does not start; carries the end of its log.
    pub async fn start(dir: &Path, programs: &Programs, options: Options) -> Result<Self> {
        fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
        let (ca, tls) = trust(dir)?;
        let client = reqwest::Client::builder().no_proxy().build()?;
        let upstream = registry::Options {
            name: "upstream".to_owned(),
            ..Default::default()
        };
        let store = registry::Options {
            name: "ecr-store".to_owned(),
            ..Default::default()
        };
        let logs = dir.join("logs");
        let (moto, store, upstream) = tokio::try_join!(
            Moto::start(&programs.python, &logs),
            Registry::start(&programs.registry, dir, &store, &client),
            Registry::start(&programs.registry, dir, &upstream, &client),
        )?;
        let journal = dir.join("requests.jsonl");
        let shared = Shared::new(ACCOUNT, REGION, options.knobs, Some(&journal))?;
        let gate = AwsGate::start(&moto.url, shared.clone()).await?;
        let ecr = EcrGate::start(&store.url, shared.clone()).await?;
        let gone = dir.join("gone.txt");
        let seeder = Seeder::new(&upstream.url, client, options.images).remembering(&gone);
        let seeder = Arc::new(seeder);
        let journal = Arc::clone(&shared.journal);
        let public = UpstreamGate::start(&upstream.url, &tls, journal, Arc::clone(&seeder)).await?;
        Ok(Self {
            gate_url: gate.url.clone(),
            ecr_url: ecr.url.clone(),
            upstream_url: public.url.clone(),
            upstream_store: upstream.url.clone(),
            gone,
            ca,
            shared,
            seeder,
            gate,
            moto,
            store,
            upstream,
            _ecr: ecr,
            _upstream: public,
        })
    }

    /// `123456789012.dkr.ecr.us-east-1.amazonaws.com`
    #[must_use]
    pub fn ecr_host(&self) -> String {
        self.shared.ecr.host()
    }

    /// What products need in their environment to reach this instead of AWS.
    #[must_use]
    pub fn env(&self) -> Vec<(&'static str, String)> {
        vec![
            ("AWS_ENDPOINT_URL", self.gate_url.clone()),
            ("AWS_ACCESS_KEY_ID", aws_gate::ACCESS_KEY.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", aws_gate::SECRET_KEY.to_owned()),
            ("AWS_REGION", REGION.to_owned()),
            ("AWS_DEFAULT_REGION", REGION.to_owned()),
            ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
            ("ECR", self.ecr_host()),
        ]
    }

    /// The `[registries]` of a `castlink.toml` for this stack.
    #[must_use]
    pub fn registries_toml(&self) -> String {
        let mut text = format!(
            "[registries.\"{}\"]\nendpoint = \"{}\"\n",
            self.ecr_host(),
            self.ecr_url
        );
        for host in UPSTREAM_HOSTS {
            text.push_str(&format!(
                "\n[registries.\"{host}\"]\nendpoint = \"{}/{host}\"\nca = \"{}\"\n",
                self.upstream_url,
                self.ca.display()
            ));
        }
        text
    }

    /// The children's process ids.
    #[must_use]
    pub fn pids(&self) -> [u32; 3] {
        [self.moto.pid(), self.store.pid(), self.upstream.pid()]
    }
}

/// The CA's file, and a certificate of it for the public registries.
fn trust(dir: &Path) -> Result<(PathBuf, PairFiles)> {
    let authority = Authority::new("castlink sandbox")?;
    let pki = dir.join("pki");
    let ca = authority.pair().write(&pki, "ca")?.cert;
    let tls = authority
        .server_cert("upstream", &[])?
        .write(&pki, "upstream")?;
    Ok((ca, tls))
}

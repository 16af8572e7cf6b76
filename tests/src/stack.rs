//! The whole stack: AWS, ECR, upstream registries, and a Kubernetes control plane with
//! simulated nodes that reach nothing but that ECR.
//!
//! A stack runs on a runtime of its own, so that it serves any number of tests, each on
//! theirs. Dropping it stops everything; so does the death of the process, however it
//! comes.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use tokio::runtime::{Handle, Runtime};

use crate::aws_gate::{ACCESS_KEY, SECRET_KEY};
use crate::aws_stack::{self, AwsStack, Programs, REGION};
use crate::control_plane::ControlPlane;
use crate::knobs::ClusterAccess;
use crate::kubelet::{Kubelets, NodeSpec, Reach, Setup};
use crate::network::{CLUSTER, Network};
use crate::products::Product;
use crate::seed::{self, Seeded};
use crate::servers::{self, Servers};
use crate::{moto, namespace, process};

/// Where progress lines go.
pub type Say = dyn Fn(&str) + Send + Sync;

/// What a stack is to hold. The default is everything.
#[derive(Clone, Debug)]
pub struct Options {
    /// A VPC with subnets and an EKS cluster in the emulated account.
    pub network: bool,
    /// A control plane with these nodes; none without nodes.
    pub nodes: Vec<NodeSpec>,
    /// The workloads of the `castai-agent` namespace.
    pub namespace: bool,
    /// What is in the upstream registry.
    pub seeds: Seeds,
    /// The AWS half.
    pub aws: aws_stack::Options,
}

/// Images in the upstream registry.
#[derive(Clone, Debug)]
pub enum Seeds {
    /// Every image of CAST AI's components, in two releases.
    Everything,
    /// These.
    Only(Vec<String>),
}

impl Default for Options {
    fn default() -> Self {
        Self {
            network: true,
            nodes: NodeSpec::default_set(),
            namespace: true,
            seeds: Seeds::Everything,
            aws: aws_stack::Options::default(),
        }
    }
}

impl Options {
    /// Only AWS and the registries, with these images upstream.
    #[must_use]
    pub fn without_kubernetes(images: &[&str]) -> Self {
        Self {
            nodes: Vec::new(),
            namespace: false,
            seeds: Seeds::Only(images.iter().map(ToString::to_string).collect()),
            ..Self::default()
        }
    }

    /// A cluster without workloads and network, with these images upstream.
    #[must_use]
    pub fn bare_cluster(images: &[&str]) -> Self {
        Self {
            network: false,
            namespace: false,
            seeds: Seeds::Only(images.iter().map(ToString::to_string).collect()),
            ..Self::default()
        }
    }
}

/// The Kubernetes half.
pub struct Cluster {
    /// The simulated nodes; first, so that they go before what they talk to.
    pub kubelets: Kubelets,
    /// The real control plane.
    pub plane: ControlPlane,
}

/// A running stack.
pub struct Stack {
    /// The Kubernetes half, when asked for.
    pub cluster: Option<Cluster>,
    /// The AWS half.
    pub aws: Arc<AwsStack>,
    /// The customer's network, when asked for.
    pub network: Option<Network>,
    dir: PathBuf,
    handle: Handle,
    runtime: Option<Runtime>,
    _temporary: Option<tempfile::TempDir>,
}

impl Stack {
    /// Starts a stack in a temporary directory.
    ///
    /// # Errors
    /// When something does not start; carries the end of its log.
    pub async fn start(options: Options) -> Result<Self> {
        let temporary = tempfile::Builder::new()
            .prefix("castlink-stack-")
            .tempdir()?;
        let dir = temporary.path().to_owned();
        let launch = move || Self::launch(&dir, options, &|line| log(line));
        let mut stack = tokio::task::spawn_blocking(launch).await??;
        stack._temporary = Some(temporary);
        Ok(stack)
    }

    /// Starts a stack in `dir` and blocks until it is ready. Not from async code.
    ///
    /// # Errors
    /// When something does not start; carries the end of its log.
    pub fn launch(dir: &Path, options: Options, say: &Say) -> Result<Self> {
        fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
        let dir = dir.canonicalize()?;
        let servers = servers::ensure(&|line| say(line))?;
        let python = moto::ensure(&|line| say(line))?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("stack")
            .enable_all()
            .build()?;
        let mut stack = runtime.block_on(Self::assemble(&dir, options, servers, python, say))?;
        stack.runtime = Some(runtime);
        Ok(stack)
    }

    async fn assemble(
        dir: &Path,
        options: Options,
        servers: Servers,
        python: PathBuf,
        say: &Say,
    ) -> Result<Self> {
        let programs = Programs {
            registry: servers.registry.clone(),
            python,
        };
        let aws = Arc::new(AwsStack::start(&dir.join("aws"), &programs, options.aws).await?);
        say("AWS, ECR and the upstream registry are ready");
        let plane = async {
            if options.nodes.is_empty() {
                return Ok(None);
            }
            ControlPlane::start(&servers, &dir.join("kubernetes"), &|line| say(line))
                .await
                .map(Some)
        };
        let network = async {
            if options.network {
                return Network::create(&aws.gate_url).await.map(Some);
            }
            Ok(None)
        };
        let seeded = seed(&aws, &options.seeds, say);
        let (plane, network, ()) = tokio::try_join!(plane, network, seeded)?;
        let cluster = match plane {
            Some(plane) => {
                Some(populate(dir, &aws, plane, options.nodes, options.namespace).await?)
            }
            None => None,
        };
        let handle = Handle::current();
        let dir = dir.to_owned();
        let stack = Self {
            cluster,
            aws,
            network,
            dir,
            handle,
            runtime: None,
            _temporary: None,
        };
        stack.write_files(&servers)?;
        Ok(stack)
    }

    /// The stack's directory: logs, `castlink.toml`, `kubeconfig`.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A client with the administrator's rights, for the caller's runtime.
    ///
    /// # Errors
    /// When the stack has no control plane.
    pub async fn client(&self) -> Result<kube::Client> {
        self.cluster()?.plane.client().await
    }

    /// The Kubernetes half.
    ///
    /// # Errors
    /// When the stack was started without.
    pub fn cluster(&self) -> Result<&Cluster> {
        self.cluster.as_ref().context("this stack has no cluster")
    }

    /// Puts images into the upstream registry.
    ///
    /// # Errors
    /// When a reference is malformed or the registry refuses.
    pub async fn seed(&self, references: &[&str]) -> Result<Vec<Seeded>> {
        let references: Vec<_> = references.iter().map(ToString::to_string).collect();
        let aws = Arc::clone(&self.aws);
        self.handle
            .spawn(async move { aws.seeder.seed_all(references).await })
            .await?
    }

    /// Takes an image out of the upstream registry; false when it was not there.
    ///
    /// # Errors
    /// When the reference is malformed or the registry refuses.
    pub async fn unseed(&self, reference: &str) -> Result<bool> {
        let reference = reference.to_owned();
        let aws = Arc::clone(&self.aws);
        self.handle
            .spawn(async move { aws.seeder.unseed(&reference).await })
            .await?
    }

    /// The environment in which products (and kubectl) reach this stack and nothing else.
    #[must_use]
    pub fn env(&self) -> BTreeMap<String, String> {
        let aws = self.aws.env().into_iter();
        let mut env: BTreeMap<_, _> = aws.map(|(key, value)| (key.to_owned(), value)).collect();
        let path = |name: &str| self.dir.join(name).display().to_string();
        env.insert("CASTLINK_CONFIG".to_owned(), path("castlink.toml"));
        if self.cluster.is_some() {
            env.insert("KUBECONFIG".to_owned(), path("kubeconfig"));
        }
        env
    }

    /// Directories that come first in PATH: kubectl's and the project's binaries'.
    #[must_use]
    pub fn path(&self) -> Vec<PathBuf> {
        let products = process::binary("castlink-sandbox").ok();
        let products = products.and_then(|path| path.parent().map(Path::to_path_buf));
        [self.dir.join("bin")].into_iter().chain(products).collect()
    }

    /// One of the project's binaries, with the stack's environment and no other.
    ///
    /// # Errors
    /// When it is not built; the error says what builds it.
    pub fn product(&self, name: &str) -> Result<Product> {
        let path = self
            .path()
            .into_iter()
            .chain(["/usr/bin".into(), "/bin".into()]);
        let path = std::env::join_paths(path)?.to_string_lossy().into_owned();
        let home = self.dir.join("home").display().to_string();
        let mut env = self.env();
        env.extend([("PATH".to_owned(), path), ("HOME".to_owned(), home)]);
        Ok(Product::new(name, env)?.dir(self.dir.join("home")))
    }

    /// The configuration products are given.
    #[must_use]
    pub fn castlink_toml(&self) -> String {
        let network = match self.network {
            Some(_) => format!("[network]\ncluster = \"{CLUSTER}\"\n\n"),
            None => String::new(),
        };
        format!(
            "# How castlink reaches the sandbox.\n{network}[mirror]\nto = \"{}\"\n\n{}",
            self.aws.ecr_host(),
            self.aws.registries_toml()
        )
    }

    fn write_files(&self, servers: &Servers) -> Result<()> {
        fs::write(self.dir.join("castlink.toml"), self.castlink_toml())?;
        fs::create_dir_all(self.dir.join("home"))?;
        let bin = self.dir.join("bin");
        fs::create_dir_all(&bin)?;
        symlink(&servers.kubectl, bin.join("kubectl")).context("cannot link kubectl")?;
        if let Some(cluster) = &self.cluster {
            symlink(cluster.plane.kubeconfig(), self.dir.join("kubeconfig"))
                .context("cannot link the kubeconfig")?;
        }
        Ok(())
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        self.cluster = None;
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background(); // may be dropped within another runtime
        }
    }
}

/// The file of faults that the kubelets of a stack in `dir` follow.
#[must_use]
pub fn faults_file(dir: &Path) -> PathBuf {
    dir.join("faults.json")
}

/// Registers nodes, tells EKS where the API server is, and creates the workloads.
async fn populate(
    dir: &Path,
    aws: &AwsStack,
    plane: ControlPlane,
    nodes: Vec<NodeSpec>,
    workloads: bool,
) -> Result<Cluster> {
    let access = ClusterAccess {
        endpoint: plane.url(),
        ca_base64: plane.ca_base64(),
    };
    aws.shared.panel.set(|knobs| knobs.cluster = Some(access));
    let digest_of = |image: &str| aws.seeder.digest_of(image);
    let setup = Setup {
        nodes,
        reach: Reach {
            registries: BTreeMap::from([(aws.ecr_host(), aws.ecr_url.clone())]),
            aws: aws.gate_url.clone(),
            region: REGION.to_owned(),
            credentials: (ACCESS_KEY.to_owned(), SECRET_KEY.to_owned()),
        },
        preloaded: namespace::preloaded(digest_of)?,
        faults_file: Some(faults_file(dir)),
    };
    let client = plane.client().await?;
    let kubelets = Kubelets::start(client.clone(), setup).await?;
    if workloads {
        namespace::create(&client, &namespace::manifests(digest_of)?).await?;
    }
    Ok(Cluster { kubelets, plane })
}

async fn seed(aws: &AwsStack, seeds: &Seeds, say: &Say) -> Result<()> {
    let images = match seeds {
        Seeds::Everything => seed::defaults(),
        Seeds::Only(images) => images.clone(),
    };
    let count = aws.seeder.seed_all(images).await?.len();
    say(&format!("{count} images are in the upstream registry"));
    Ok(())
}

/// Progress of a stack that a test starts: set-up that takes minutes must not be silent.
fn log(line: &str) {
    use std::io::Write as _;
    drop(writeln!(std::io::stderr(), "stack: {line}"));
}

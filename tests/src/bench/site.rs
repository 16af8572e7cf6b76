//! The two registries of a measurement, and one measured run between them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Serialize;
use tempfile::TempDir;

use super::access::{Log, Requests};
use super::check::{self, Tree};
use super::exec::{self, Usage};
use super::images::{LARGE, Load, NAMES, RELEASES, TAG, destination, repository};
use super::machine;
use super::proxy::{Conditions, Proxy};
use super::tools::{Errand, Kit, Tool};
use crate::registry::{Options, Registry};

/// The source registry, with the set in it.
pub struct Source {
    registry: Registry,
    log: Log,
    /// The images of each release, by name.
    releases: [BTreeMap<&'static str, Tree>; 2],
    http: reqwest::Client,
    program: PathBuf,
    _dir: TempDir,
}

/// A registry that began empty, and the network to both.
pub struct Site<'a> {
    source: &'a mut Source,
    registry: Registry,
    log: Log,
    links: Option<[Proxy; 2]>,
    dir: TempDir,
}

/// What one run came to.
#[derive(Clone, Debug, Serialize)]
pub struct Measured {
    /// Time, CPU, memory.
    #[serde(flatten)]
    pub usage: Usage,
    /// What the source was asked.
    pub source: Requests,
    /// What the destination was asked.
    pub destination: Requests,
    /// MB (10^6 bytes) that the tool received from the source.
    pub pulled_mb: f64,
    /// MB that the tool sent to the destination.
    pub pushed_mb: f64,
    /// Connections to the source and to the destination that were cut or refused.
    pub broken: [u64; 2],
    /// CPU of both registries, in seconds.
    pub registries_cpu_s: f64,
    /// Processes that wanted a core when it began, on average over a minute.
    pub load: f64,
    /// Why it does not count.
    pub error: Option<String>,
}

impl Source {
    /// Serves the data in `data`, made by [`super::images::ensure`].
    ///
    /// # Errors
    /// When the registry does not start or the set is not whole.
    pub async fn start(program: &Path, data: &Path) -> Result<Self> {
        let dir = tempfile::Builder::new()
            .prefix("castlink-bench-")
            .tempdir()?;
        let http = reqwest::Client::builder().no_proxy().build()?;
        let options = Options {
            name: "source".to_owned(),
            access_log: true,
            data: Some(data.to_owned()),
            ..Options::default()
        };
        let registry = Registry::start(program, dir.path(), &options, &http).await?;
        let mut releases = [BTreeMap::new(), BTreeMap::new()];
        let of_both = RELEASES.iter().enumerate();
        let of_both = of_both.flat_map(|(release, _)| NAMES.map(|name| (release, name)));
        for (release, name) in of_both.chain(LARGE.map(|name| (0, name))) {
            let repository = repository(RELEASES[release], name);
            let tree = check::tree(&http, &registry.url, &repository, TAG).await?;
            releases[release].insert(name, tree);
        }
        let log = Log::new(registry.log(), &registry.url, http.clone()).await?;
        Ok(Self {
            registry,
            log,
            releases,
            http,
            program: program.to_owned(),
            _dir: dir,
        })
    }

    /// Bytes of a load, each blob once.
    #[must_use]
    pub fn bytes(&self, load: Load) -> u64 {
        let blobs = self.trees(load).flat_map(|(_, tree)| &tree.blobs);
        let unique: BTreeMap<_, _> = blobs.collect();
        unique.values().copied().sum()
    }

    /// The images of a load.
    pub fn trees(&self, load: Load) -> impl Iterator<Item = (&'static str, &Tree)> {
        let known = &self.releases[load.release];
        let find = |name: &&'static str| known.get_key_value(name);
        load.images
            .iter()
            .filter_map(find)
            .map(|(name, tree)| (*name, tree))
    }

    /// The registry's program.
    #[must_use]
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Its base URL.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.registry.url
    }

    /// Requests since the last call.
    ///
    /// # Errors
    /// When its log cannot be read.
    pub async fn take(&mut self) -> Result<Requests> {
        self.log.take().await
    }
}

impl<'a> Site<'a> {
    /// An empty destination. `conditions` are those of the networks to the source and to
    /// the destination; without them the tool talks to the registries themselves.
    ///
    /// # Errors
    /// When the registry or a proxy does not start.
    pub async fn new(source: &'a mut Source, conditions: Option<[Conditions; 2]>) -> Result<Self> {
        let prefix = "castlink-bench-";
        let dir = tempfile::Builder::new()
            .prefix(prefix)
            .tempdir_in(machine::scratch())?;
        let options = Options {
            name: "destination".to_owned(),
            access_log: true,
            ..Options::default()
        };
        let registry = Registry::start(&source.program, dir.path(), &options, &source.http).await?;
        let links = match conditions {
            None => None,
            Some([near, far]) => Some([
                Proxy::start(address(&source.registry)?, near).await?,
                Proxy::start(address(&registry)?, far).await?,
            ]),
        };
        let log = Log::new(registry.log(), &registry.url, source.http.clone()).await?;
        source.log.take().await?;
        Ok(Self {
            source,
            registry,
            log,
            links,
            dir,
        })
    }

    /// Lets `tool` copy images here and measures that; with `check`, compares what
    /// arrived with what was to be copied.
    ///
    /// # Errors
    /// When the measurement fails. A tool that fails is a result.
    pub async fn run(
        &mut self,
        tool: Tool,
        kit: &Kit,
        load: Load,
        check: bool,
    ) -> Result<Measured> {
        let home = self.dir.path().join(format!("{tool:?}-{}", load.release));
        std::fs::create_dir_all(&home)?;
        let [near, far] = self.addresses()?;
        let errand = Errand {
            source: near,
            load,
            destination: far,
            home: &home,
        };
        let job = tool.job(kit, &errand)?;
        let (busy, before) = (machine::load(), self.meters()?);
        let ran = exec::run(&job, &home).await;
        let after = self.meters()?;
        let (source, destination) = (self.source.log.take().await?, self.log.take().await?);
        let usage = ran.as_ref().copied().unwrap_or_default();
        let error = match ran {
            Err(error) => Some(format!("{error:#}")),
            Ok(usage) if usage.failed > 0 => Some(exec::last_words(&job.log)),
            Ok(_) if check => self
                .check(load)
                .await
                .err()
                .map(|error| format!("{error:#}")),
            Ok(_) => None,
        };
        let (pulled, pushed) = match &self.links {
            Some(_) => (after.down - before.down, after.up - before.up),
            None => (source.sent, destination.received),
        };
        Ok(Measured {
            usage,
            source,
            destination,
            pulled_mb: pulled as f64 / 1e6,
            pushed_mb: pushed as f64 / 1e6,
            broken: self.broken(),
            registries_cpu_s: after.cpu_s - before.cpu_s,
            load: busy,
            error,
        })
    }

    /// Fails unless every image of the load is here, whole.
    ///
    /// # Errors
    /// The first thing that is missing or differs.
    pub async fn check(&mut self, load: Load) -> Result<()> {
        for (name, tree) in self.source.trees(load) {
            let repository = destination(name);
            check::same(
                &self.source.http,
                &self.registry.url,
                &repository,
                TAG,
                tree,
            )
            .await?;
        }
        self.log.take().await?; // our own requests
        Ok(())
    }

    fn addresses(&self) -> Result<[SocketAddr; 2]> {
        match &self.links {
            Some([near, far]) => Ok([near.addr, far.addr]),
            None => Ok([address(&self.source.registry)?, address(&self.registry)?]),
        }
    }

    fn broken(&self) -> [u64; 2] {
        match &self.links {
            Some(links) => std::array::from_fn(|end| links[end].traffic.broken()),
            None => [0, 0],
        }
    }

    fn meters(&self) -> Result<Meters> {
        let (source, destination) = (self.source.registry.pid(), self.registry.pid());
        let (down, up) = match &self.links {
            Some([near, far]) => (near.traffic.down(), far.traffic.up()),
            None => (0, 0),
        };
        let cpu_s = machine::cpu_of(source)? + machine::cpu_of(destination)?;
        Ok(Meters { down, up, cpu_s })
    }
}

/// Counters that only grow.
struct Meters {
    down: u64,
    up: u64,
    cpu_s: f64,
}

fn address(registry: &Registry) -> Result<SocketAddr> {
    let text = registry.url.trim_start_matches("http://");
    text.parse()
        .with_context(|| format!("{text} is not an address"))
}

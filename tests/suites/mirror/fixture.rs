//! One upstream registry and one blob store for the whole suite; gates of its own, hence an
//! empty ECR, for each test.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use castlink_tests::aws_gate::{ACCESS_KEY, AwsGate, SECRET_KEY, Shared};
use castlink_tests::aws_stack::{ACCOUNT, REGION, UPSTREAM_HOSTS};
use castlink_tests::ecr::Repository;
use castlink_tests::ecr_gate::EcrGate;
use castlink_tests::knobs::Knobs;
use castlink_tests::pki::Authority;
use castlink_tests::products::{Outcome, Product};
use castlink_tests::registry::{Options, Registry};
use castlink_tests::seed::{self, Seeder};
use castlink_tests::servers;
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Runtime;

struct Common {
    store: Registry,
    upstream: Registry,
    ca: PathBuf,
    seeder: Seeder,
    http: reqwest::Client,
    _dir: TempDir,
    // The gates of all tests run here, so that no test's end stops another's.
    runtime: Runtime,
}

static COMMON: LazyLock<Common> = LazyLock::new(|| {
    let servers = servers::ensure(&|line| eprintln!("{line}")).expect("servers can be built");
    let dir = tempfile::tempdir().expect("a temporary directory");
    let authority = Authority::new("mirror suite").expect("a CA");
    let ca = authority
        .pair()
        .write(dir.path(), "ca")
        .expect("the CA's files")
        .cert;
    let tls = authority
        .server_cert("upstream", &[])
        .expect("a certificate");
    let tls = tls.write(dir.path(), "upstream").expect("its files");
    let root = reqwest::Certificate::from_pem(authority.pair().cert.as_bytes()).expect("PEM");
    let http = reqwest::Client::builder().tls_certs_only([root]).no_proxy();
    let http = http.build().expect("a client");
    let runtime = Runtime::new().expect("a runtime");
    let start = |name: &str, tls| {
        let name = name.to_owned();
        let options = Options {
            name,
            tls,
            ..Options::default()
        };
        let started = Registry::start(&servers.registry, dir.path(), &options, &http);
        runtime.block_on(started).expect("the registry starts")
    };
    let (store, upstream) = (start("store", None), start("upstream", Some(tls)));
    let seeder = Seeder::new(&upstream.url, http.clone(), seed::Options::default());
    Common {
        store,
        upstream,
        ca,
        seeder,
        http,
        _dir: dir,
        runtime,
    }
});

/// A registry that is not ECR; all tests share it.
pub(crate) const FAR: &str = "far.example";

/// The account of one test, with an empty ECR.
pub(crate) struct World {
    pub(crate) shared: Shared,
    gate: AwsGate,
    ecr: EcrGate,
    home: TempDir,
}

/// Runs `test` in an account of its own.
pub(crate) fn with_world(test: impl AsyncFnOnce(&World)) {
    with_knobs(Knobs::default(), test);
}

/// As [`with_world`], with other gates.
pub(crate) fn with_knobs(knobs: Knobs, test: impl AsyncFnOnce(&World)) {
    COMMON.runtime.block_on(async {
        let shared = Shared::new(ACCOUNT, REGION, knobs, None).unwrap();
        // Nothing here asks for what the emulator plays.
        let gate = AwsGate::start("http://127.0.0.1:9", shared.clone())
            .await
            .unwrap();
        let ecr = EcrGate::start(&COMMON.store.url, shared.clone())
            .await
            .unwrap();
        let home = tempfile::tempdir().unwrap();
        let world = World {
            shared,
            gate,
            ecr,
            home,
        };
        world.configure(&COMMON.upstream.url, &world.ecr.url);
        test(&world).await;
    });
}

/// The upstream registry: its URL, and the file with the authority that it is trusted by.
pub(crate) fn upstream() -> (&'static str, &'static Path) {
    (&COMMON.upstream.url, &COMMON.ca)
}

/// The URL of a registry that takes everything.
pub(crate) fn registry() -> &'static str {
    &COMMON.store.url
}

/// Puts images upstream; their digests, in order.
pub(crate) async fn seed(images: &[&str]) -> Vec<String> {
    let seeded = COMMON.seeder.seed_all(images).await.unwrap();
    seeded.into_iter().map(|image| image.digest).collect()
}

/// Takes an image away upstream, its manifests included.
pub(crate) async fn unseed(image: &str) {
    assert!(COMMON.seeder.unseed(image).await.unwrap());
}

/// Moves `tag` of a repository upstream to what `other` stands for.
pub(crate) async fn retag(repository: &str, tag: &str, other: &str) {
    let url = |tag: &str| format!("{}/v2/{repository}/manifests/{tag}", COMMON.upstream.url);
    let held = COMMON.http.get(url(other));
    let held = held.header("Accept", "application/vnd.oci.image.index.v1+json");
    let held = held.send().await.unwrap().error_for_status().unwrap();
    let kind = held.headers()["content-type"].clone();
    let put = COMMON.http.put(url(tag)).header("Content-Type", kind);
    let put = put.body(held.bytes().await.unwrap()).send().await.unwrap();
    put.error_for_status().unwrap();
}

/// The upstream registry's seeder.
pub(crate) fn seeder() -> &'static Seeder {
    &COMMON.seeder
}

/// A registry that is no ECR, to copy to: `127.0.0.1:PORT`.
pub(crate) fn plain_registry() -> &'static str {
    COMMON.store.url.trim_start_matches("http://")
}

/// Where the upstream registry listens, and its address for [`World::configure`].
pub(crate) fn upstream_address() -> (std::net::SocketAddr, String) {
    let url: url::Url = COMMON.upstream.url.parse().unwrap();
    let addr = url.socket_addrs(|| None).unwrap().remove(0);
    (addr, COMMON.upstream.url.clone())
}

impl World {
    /// ECR's address for [`World::configure`].
    pub(crate) fn ecr_url(&self) -> &str {
        &self.ecr.url
    }

    /// Makes the public registries unreachable.
    pub(crate) fn close_network(&self) {
        self.configure("http://127.0.0.1:9", &self.ecr.url);
    }

    /// Makes them reachable again.
    pub(crate) fn open_network(&self) {
        self.configure(&COMMON.upstream.url, &self.ecr.url);
    }

    /// A file in the directory that everything runs in.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// Says where the registries are.
    pub(crate) fn configure(&self, upstream: &str, ecr: &str) {
        let mut text = format!(
            "[mirror]\nto = \"{host}\"\nattempts = 4\n\n[registries.\"{host}\"]\nendpoint = \"{ecr}\"\n",
            host = self.host()
        );
        for host in UPSTREAM_HOSTS {
            let ca = COMMON.ca.display();
            text.push_str(&format!(
                "\n[registries.\"{host}\"]\nendpoint = \"{upstream}/{host}\"\nca = \"{ca}\"\n"
            ));
        }
        // Under a name that nobody resolves: only a proxy gets there, and a registry that is
        // asked for a whole URL answers as one would.
        let store = &COMMON.store.url;
        text.push_str(&format!(
            "\n[registries.\"{FAR}\"]\nendpoint = \"http://registry.invalid/far\"\nproxy = \"{store}\"\n"
        ));
        std::fs::write(self.home.path().join("castlink.toml"), text).unwrap();
    }

    /// Adds `text` to the configuration: tables that are not there yet.
    pub(crate) fn add_settings(&self, text: &str) {
        let file = self.home.path().join("castlink.toml");
        let before = std::fs::read_to_string(&file).unwrap();
        std::fs::write(file, format!("{before}\n{text}\n")).unwrap();
    }

    /// Writes a file beside the configuration.
    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.home.path().join(name), text).unwrap();
    }

    /// Changes a repository of ECR behind castlink's back; makes it when there is none.
    pub(crate) fn repository<T>(&self, name: &str, change: impl FnOnce(&mut Repository) -> T) -> T {
        let mut database = self.shared.ecr.database();
        let made = || Repository::new(name);
        change(
            database
                .repositories
                .entry(name.to_owned())
                .or_insert_with(made),
        )
    }

    /// ECR's name.
    pub(crate) fn host(&self) -> String {
        self.shared.ecr.host()
    }

    /// A path in the directory that castlink-mirror runs in.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// castlink-mirror, with this world's environment and no other.
    pub(crate) fn mirror(&self, args: &[&str]) -> Product {
        let env = [
            ("AWS_ENDPOINT_URL", self.gate.url.as_str()),
            ("AWS_ACCESS_KEY_ID", ACCESS_KEY),
            ("AWS_SECRET_ACCESS_KEY", SECRET_KEY),
            ("AWS_EC2_METADATA_DISABLED", "true"),
            ("HOME", self.home.path().to_str().unwrap()),
        ];
        let env = env.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let product = Product::new("castlink-mirror", env).unwrap();
        product.args(args.iter().copied()).dir(self.home.path())
    }

    /// Runs it; its exit code must be `code`.
    pub(crate) async fn run(&self, args: &[&str], code: i32) -> Outcome {
        let outcome = self.mirror(args).run().await.unwrap();
        outcome.expect_code(code).unwrap()
    }

    /// The digest a tag of ECR points at.
    pub(crate) fn tagged(&self, repository: &str, tag: &str) -> Option<String> {
        let database = self.shared.ecr.database();
        database
            .repositories
            .get(repository)?
            .tags
            .get(tag)
            .cloned()
    }

    /// The names of the requests since `mark` that would change something.
    pub(crate) fn writes(&self, mark: usize) -> Vec<String> {
        let writes = self.shared.journal.writes(mark).into_iter();
        writes.map(|entry| entry.action).collect()
    }

    /// How often `action` was asked for since `mark`.
    pub(crate) fn count(&self, mark: usize, action: &str) -> usize {
        let entries = self.shared.journal.since(mark).into_iter();
        entries.filter(|entry| entry.action == action).count()
    }
}

/// The `status` of each `mirrored` record, by source.
pub(crate) fn statuses(outcome: &Outcome) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let records = outcome.records_of("mirrored").unwrap().into_iter();
    let mut found: Vec<_> = records
        .map(|record| (text(&record["source"]), text(&record["status"])))
        .collect();
    found.sort();
    found
}

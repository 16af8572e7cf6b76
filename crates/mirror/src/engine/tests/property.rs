//! For any set of images and any sequence of failures: no manifest is pushed before what it
//! refers to, no upload of wrong bytes is completed, runs that failed are made good by
//! running again, and a run after that writes nothing.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use proptest::{collection::vec, prelude::*, sample::select};

use super::*;
use crate::liar::Lie;

const SOURCES: [&str; 2] = [HOST, "other.example"];
const TARGETS: [&str; 2] = [TARGET, "second.example"];

/// Sizes around those at which things change: nothing, one frame, several.
const SIZES: [usize; 6] = [0, 1, 700, 20_000, 70_000, 300_000];

/// What is below a tag.
#[derive(Debug, Clone)]
enum Shape {
    /// An image of these layers.
    Image(Vec<usize>),
    /// An index.
    Index(Vec<Shape>),
}

/// One image: at which source, in which repository.
#[derive(Debug, Clone)]
struct Spec {
    source: usize,
    repository: usize,
    shape: Shape,
}

/// What happens to one request.
#[derive(Debug, Clone, Copy)]
enum Harm {
    /// The connection ends before the request is heard.
    Deaf,
    /// The connection ends in place of an answer, and nothing was done.
    Nothing,
    /// What was asked for is done, and the connection ends.
    Lost,
    /// Half of the answer.
    Cut,
    /// One bit of the answer is another.
    Wrong,
    /// An error.
    Status(u16),
    /// All tokens end.
    Expired,
}

#[derive(Debug, Clone)]
struct World {
    images: Vec<Spec>,
    targets: usize,
    attempts: u32,
    /// Whether mounts are granted.
    mounts: bool,
    /// By the number of the request, over all servers.
    harms: Vec<Option<Harm>>,
}

fn shapes() -> impl Strategy<Value = Shape> {
    let image = vec(0..SIZES.len(), 0..4).prop_map(Shape::Image);
    image.prop_recursive(2, 8, 3, |inner| vec(inner, 1..4).prop_map(Shape::Index))
}

fn harms() -> impl Strategy<Value = Option<Harm>> {
    let status = select(&[403, 404, 429, 500, 503][..]).prop_map(Harm::Status);
    let other = select(
        &[
            Harm::Deaf,
            Harm::Nothing,
            Harm::Lost,
            Harm::Cut,
            Harm::Wrong,
            Harm::Expired,
        ][..],
    );
    let harm = prop_oneof![1 => status, 3 => other];
    prop_oneof![3 => Just(None), 1 => harm.prop_map(Some)]
}

fn worlds() -> impl Strategy<Value = World> {
    let image = (0..2usize, 0..3usize, shapes());
    let images = vec(image, 1..5).prop_map(|images| {
        let spec = |(source, repository, shape)| Spec {
            source,
            repository,
            shape,
        };
        images.into_iter().map(spec).collect()
    });
    (
        images,
        1..3usize,
        1..3u32,
        any::<bool>(),
        vec(harms(), 0..100),
    )
        .prop_map(|(images, targets, attempts, mounts, harms)| World {
            images,
            targets,
            attempts,
            mounts,
            harms,
        })
}

/// The failures of a world, as they come up.
struct Chaos {
    harms: Vec<Option<Harm>>,
    mounts: bool,
    requests: AtomicUsize,
    token: AtomicUsize,
}

impl Chaos {
    async fn server(self: &Arc<Self>) -> Liar {
        let chaos = Arc::clone(self);
        Liar::lying(move |asked, _| chaos.lie(asked)).await
    }

    fn lie(&self, asked: &Asked) -> Lie {
        let number = self.requests.fetch_add(1, SeqCst);
        match self.harms.get(number).copied().flatten() {
            Some(harm) => self.harm(harm),
            None => self.rule(asked).map_or(Lie::None, Lie::Instead),
        }
    }

    fn harm(&self, harm: Harm) -> Lie {
        match harm {
            Harm::Deaf => Lie::Early(Reply::nothing()),
            Harm::Nothing => Lie::Instead(Reply::nothing()),
            Harm::Lost => Lie::Spoil(|_| Reply::nothing()),
            Harm::Cut => Lie::Spoil(|reply| Reply {
                cut: Some(reply.body.len() / 2),
                ..reply
            }),
            Harm::Wrong => Lie::Spoil(|mut reply| {
                let middle = reply.body.len() / 2;
                reply
                    .body
                    .iter_mut()
                    .skip(middle)
                    .take(1)
                    .for_each(|byte| *byte ^= 4);
                reply
            }),
            Harm::Status(status) => Lie::Instead(Reply::status(status)),
            Harm::Expired => {
                self.token.fetch_add(1, SeqCst);
                Lie::Instead(unauthorised())
            }
        }
    }

    /// Tokens, and mounts that are not granted.
    fn rule(&self, asked: &Asked) -> Option<Reply> {
        let token = self.token.load(SeqCst);
        if asked.target.starts_with("/token") {
            return Some(Reply::status(200).body(format!(r#"{{"token":"t{token}"}}"#)));
        }
        if asked.headers.get("authorization") != Some(&format!("Bearer t{token}")) {
            return Some(unauthorised());
        }
        let mount = asked.method == "POST" && asked.target.contains("mount=");
        let session = asked.target.replace("?", "session?");
        (mount && !self.mounts).then(|| Reply::status(202).header("Location", session))
    }
}

fn unauthorised() -> Reply {
    Reply::status(401).header("WWW-Authenticate", r#"Bearer realm="/token""#)
}

/// Puts `shape` into a repository, and says how an index refers to it.
fn build(liar: &Liar, repository: &str, shape: &Shape) -> serde_json::Value {
    let blob = |bytes: &[u8]| {
        let digest = liar.put_blob(repository, bytes);
        serde_json::json!({"mediaType": "m", "digest": digest.as_str(), "size": bytes.len()})
    };
    let (kind, manifest) = match shape {
        Shape::Image(layers) => {
            let layers: Vec<_> = layers
                .iter()
                .map(|layer| blob(&noise(layer + 3, SIZES[*layer])))
                .collect();
            let image =
                serde_json::json!({"schemaVersion": 2, "config": blob(b"{}"), "layers": layers});
            ("application/vnd.oci.image.manifest.v1+json", image)
        }
        Shape::Index(children) => {
            let children: Vec<_> = children
                .iter()
                .map(|child| build(liar, repository, child))
                .collect();
            let index = serde_json::json!({"schemaVersion": 2, "manifests": children});
            ("application/vnd.oci.image.index.v1+json", index)
        }
    };
    let bytes = manifest.to_string();
    let digest = Digest::of(bytes.as_bytes());
    liar.put_manifest(repository, digest.as_str(), bytes.as_bytes());
    serde_json::json!({"mediaType": kind, "digest": digest.as_str(), "size": bytes.len()})
}

/// All servers of a world, and what is copied between them.
struct Stage {
    chaos: Arc<Chaos>,
    sources: Vec<Liar>,
    targets: Vec<Liar>,
    attempts: u32,
    /// `registry/repository:tag`, with the source's number and the root's digest.
    images: Vec<(String, usize, String)>,
}

impl Stage {
    async fn set(world: &World) -> Self {
        let chaos = Arc::new(Chaos {
            harms: world.harms.clone(),
            mounts: world.mounts,
            requests: AtomicUsize::new(0),
            token: AtomicUsize::new(0),
        });
        let mut stage = Self {
            sources: vec![chaos.server().await, chaos.server().await],
            chaos: chaos.clone(),
            targets: Vec::new(),
            attempts: world.attempts,
            images: Vec::new(),
        };
        for _ in 0..world.targets {
            stage.targets.push(chaos.server().await);
        }
        for (number, spec) in world.images.iter().enumerate() {
            let repository = format!("s{}/r{}", spec.source, spec.repository);
            let source = &stage.sources[spec.source];
            let root = build(source, &repository, &spec.shape);
            let digest = root["digest"].as_str().unwrap().to_owned();
            let key = |name: &str| (repository.clone(), name.to_owned());
            let bytes = source.store().manifests[&key(&digest)].clone();
            source
                .store()
                .manifests
                .insert(key(&format!("t{number}")), bytes);
            let name = format!("{repository}:t{number}");
            stage.images.push((name, spec.source, digest));
        }
        stage
    }

    /// One run; true when there was nothing to do.
    async fn run(&self) -> bool {
        let hosts = SOURCES.iter().zip(&self.sources);
        let hosts = hosts.chain(TARGETS.iter().zip(&self.targets));
        let hosts: Vec<(&str, &Liar)> = hosts.map(|(host, liar)| (*host, liar)).collect();
        let mut config = config(&hosts);
        config.mirror.attempts = self.attempts;
        let sites = Arc::new(Sites::new(Registries::new(&config)));
        let to = TARGETS[..self.targets.len()]
            .iter()
            .map(|registry| Destination::Registry {
                name: (*registry).to_owned(),
                layout: Layout::Path,
            });
        let to: Vec<_> = to.collect();
        let images = self.images.iter();
        let requests =
            images.map(|(name, source, _)| request(&format!("{}/{name}", SOURCES[*source])));
        let scope = Scope {
            depth: Depth::Changed,
            platforms: &Selection::default(),
            attachments: true,
        };
        let seen = observe(&sites, &to, requests.collect(), scope).await;
        let plan = plan(seen.unwrap(), true);
        let printer = Printer::new(&OutputArgs::default(), false);
        let progress = Arc::new(Progress::start(&printer, "test", Unit::Bytes, 1, 1));
        run(sites, &config.mirror, &plan, progress, |_, _| {}).await;
        plan.is_empty()
    }

    fn offences(&self) -> Vec<String> {
        let targets = self.targets.iter();
        targets
            .flat_map(|target| target.store().offences.clone())
            .collect()
    }

    /// What is not at a target as it is at its source.
    fn differences(&self) -> Vec<String> {
        let mut found = Vec::new();
        for target in &self.targets {
            let store = target.store();
            found.extend(store.holes());
            for (name, _, digest) in &self.images {
                let (repository, tag) = name.split_once(':').unwrap();
                let held = store
                    .manifests
                    .get(&(repository.to_owned(), tag.to_owned()));
                if held.map(|bytes| Digest::of(bytes).to_string()).as_ref() != Some(digest) {
                    found.push(name.clone());
                }
            }
        }
        found
    }

    fn writes(&self) -> usize {
        let targets = self.targets.iter();
        targets
            .map(|target| target.asked("PUT").len() + target.asked("POST").len())
            .sum()
    }
}

async fn check(world: World) -> Result<(), TestCaseError> {
    let stage = Stage::set(&world).await;
    // A run that fails has met a failure, and there are only so many.
    let most = world.harms.iter().flatten().count() + 2;
    let mut runs = 0;
    while !stage.run().await {
        runs += 1;
        prop_assert_eq!(stage.offences(), [""; 0], "run {}", runs);
        prop_assert!(runs < most, "{runs} runs were not enough");
    }
    prop_assert_eq!(stage.differences(), [""; 0]);
    let writes = stage.writes();
    // What has not failed yet would fail this run.
    stage.chaos.requests.store(world.harms.len(), SeqCst);
    prop_assert!(stage.run().await);
    prop_assert_eq!(stage.writes(), writes);
    Ok(())
}

proptest! {
    // More by PROPTEST_CASES, which a number here would override.
    #![proptest_config(ProptestConfig {
        cases: ProptestConfig::default().cases / 10,
        max_shrink_iters: 200,
        ..ProptestConfig::default()
    })]

    #[test]
    fn runs_are_safe_and_converge(world in worlds()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.unwrap().block_on(async {
            let limit = Duration::from_secs(120);
            let checked = tokio::time::timeout(limit, check(world)).await;
            checked.expect("it ends by itself")
        })?;
    }
}

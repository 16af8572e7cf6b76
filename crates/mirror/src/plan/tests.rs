//! The planner: cases as data, `observation -> what it plans`.

mod property;

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use castlink_core::{Exit, Failure, reference::Layout};

use super::{Action, After, BlobStep, Plan, plan};
use crate::{
    attached::{Attached, Attachment},
    content::{Blob, Digest, Manifest, Tree},
    ecr::Mutability,
    input::Request,
    observe::{Found, Observation, Observed},
    place::{Address, Place},
    target::{Holdings, Mounting},
};

const TARGET: &str = "r.example";

fn blob(name: &str) -> Blob {
    Blob {
        digest: Digest::of(name.as_bytes()),
        size: name.len() as u64,
    }
}

/// An image of layers that are known by name; the longest name is the largest.
fn tree(layers: &[&str]) -> Tree {
    let layers: Vec<_> = layers
        .iter()
        .map(|name| serde_json::json!({"digest": blob(name).digest.as_str(), "size": name.len()}))
        .collect();
    let bytes = Bytes::from(serde_json::json!({"layers": layers}).to_string());
    Tree {
        root: Manifest::parse(bytes, None, None).unwrap(),
        below: Vec::new(),
    }
}

/// An observation being set up.
struct World(Observation);

impl World {
    fn new() -> Self {
        Self(Observation::default())
    }

    /// An image whose tree was read.
    fn image(mut self, name: &str, layers: &[&str]) -> Self {
        let tree = tree(layers);
        let found = Found {
            source: format!("s.example/{name}").parse().unwrap(),
            digest: tree.root.digest.clone(),
            origin: None,
            known: BTreeMap::new(),
            tree: Some(Arc::new(tree)),
        };
        self.observe(name, Ok(found));
        self
    }

    fn observe(&mut self, name: &str, found: Result<Found, Failure>) {
        let image: castlink_core::ImageRef = format!("s.example/{name}").parse().unwrap();
        let target = Address::of(&image.at(TARGET, Layout::Path).unwrap());
        self.0
            .targets
            .entry(target.place.clone())
            .or_insert(Ok(Holdings::default()));
        self.0.images.push(Observed {
            request: Request {
                image,
                optional: false,
                locked: None,
            },
            target,
            found: found.map_err(Arc::new),
            attached: Arc::default(),
        });
    }

    /// What a repository of the target holds.
    fn holds(mut self, repository: &str, change: impl FnOnce(&mut Holdings)) -> Self {
        let place = place(repository);
        let holdings = self
            .0
            .targets
            .entry(place)
            .or_insert(Ok(Holdings::default()));
        let holdings = holdings.as_mut().unwrap();
        holdings.exists = true;
        change(holdings);
        self
    }

    fn mounting(mut self, mounting: Mounting) -> Self {
        self.0.mounting = BTreeMap::from([(TARGET.into(), mounting)]);
        self
    }

    fn plan(self) -> Plan {
        plan(self.0, true)
    }
}

fn place(repository: &str) -> Place {
    Place {
        registry: TARGET.into(),
        repository: repository.into(),
    }
}

fn tag(holdings: &mut Holdings, tag: &str, digest: &Digest) {
    holdings.held.manifests.insert(digest.clone());
    holdings.held.tags.insert(tag.into(), digest.clone());
}

fn step<'a>(plan: &'a Plan, name: &str) -> &'a BlobStep {
    let digest = blob(name).digest;
    plan.blobs
        .iter()
        .find(|step| step.blob.digest == digest)
        .unwrap()
}

#[test]
fn a_child_that_lost_its_layer_is_written_after_it() {
    let child = tree(&["layer"]).root;
    let index = serde_json::json!({"manifests": [{"digest": child.digest.as_str(), "size": 1}]});
    let index = Manifest::parse(Bytes::from(index.to_string()), None, None).unwrap();
    let mut world = World::new()
        .image("a:1", &["x"])
        .holds("a", |held| tag(held, "1", &child.digest));
    let found = world.0.images[0].found.as_mut().unwrap();
    found.digest = index.digest.clone();
    found.tree = Some(Arc::new(Tree {
        root: index,
        below: vec![child.clone()],
    }));
    let plan = world.plan();
    let copy = plan.images[0].copy().unwrap();
    assert_eq!(copy.children, [child]);
    assert_eq!(copy.blobs, [blob("layer")]);
}

#[test]
fn references_to_the_target_are_kept_brought_or_missed() {
    let digest = tree(&["a"]).root.digest;
    let mut world = World::new()
        .image("new:1", &["b"])
        .holds("there", |holdings| tag(holdings, "1", &digest));
    let pinned = format!("there@{digest}");
    for name in ["there:1", &pinned, "there:2", "new:1"] {
        world.0.standing.push(Request {
            image: format!("{TARGET}/{name}").parse().unwrap(),
            optional: false,
            locked: None,
        });
    }
    let plan = world.plan();
    let got: Vec<_> = (1..5).map(|index| action(&plan, index)).collect();
    let missing = format!("absent: {TARGET}/there:2 is not at the target");
    assert_eq!(got, ["keep", "keep", &missing, "brought by 0"]);
    assert_eq!(
        plan.copy_of(4).unwrap().digest,
        plan.images[0].copy().unwrap().digest
    );
    assert_eq!(plan.brought_by(0).collect::<Vec<_>>(), [4]);
}

/// `keep`, `copy to NAME`, or the exit code.
fn action(plan: &Plan, index: usize) -> String {
    match &plan.images[index].action {
        Action::Keep { .. } => "keep".into(),
        Action::Copy(copy) => format!("copy to {}", copy.root.1),
        Action::Brought { by } => format!("brought by {by}"),
        Action::Absent(failure) => format!("absent: {failure}"),
        Action::Leave(failure) => failure.exit().name().into(),
    }
}

fn immutable(holdings: &mut Holdings) {
    holdings.mutability = Some(Mutability {
        immutable: true,
        except: vec!["latest".into()],
    });
}

#[test]
fn what_to_do_with_one_image() {
    let digest = tree(&["x"]).root.digest;
    let other = Digest::of(b"other");
    let everything = |holdings: &mut Holdings| {
        tag(holdings, "v1", &tree(&["x"]).root.digest);
        holdings.blobs.insert(blob("x").digest);
    };
    let pinned = format!("a:v1@{digest}");
    type Change<'a> = Box<dyn FnOnce(&mut Holdings) + 'a>;
    let cases: Vec<(&str, &str, Change<'_>, String)> = vec![
        (
            "an empty repository",
            "a:v1",
            Box::new(|_| {}),
            "copy to v1".into(),
        ),
        ("all there", "a:v1", Box::new(everything), "keep".into()),
        (
            "a blob is gone",
            "a:v1",
            Box::new(|h| tag(h, "v1", &digest)),
            "copy to v1".into(),
        ),
        (
            "a tag that moves",
            "a:v1",
            Box::new(|h| tag(h, "v1", &other)),
            "copy to v1".into(),
        ),
        (
            "an immutable tag",
            "a:v1",
            Box::new(|h| {
                tag(h, "v1", &other);
                immutable(h);
            }),
            "conflict".into(),
        ),
        (
            "an exception from immutability",
            "a:latest",
            Box::new(|h| {
                tag(h, "latest", &other);
                immutable(h);
            }),
            "copy to latest".into(),
        ),
        (
            "an immutable tag, but pulled by digest",
            &pinned,
            Box::new(|h| {
                tag(h, "v1", &other);
                immutable(h);
            }),
            format!("copy to {digest}"),
        ),
        (
            "pinned and there",
            &pinned,
            Box::new(everything),
            "keep".into(),
        ),
    ];
    for (name, image, holds, want) in cases {
        let plan = World::new().image(image, &["x"]).holds("a", holds).plan();
        assert_eq!(action(&plan, 0), want, "{name}");
    }
}

#[test]
fn missing_repositories_are_created_once_or_reported() {
    let world = || World::new().image("a:v1", &["x"]).image("a:v2", &["y"]);
    let created = world().plan();
    assert_eq!(created.repositories.len(), 1);
    let never = plan(world().0, false);
    assert!(never.repositories.is_empty() && never.blobs.is_empty());
    assert_eq!([action(&never, 0), action(&never, 1)], ["failed", "failed"]);
}

#[test]
fn a_failed_image_leaves_the_others_alone() {
    let mut world = World::new().image("a:v1", &["x"]);
    world.observe("b:v1", Err(Failure::unreachable("b is not there")));
    let plan = world.image("c:v1", &["x"]).plan();
    let actions = [0, 1, 2].map(|index| action(&plan, index));
    assert_eq!(
        actions,
        ["copy to v1", Exit::Unreachable.name(), "copy to v1"]
    );
    assert_eq!(step(&plan, "x").uploads, [place("a"), place("c")]);
}

#[test]
fn every_blob_once_and_the_largest_first() {
    let plan = World::new()
        .image("a:v1", &["base-layer", "a"])
        .image("b:v1", &["base-layer", "bb"])
        .image("a:v2", &["base-layer", "a", "new"])
        .plan();
    let sizes: Vec<u64> = plan.blobs.iter().map(|step| step.blob.size).collect();
    assert_eq!(sizes, [10, 3, 2, 1]);
    assert_eq!(step(&plan, "base-layer").uploads, [place("a"), place("b")]);
    let totals = plan.totals();
    assert_eq!((totals.read, totals.sent, totals.manifests), (16, 26, 3));
    assert_eq!(
        totals.requests,
        2 + 3 + 2 * 5,
        "repositories, manifests, uploads"
    );
    let brings = |index: usize| plan.images[index].copy().unwrap().bytes();
    assert_eq!(
        [brings(0), brings(1), brings(2)],
        [11, 12, 3],
        "each byte counts for one image"
    );
}

#[test]
fn mounts_follow_what_the_registry_allows() {
    let world = || {
        World::new()
            .image("a:v1", &["x"])
            .image("b:v1", &["x"])
            .image("c:v1", &["x"])
    };
    for (mounting, uploads, afters) in [
        (Mounting::Never, 3, vec![]),
        (Mounting::AfterUpload, 1, vec![After::Upload; 2]),
        (Mounting::AfterImage, 1, vec![After::Image(0); 2]),
    ] {
        let plan = world().mounting(mounting).plan();
        let step = step(&plan, "x");
        assert_eq!(step.uploads.len(), uploads, "{mounting:?}");
        let found: Vec<After> = step.mounts.iter().map(|mount| mount.after).collect();
        assert_eq!(found, afters, "{mounting:?}");
    }
}

#[test]
fn a_repository_that_has_the_blob_is_mounted_from_at_once() {
    let plan = World::new()
        .image("a:v1", &["x", "y"])
        .image("b:v1", &["x"])
        .holds("b", |holdings| holdings.blobs.extend([blob("x").digest]))
        .mounting(Mounting::AfterImage)
        .plan();
    let step = step(&plan, "x");
    assert!(step.uploads.is_empty());
    assert_eq!(
        (&step.mounts[0].to, &step.mounts[0].from),
        (&place("a"), &place("b"))
    );
    assert_eq!(step.mounts[0].after, After::Now);
}

#[test]
fn two_sources_of_one_name_must_be_the_same() {
    let same = World::new()
        .image("p/a:v1", &["x"])
        .image("p/a:v1", &["x"])
        .plan();
    assert_eq!(
        [action(&same, 0), action(&same, 1)],
        ["copy to v1", "copy to v1"]
    );
    let differ = World::new()
        .image("p/a:v1", &["x"])
        .image("p/a:v1", &["y"])
        .plan();
    assert_eq!(
        [action(&differ, 0), action(&differ, 1)],
        ["copy to v1", "conflict"]
    );
}

#[test]
fn what_is_attached_comes_between_the_image_and_its_tag() {
    let attached = |world: &mut World, name: &str| {
        let subject = tree(&["x"]).root.digest;
        let found = Attachment {
            tree: tree(&[name]),
            subject,
            tag: None,
            depth: 0,
        };
        world.0.images[0].attached = Arc::new(Attached {
            named: 1,
            found: vec![found],
            troubles: Vec::new(),
        });
    };
    let mut world = World::new().image("a:v1", &["x"]);
    attached(&mut world, "bill");
    let plan = world.plan();
    let copy = plan.images[0].copy().unwrap();
    let root = tree(&["x"]).root.digest;
    let children: Vec<_> = copy.children.iter().map(|child| &child.digest).collect();
    assert_eq!(children, [&root], "by its digest before what names it");
    assert_eq!(copy.root.1, "v1");
    assert_eq!(step(&plan, "bill").uploads, [place("a")]);
    assert_eq!(copy.bytes(), 5, "with what is attached");
    let totals = plan.totals();
    assert_eq!(totals.manifests, 3);
    assert_eq!(totals.requests, 1 + 3 + 2 * 2);

    let digest = tree(&["x"]).root.digest;
    let mut world = World::new()
        .image("a:v2", &["x"])
        .holds("a", |holdings| tag(holdings, "v1", &digest));
    attached(&mut world, "bill");
    let plan = world.plan();
    assert!(
        plan.images[0].copy().unwrap().children.is_empty(),
        "it is there"
    );
}

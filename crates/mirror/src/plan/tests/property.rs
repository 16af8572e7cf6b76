//! What holds of the plan of anything that may be seen.

use std::collections::BTreeSet;

use proptest::{collection::vec, prelude::*, sample::select};

use super::*;

/// Blobs by name; their lengths are their sizes.
const BLOBS: [&str; 6] = ["a", "bb", "ccc", "dddd", "eeeee", "ffffff"];

const REPOSITORIES: [&str; 4] = ["r0", "r1", "r2", "r3"];

/// An image: its repository and layers, and whether the target has it.
type Image = (&'static str, Vec<&'static str>, bool);

/// What a repository holds beside its images.
type Loose = (&'static str, Vec<&'static str>);

#[derive(Debug, Clone)]
struct Seen {
    images: Vec<Image>,
    loose: Vec<Loose>,
    mounting: Mounting,
}

fn seen() -> impl Strategy<Value = Seen> {
    let layers = || vec(select(&BLOBS[..]), 0..5);
    let image = (select(&REPOSITORIES[..]), layers(), any::<bool>());
    let loose = (select(&REPOSITORIES[..]), layers());
    let mounting = select(&[Mounting::Never, Mounting::AfterUpload, Mounting::AfterImage][..]);
    (vec(image, 0..8), vec(loose, 0..3), mounting).prop_map(|(images, loose, mounting)| Seen {
        images,
        loose,
        mounting,
    })
}

impl Seen {
    /// The observation; with `all`, as it is when everything has been copied.
    fn world(&self, all: bool) -> World {
        let mut world = World::new().mounting(self.mounting);
        for (number, (repository, layers, there)) in self.images.iter().enumerate() {
            let name = format!("t{number}");
            world = world.image(&format!("{repository}:{name}"), layers);
            if all || *there {
                world = world.holds(repository, |holdings| {
                    tag(holdings, &name, &tree(layers).root.digest);
                    holdings
                        .blobs
                        .extend(layers.iter().map(|layer| blob(layer).digest));
                });
            }
        }
        for (repository, layers) in &self.loose {
            world = world.holds(repository, |holdings| {
                holdings
                    .blobs
                    .extend(layers.iter().map(|layer| blob(layer).digest));
            });
        }
        world
    }

    fn held(&self, repository: &str) -> BTreeSet<Digest> {
        let images = self.images.iter().filter(|(_, _, there)| *there);
        let images = images.map(|(repository, layers, _)| (repository, layers));
        let loose = self
            .loose
            .iter()
            .map(|(repository, layers)| (repository, layers));
        let here = images.chain(loose).filter(|(name, _)| **name == repository);
        here.flat_map(|(_, layers)| layers.iter().map(|layer| blob(layer).digest))
            .collect()
    }

    /// What each repository lacks of the images that go there.
    fn needs(&self) -> BTreeSet<(Place, Digest)> {
        let all = self.images.iter().flat_map(|(repository, layers, _)| {
            let held = self.held(repository);
            let digests = layers.iter().map(|layer| blob(layer).digest);
            digests
                .filter(move |digest| !held.contains(digest))
                .map(|digest| (place(repository), digest))
        });
        all.collect()
    }
}

/// The repository that a mount is from has the blob by then, and nobody waits in a circle.
fn check_mount(
    seen: &Seen,
    plan: &Plan,
    step: &BlobStep,
    mount: &super::super::Mount,
) -> Result<(), TestCaseError> {
    prop_assert_eq!(&mount.from.registry, &mount.to.registry);
    prop_assert_ne!(&mount.from, &mount.to);
    let digest = &step.blob.digest;
    match mount.after {
        After::Now => prop_assert!(seen.held(&mount.from.repository).contains(digest)),
        After::Upload => prop_assert!(step.uploads.contains(&mount.from)),
        After::Image(index) => {
            prop_assert!(step.uploads.contains(&mount.from));
            let brings = plan.images[index].copy().expect("a copy");
            prop_assert_eq!(&brings.place, &mount.from);
            prop_assert!(brings.root.0.blobs().contains(&step.blob));
            let waiting = plan.images.iter().enumerate().filter_map(|(index, image)| {
                let copy = image.copy().filter(|copy| copy.place == mount.to)?;
                copy.root.0.blobs().contains(&step.blob).then_some(index)
            });
            for waits in waiting {
                prop_assert!(waits > index, "{waits} waits for {index}");
            }
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn what_is_needed_comes_once_and_nothing_else(seen in seen()) {
        let plan = seen.world(false).plan();
        let mut coming = BTreeSet::new();
        for step in &plan.blobs {
            let mounts = step.mounts.iter().map(|mount| &mount.to);
            for place in step.uploads.iter().chain(mounts) {
                let new = coming.insert((place.clone(), step.blob.digest.clone()));
                prop_assert!(new, "{} twice to {place}", step.blob.digest);
            }
            prop_assert!(!step.sources.is_empty());
        }
        prop_assert_eq!(coming, seen.needs());
        let sizes: Vec<u64> = plan.blobs.iter().map(|step| step.blob.size).collect();
        prop_assert!(sizes.is_sorted_by(|one, next| one >= next), "{sizes:?}");
    }

    #[test]
    fn mounts_are_from_where_the_blob_will_be(seen in seen()) {
        let plan = seen.world(false).plan();
        for step in &plan.blobs {
            prop_assert!(seen.mounting != Mounting::Never || step.mounts.is_empty());
            for mount in &step.mounts {
                check_mount(&seen, &plan, step, mount)?;
            }
        }
    }

    #[test]
    fn a_copied_world_needs_nothing(seen in seen()) {
        let plan = seen.world(true).plan();
        prop_assert!(plan.is_empty());
        prop_assert!(plan.blobs.is_empty() && plan.repositories.is_empty());
    }

    #[test]
    fn repositories_are_created_where_something_goes_that_is_not_there(seen in seen()) {
        let plan = seen.world(false).plan();
        let there: BTreeSet<_> = seen
            .images
            .iter()
            .filter(|(_, _, there)| *there)
            .map(|(repository, ..)| *repository)
            .chain(seen.loose.iter().map(|(repository, _)| *repository))
            .map(place)
            .collect();
        let wanted = seen.images.iter().map(|(repository, ..)| place(repository));
        let missing: BTreeSet<_> = wanted.filter(|place| !there.contains(place)).collect();
        prop_assert_eq!(plan.repositories, missing);
    }
}

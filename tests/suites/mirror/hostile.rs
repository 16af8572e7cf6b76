//! What lies in a store is data from elsewhere: every file of it may be anything.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use super::HUB;
use super::fixture::{World, seed, statuses, with_world};
use super::layout::Layout;

/// A store with a good image and one to be tampered with.
struct Pair {
    good: String,
    bad: String,
    /// The digest of the bad image, and of its largest layer.
    root: String,
    layer: String,
    store: Layout,
}

async fn pair(world: &World, name: &str) -> Pair {
    let [good, bad] = ["good", "bad"].map(|kind| format!("{HUB}/{name}-{kind}:t1"));
    let digests = seed(&[&good, &bad]).await;
    world
        .run(&["pull", "--store", "pristine", &good, &bad], 0)
        .await;
    let store = Layout(world.path("pristine"));
    let shared = store.layers(&digests[0]);
    let layer = store
        .layers(&digests[1])
        .into_iter()
        .filter(|layer| !shared.contains(layer))
        .max_by_key(|layer| layer.1)
        .unwrap()
        .0;
    Pair {
        good,
        bad,
        root: digests[1].clone(),
        layer,
        store,
    }
}

impl Pair {
    /// A copy of the store to tamper with.
    fn copy(&self, world: &World, name: &str) -> Layout {
        let to = world.path(name);
        copy_dir(&self.store.0, &to);
        Layout(to)
    }

    /// A manifest below the bad image's index.
    fn child(&self) -> String {
        let index = fs::read(self.store.blob(&self.root)).unwrap();
        let index: serde_json::Value = serde_json::from_slice(&index).unwrap();
        index["manifests"][0]["digest"].as_str().unwrap().to_owned()
    }
}

fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy_dir(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).unwrap()),
        }
    }
}

/// Puts something in the place of a file.
fn replace(path: &Path, with: impl FnOnce(&Path)) {
    fs::remove_file(path).unwrap();
    with(path);
}

fn edit(path: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "{text}");
    fs::write(path, text.replace(from, to)).unwrap();
}

fn pipe(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

/// A file of nothing that is larger than any manifest.
fn huge(path: &Path) {
    fs::File::create(path).unwrap().set_len(9 << 20).unwrap();
}

#[test]
fn a_damaged_image_is_named_and_the_others_go_on() {
    with_world(async |world| {
        let pair = pair(world, "damaged").await;
        let (layer, child, root) = (&pair.layer, &pair.child(), &pair.root);
        let size = fs::metadata(pair.store.blob(root)).unwrap().len();
        type Tamper<'a> = &'a dyn Fn(&Layout);
        let cases: [(&str, Tamper<'_>, &str); 12] = [
            (
                "gone",
                &|store| replace(&store.blob(layer), |_| {}),
                "not found in oci:./gone",
            ),
            (
                "cut",
                &|store| fs::write(store.blob(layer), "x").unwrap(),
                "1 bytes instead of",
            ),
            (
                "changed",
                &|store| {
                    let mut bytes = fs::read(store.blob(layer)).unwrap();
                    *bytes.last_mut().unwrap() ^= 1;
                    fs::write(store.blob(layer), bytes).unwrap();
                },
                "the content has digest",
            ),
            (
                "linked",
                &|store| {
                    replace(&store.blob(layer), |path| {
                        symlink("/etc/passwd", path).unwrap()
                    })
                },
                "a symbolic link",
            ),
            (
                "piped",
                &|store| replace(&store.blob(layer), pipe),
                "a pipe",
            ),
            (
                "directory",
                &|store| replace(&store.blob(layer), |path| fs::create_dir(path).unwrap()),
                "a directory",
            ),
            (
                "childless",
                &|store| replace(&store.blob(child), |_| {}),
                "not found in",
            ),
            (
                "piped-child",
                &|store| replace(&store.blob(child), pipe),
                "a pipe",
            ),
            (
                "other-child",
                &|store| fs::write(store.blob(child), "{}").unwrap(),
                "has digest",
            ),
            (
                "huge",
                &|store| huge(&store.blob(child)),
                "larger than 8 MiB",
            ),
            (
                "escape",
                &|store| {
                    edit(
                        &store.0.join("index.json"),
                        root,
                        "../../../../../../etc/passwd",
                    )
                },
                "malformed digest `../../../../../../etc/passwd`",
            ),
            (
                "lying",
                &|store| {
                    let (from, to) = (
                        format!("{root}\",\"size\":{size}"),
                        format!("{root}\",\"size\":1"),
                    );
                    edit(&store.0.join("index.json"), &from, &to);
                },
                "instead of the 1 in index.json",
            ),
        ];
        for (name, tamper, message) in cases {
            tamper(&pair.copy(world, name));
            let outcome = world.run(&["push", "--store", name], 4).await;
            let found = statuses(&outcome);
            let bad = found
                .iter()
                .find(|(source, _)| *source == pair.bad)
                .unwrap();
            assert_eq!(bad.1, "failed", "{name}: {outcome}");
            assert_ne!(
                found
                    .iter()
                    .find(|(source, _)| *source == pair.good)
                    .unwrap()
                    .1,
                "failed"
            );
            assert!(outcome.stdout.contains(message), "{name}: {outcome}");
            let (repository, tag) = pair.bad.rsplit_once(':').unwrap();
            assert_eq!(world.tagged(repository, tag), None, "{name}");
        }
    });
}

#[test]
fn a_store_that_is_no_store_is_refused_as_a_whole() {
    with_world(async |world| {
        let pair = pair(world, "refused").await;
        let elsewhere = world.path("elsewhere");
        fs::create_dir(&elsewhere).unwrap();
        type Tamper<'a> = &'a dyn Fn(&Path);
        let cases: [(&str, Tamper<'_>, i32, &str); 6] = [
            (
                "huge-index",
                &|dir| huge(&dir.join("index.json")),
                1,
                "larger than 8 MiB",
            ),
            (
                "no-index",
                &|dir| fs::remove_file(dir.join("index.json")).unwrap(),
                1,
                "index.json",
            ),
            (
                "text",
                &|dir| fs::write(dir.join("index.json"), "hello").unwrap(),
                1,
                "index.json",
            ),
            (
                "pipe",
                &|dir| replace(&dir.join("index.json"), pipe),
                1,
                "a pipe",
            ),
            (
                "linked-index",
                &|dir| {
                    replace(&dir.join("index.json"), |path| {
                        symlink("/etc/passwd", path).unwrap()
                    })
                },
                1,
                "a symbolic link",
            ),
            (
                "later",
                &|dir| edit(&dir.join("oci-layout"), "1.0.0", "2.0.0"),
                2,
                "unknown layout version 2.0.0",
            ),
        ];
        for (name, tamper, code, message) in cases {
            tamper(&pair.copy(world, name).0);
            // A pull that was killed early may have left no index: the next one makes it.
            let verbs = match name {
                "no-index" => &[&["push"][..]][..],
                _ => &[&["push"][..], &["pull", &pair.good]],
            };
            for verb in verbs {
                let outcome = world.run(&[*verb, &["--store", name]].concat(), code).await;
                assert!(outcome.stderr.contains(message), "{name}: {outcome}");
            }
        }
        assert_eq!(world.writes(0), [""; 0]);
    });
}

#[test]
fn nothing_is_read_or_written_through_a_link() {
    with_world(async |world| {
        let pair = pair(world, "through").await;
        let outside = world.path("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("file"), "mine").unwrap();
        let untouched = || {
            assert_eq!(fs::read(outside.join("file")).unwrap(), b"mine");
            assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
        };
        // A layer's name may be taken by a link: the layer takes its place.
        let store = pair.copy(world, "layer");
        replace(&store.blob(&pair.layer), |path| {
            symlink(outside.join("file"), path).unwrap()
        });
        world.run(&["pull", "--store", "layer", &pair.bad], 0).await;
        store.check();
        untouched();
        for (name, part) in [
            ("blobs", "blobs"),
            ("digests", "blobs/sha256"),
            ("work", ".castlink"),
        ] {
            let store = pair.copy(world, name);
            fs::remove_dir_all(store.0.join(part)).unwrap();
            symlink(&outside, store.0.join(part)).unwrap();
            world.run(&["pull", "--store", name, &pair.bad], 1).await;
            untouched();
        }
        let store = pair.copy(world, "lock");
        replace(&store.0.join(".castlink/lock"), |path| {
            symlink(outside.join("file"), path).unwrap()
        });
        world.run(&["pull", "--store", "lock", &pair.bad], 1).await;
        untouched();
        // The store itself may be reached by a link: that is the user's own.
        symlink(&pair.store.0, world.path("shortcut")).unwrap();
        world.run(&["push", "--store", "shortcut"], 0).await;
    });
}

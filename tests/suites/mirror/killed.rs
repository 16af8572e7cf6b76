//! A copy that is killed, at points chosen by what the registry has seen: what is left is
//! whole, running again completes it without sending anything twice, and a run after that
//! writes nothing.

use std::collections::BTreeSet;
use std::time::Duration;

use castlink_tests::faults::{Fault, Harm};
use castlink_tests::process;
use rustix::process::Signal;

use super::HUB;
use super::fixture::{World, seed, with_world};

/// How long until a point is reached that the run is bound to reach.
const DEADLINE: Duration = Duration::from_secs(60);

/// The seed of the points beside the first and the last.
const SEED: u64 = 20_261_121;

/// The run is ended while request number `after` of this kind waits for its answer.
#[derive(Clone, Copy, Debug)]
struct Point {
    service: &'static str,
    action: &'static str,
    after: u32,
    signal: Signal,
}

impl Point {
    fn killed(service: &'static str, action: &'static str, after: u32) -> Self {
        Self {
            service,
            action,
            after,
            signal: Signal::KILL,
        }
    }

    /// What `castlink-mirror` ends with.
    fn code(self) -> i32 {
        if self.signal == Signal::KILL { -1 } else { 130 }
    }
}

/// What is in ECR: blobs and manifests by repository.
type Held = BTreeSet<(String, String)>;

fn held(world: &World) -> Held {
    let database = world.shared.ecr.database();
    let all = database.repositories.values().flat_map(|repository| {
        let digests = repository.blobs.keys().chain(repository.images.keys());
        digests.map(|digest| (repository.name.clone(), digest.clone()))
    });
    all.collect()
}

/// Tags that point at something incomplete.
fn torn(world: &World) -> Vec<String> {
    let database = world.shared.ecr.database();
    let mut torn = Vec::new();
    for repository in database.repositories.values() {
        for (tag, digest) in &repository.tags {
            let mut todo = vec![digest.clone()];
            while let Some(digest) = todo.pop() {
                let name = format!("{}:{tag}", repository.name);
                let Some(image) = repository.images.get(&digest) else {
                    torn.push(format!("{name} lacks manifest {digest}"));
                    continue;
                };
                let (blobs, _) = repository.missing(&image.parts);
                torn.extend(blobs.iter().map(|blob| format!("{name} lacks {blob}")));
                todo.extend(image.parts.children.iter().cloned());
            }
        }
    }
    torn
}

/// What was written since `mark`, by repository and digest; a tag stands for itself.
fn written(world: &World, mark: usize) -> Held {
    let entries = world.shared.journal.since(mark).into_iter();
    // What still comes in before the first question is from the run that was killed.
    let entries = entries.skip_while(|entry| entry.service != "ecr");
    let writes = entries.filter(|entry| {
        matches!(entry.action.as_str(), "PutBlob" | "PutManifest") && entry.status == 201
    });
    writes
        .map(|entry| (entry.resource, entry.params["reference"].clone()))
        .collect()
}

fn images() -> Vec<String> {
    let names = ["killed-1", "killed-2", "killed-3"].iter();
    names.map(|name| format!("{HUB}/{name}:t1")).collect()
}

/// Starts a copy and ends it at `point`.
async fn interrupt(world: &World, args: &[&str], point: Point) {
    let fault = Fault::on(point.service, point.action, Harm::Hang);
    world.shared.faults.add(fault.after(point.after).times(1));
    let running = world.mirror(args).start().unwrap();
    let struck = async || match world.shared.faults.list().as_slice() {
        [] => Ok(()),
        left => anyhow::bail!("still to come: {left:?}"),
    };
    process::wait_until("the point", DEADLINE, struck)
        .await
        .unwrap();
    process::signal(running.pid().unwrap(), point.signal).unwrap();
    running
        .end()
        .await
        .unwrap()
        .expect_code(point.code())
        .unwrap();
}

/// A copy that is ended at `point` leaves nothing torn, and the next makes it good.
fn ends_well(point: Point) {
    with_world(async |world| {
        let images = images();
        let images: Vec<&str> = images.iter().map(String::as_str).collect();
        seed(&images).await;
        let args = [&["copy"], &images[..]].concat();
        interrupt(world, &args, point).await;
        assert_eq!(torn(world), [""; 0], "{point:?}");

        let (before, mark) = (held(world), world.shared.journal.mark());
        world.run(&args, 0).await;
        let twice: Vec<_> = written(world, mark)
            .intersection(&before)
            .cloned()
            .collect();
        assert_eq!(twice, [], "{point:?}");
        assert_eq!(torn(world), [""; 0], "{point:?}");
        world.run(&[&["verify"], &images[..]].concat(), 0).await;

        let mark = world.shared.journal.mark();
        world.run(&args, 0).await;
        assert_eq!(world.writes(mark), [""; 0], "{point:?}");
    });
}

/// Numbers below `below`, always the same ones.
fn some(below: u32) -> impl Iterator<Item = u32> {
    let mut state = SEED;
    std::iter::repeat_with(move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        u32::try_from(state >> 33).unwrap() % below
    })
}

/// How often a whole copy asks for each of these.
fn requests(action: &str) -> u32 {
    let mut count = 0;
    with_world(async |world| {
        let images = images();
        let images: Vec<&str> = images.iter().map(String::as_str).collect();
        seed(&images).await;
        world.run(&[&["copy"], &images[..]].concat(), 0).await;
        count = world.count(0, action);
    });
    u32::try_from(count).unwrap()
}

/// At the first, the last, and some requests between.
fn at_many(action: &'static str) {
    let all = requests(action);
    assert!(all > 2, "{all} times {action}");
    let between = some(all).take(2);
    for after in [0, all - 1].into_iter().chain(between) {
        ends_well(Point::killed("registry", action, after));
    }
}

#[test]
fn killed_while_a_session_is_opened() {
    at_many("StartUpload");
}

#[test]
fn killed_while_a_blob_is_sent() {
    at_many("PutBlob");
}

#[test]
fn killed_while_a_manifest_is_written() {
    at_many("PutManifest");
}

#[test]
fn killed_while_repositories_are_created() {
    for after in [0, 2] {
        ends_well(Point::killed("ecr", "CreateRepository", after));
    }
}

#[test]
fn interrupted_or_terminated() {
    for signal in [Signal::INT, Signal::TERM] {
        for (action, after) in [("PutBlob", 3), ("PutManifest", 4)] {
            ends_well(Point {
                service: "registry",
                action,
                after,
                signal,
            });
        }
    }
}

//! Networks that break: the copy arrives, and costs little more than on one that does not.

use castlink_tests::bench::proxy::{Conditions, Proxy, Trouble};
use castlink_tests::faults::{Fault, Harm};
use castlink_tests::knobs::Knobs;

use super::HUB;
use super::fixture::{World, seed, upstream_address, with_knobs, with_world};

/// Some connections end within so many bytes; the layers are about as large.
const CUT_BYTES: u64 = 1_000_000;

async fn images(name: &str) -> Vec<String> {
    let images: Vec<_> = (1..=4).map(|n| format!("{HUB}/{name}-{n}:t1")).collect();
    let names: Vec<&str> = images.iter().map(String::as_str).collect();
    seed(&names).await;
    images
}

async fn run(world: &World, verb: &str, images: &[String]) {
    let args = std::iter::once(verb).chain(images.iter().map(String::as_str));
    world.run(&args.collect::<Vec<_>>(), 0).await;
}

/// The bytes of all distinct blobs in ECR, and how many of them there are in its
/// repositories.
fn content(world: &World) -> (u64, usize) {
    let database = world.shared.ecr.database();
    let blobs = database.repositories.values().map(|one| &one.blobs);
    let all: Vec<_> = blobs
        .flatten()
        .map(|(digest, size)| (digest.clone(), *size))
        .collect();
    let distinct: std::collections::BTreeMap<_, _> = all.iter().cloned().collect();
    (distinct.values().sum(), all.len())
}

#[test]
fn a_source_that_cuts_is_read_a_little_more_than_once() {
    // Three times as many manifests as ECR takes in a second are not the point here.
    let knobs = Knobs {
        put_image_rate: 1e6,
        put_image_burst: 1e6,
        ..Knobs::default()
    };
    with_knobs(knobs, async |world| {
        let images = images("cut-source").await;
        let mut broken = 0;
        for seed in 1..=3 {
            let conditions = Conditions {
                trouble: Trouble::CutsWithin(CUT_BYTES),
                seed,
                ..Conditions::default()
            };
            let (addr, _) = upstream_address();
            let proxy = Proxy::start(addr, conditions).await.unwrap();
            world.configure(&format!("https://{}", proxy.addr), world.ecr_url());
            run(world, "copy", &images).await;
            broken += proxy.traffic.broken();
            let (bytes, _) = content(world);
            let moved = proxy.traffic.down();
            assert!(
                moved < bytes + bytes / 5,
                "seed {seed}: {moved} for {bytes} bytes"
            );
            world.configure(&upstream_address().1, world.ecr_url());
            run(world, "verify", &images).await;
            world.shared.ecr.database().repositories.clear();
        }
        assert!(broken > 0, "nothing was ever cut");
    });
}

#[test]
fn a_target_that_cuts_is_sent_what_it_lost_and_no_more() {
    with_world(async |world| {
        let images = images("cut-target").await;
        let faults = [
            (Harm::Reset, 1, 2),
            (Harm::Lost, 2, 1),
            (Harm::Reset, 3, 3),
            (
                Harm::Error {
                    status: 500,
                    code: "INTERNAL".into(),
                    message: "no".into(),
                },
                4,
                2,
            ),
        ];
        let mut harmed = 0;
        for (harm, after, times) in faults {
            let fault = Fault::on("registry", "PutBlob", harm);
            world.shared.faults.add(fault.after(after).times(times));
            harmed += times as usize;
        }
        run(world, "copy", &images).await;
        assert!(world.shared.faults.list().is_empty(), "all of them struck");
        run(world, "verify", &images).await;
        let (_, blobs) = content(world);
        assert_eq!(world.count(0, "PutBlob"), blobs + harmed);
    });
}

#[test]
fn servers_that_are_busy_for_a_while_are_waited_for() {
    with_world(async |world| {
        let images = images("busy").await;
        for action in ["StartUpload", "PutBlob", "PutManifest"] {
            for after in [0, 2, 3] {
                let busy = Harm::Error {
                    status: 503,
                    code: "UNAVAILABLE".into(),
                    message: "busy".into(),
                };
                let fault = Fault::on("registry", action, busy);
                world.shared.faults.add(fault.after(after).times(2));
            }
        }
        run(world, "copy", &images).await;
        assert!(world.shared.faults.list().is_empty(), "all of them struck");
        run(world, "verify", &images).await;
    });
}

//! `pull` is ended at any point: what is there can be read, and the next run completes it.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, Notify};

use super::HUB;
use super::fixture::{World, seed, upstream, with_world};
use super::layout::Layout;

/// Stands before the upstream registry and passes on so many bytes of its answers, then
/// holds everything: whoever waits for more can be ended at that very point.
struct Hold {
    url: String,
    held: Arc<Notify>,
}

impl Hold {
    async fn start(allowed: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let behind = upstream().0.strip_prefix("https://").unwrap();
        let (held, left) = (Arc::new(Notify::new()), Arc::new(Mutex::new(allowed)));
        let notify = Arc::clone(&held);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(behind).await.unwrap();
                let (from_client, to_client) = client.into_split();
                let (from_server, to_server) = server.into_split();
                tokio::spawn(forward(from_client, to_server));
                let (left, held) = (Arc::clone(&left), Arc::clone(&notify));
                tokio::spawn(ration(from_server, to_client, left, held));
            }
        });
        Self { url, held }
    }
}

async fn forward(mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
    // Either end may go away at any moment: that is what is tested.
    let _ = tokio::io::copy(&mut from, &mut to).await;
}

async fn ration(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    left: Arc<Mutex<usize>>,
    held: Arc<Notify>,
) {
    let mut buffer = vec![0; 16 << 10];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let mut left = left.lock().await;
        let pass = length.min(*left);
        *left -= pass;
        let gone = to.write_all(&buffer[..pass]).await.is_err();
        if gone {
            return;
        }
        if pass < length {
            held.notify_one();
            // The lock is kept: nobody passes any more.
            std::future::pending::<()>().await;
        }
    }
}

/// Pulls until `allowed` bytes have come, and kills the process then.
async fn killed(world: &World, images: &[&str], allowed: usize) {
    let hold = Hold::start(allowed).await;
    world.configure(&hold.url, "http://127.0.0.1:9");
    let pull = world.mirror(&[&["pull", "--store", "carry"], images].concat());
    tokio::select! {
        // Dropping the run kills it.
        outcome = pull.run() => panic!("ended before it was killed: {}", outcome.unwrap()),
        () = hold.held.notified() => {}
    }
    released(&world.path("carry/.castlink/lock"));
}

/// The bytes that `store` has of `blobs`, whole or begun, as far as a pull goes on with them.
fn kept(store: &Layout, blobs: &[(String, u64)]) -> u64 {
    let work = store.0.join(".castlink");
    let names = Layout(work.clone()).root();
    let of = |(digest, size): &(String, u64)| {
        if store.blob(digest).exists() {
            return *size;
        }
        let stem = digest.replace(':', "-");
        let mut begun = names.iter().filter(|name| name.starts_with(&stem));
        let length = begun
            .next()
            .map(|name| work.join(name).metadata().unwrap().len());
        // A short beginning is not worth a thing, and the last byte always comes anew.
        length
            .filter(|length| *length >= 64 << 10)
            .map_or(0, |length| length.min(size - 1))
    };
    blobs.iter().map(of).sum()
}

/// Waits until no process holds the lock any more.
fn released(lock: &Path) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while let Ok(file) = File::open(lock) {
        if file.try_lock().is_ok() {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "the killed process is still there"
        );
        std::thread::yield_now();
    }
}

#[test]
fn a_killed_pull_leaves_a_readable_store_and_is_completed() {
    with_world(async |world| {
        let images = [1, 2].map(|n| format!("{HUB}/killed-{n}:t1"));
        let images: Vec<&str> = images.iter().map(String::as_str).collect();
        let digests = seed(&images).await;
        let store = Layout(world.path("carry"));
        for allowed in [6_000, 100_000, 700_000, 1_500_000, 2_500_000, 900_000] {
            killed(world, &images, allowed).await;
            if store.index().is_some() {
                store.check();
            }
        }
        world.configure(upstream().0, "http://127.0.0.1:9");
        world
            .run(&[&["pull", "--store", "carry"], &images[..]].concat(), 0)
            .await;
        store.check();
        let want: Vec<_> = images
            .iter()
            .map(ToString::to_string)
            .zip(digests)
            .collect();
        assert_eq!(store.images().into_iter().collect::<Vec<_>>(), want);
        let work = Layout(world.path("carry/.castlink"));
        assert_eq!(work.root(), ["lock"], "nothing is left of the killed runs");
    });
}

#[test]
fn what_a_killed_pull_had_is_not_fetched_again() {
    with_world(async |world| {
        let image = format!("{HUB}/resumed:t1");
        let digest = seed(&[&image]).await.remove(0);
        world.run(&["pull", "--store", "whole", &image], 0).await;
        let blobs = Layout(world.path("whole")).blobs(&digest);
        let total: u64 = blobs.iter().map(|(_, size)| size).sum();
        let store = Layout(world.path("carry"));
        let hold = Hold::start(2_000_000).await;
        world.configure(&hold.url, "http://127.0.0.1:9");
        let enough = async {
            hold.held.notified().await;
            // What the process has been sent, it also writes.
            while kept(&store, &blobs) < 1_000_000 {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            outcome = world.mirror(&["pull", "--store", "carry", &image]).run() => {
                panic!("ended before it was killed: {}", outcome.unwrap())
            }
            found = tokio::time::timeout(Duration::from_secs(30), enough) => found.unwrap(),
        }
        released(&world.path("carry/.castlink/lock"));
        let kept = kept(&store, &blobs);
        world.configure(upstream().0, "http://127.0.0.1:9");
        let pull = ["pull", "--store", "carry", &image, "-o", "json"];
        let outcome = world.run(&pull, 0).await;
        let summary = &outcome.records_of("summary").unwrap()[0];
        assert_eq!(
            summary["counts"]["read"],
            total - kept,
            "{kept} of {total}: {summary}"
        );
        store.check();
    });
}

#[test]
fn a_beginning_that_is_wrong_is_fetched_again() {
    with_world(async |world| {
        let image = format!("{HUB}/spoilt:t1");
        let digest = seed(&[&image]).await.remove(0);
        world.run(&["pull", "--store", "carry", &image], 0).await;
        let store = Layout(world.path("carry"));
        let (layer, size) = store.layers(&digest).remove(0);
        std::fs::remove_file(store.blob(&layer)).unwrap();
        let begun = format!(".castlink/{}-7", layer.replace(':', "-"));
        std::fs::write(store.0.join(begun), vec![0; 200_000]).unwrap();
        let pull = ["pull", "--store", "carry", &image, "-o", "json"];
        let outcome = world.run(&pull, 0).await;
        let summary = &outcome.records_of("summary").unwrap()[0];
        assert_eq!(
            summary["counts"]["read"],
            size - 200_000 + size,
            "{summary}"
        );
        store.check();
        assert_eq!(Layout(store.0.join(".castlink")).root(), ["lock"]);
    });
}

#[test]
fn two_runs_on_one_store_keep_out_of_each_others_way() {
    with_world(async |world| {
        let image = format!("{HUB}/locked:t1");
        seed(&[&image]).await;
        let hold = Hold::start(50_000).await;
        world.configure(&hold.url, "http://127.0.0.1:9");
        let first = world.mirror(&["pull", "--store", "carry", &image]).run();
        let second = async {
            hold.held.notified().await;
            for verb in [&["pull", &image][..], &["push"]] {
                let outcome = world.run(&[verb, &["--store", "carry"]].concat(), 8).await;
                assert!(
                    outcome.stderr.contains("in use by another castlink-mirror"),
                    "{outcome}"
                );
            }
        };
        tokio::select! {
            outcome = first => panic!("ended early: {}", outcome.unwrap()),
            () = second => {}
        }
    });
}

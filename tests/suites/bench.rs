//! What keeps the benchmarks honest, without timing anything: requests are counted as they
//! were made, a broken network breaks what it should, and who copies nothing does not win.

#![expect(clippy::unwrap_used, reason = "a test fails where it is surprised")]
#![expect(clippy::print_stderr, reason = "setting up servers takes minutes")]

use std::net::SocketAddr;
use std::path::Path;

use castlink_tests::bench::access::Log;
use castlink_tests::bench::check;
use castlink_tests::bench::images::{self, LARGE, Load, NAMES, RELEASES, TAG, repository};
use castlink_tests::bench::proxy::{Conditions, Proxy, Trouble};
use castlink_tests::bench::site::{Measured, Site, Source};
use castlink_tests::bench::tools::{Kit, Tool};
use castlink_tests::process;
use castlink_tests::registry::{Options, Registry};
use castlink_tests::seed::{self, Image, Layers, Seeder};
use castlink_tests::servers;
use reqwest::{Client, StatusCode};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Small enough to be generated in a second.
const SCALE: f64 = 0.001;
const FIRST: Load = Load {
    release: 0,
    images: &NAMES,
};

fn program() -> std::path::PathBuf {
    let servers = servers::ensure(&|line| eprintln!("{line}")).expect("servers can be built");
    servers.registry
}

async fn registry(dir: &TempDir) -> Registry {
    let options = Options {
        name: "bench".to_owned(),
        access_log: true,
        ..Options::default()
    };
    let (program, http) = (program(), Client::new());
    let started = Registry::start(&program, dir.path(), &options, &http).await;
    started.expect("the registry starts")
}

/// An image of one layer in a repository `a`, tagged `v1`.
async fn seeded(registry: &Registry) -> Image {
    let layers = Layers::stored(SCALE);
    let layer = layers.shared("layer", 1_000_000).unwrap();
    let image = Image::of("a", "v1", &[("linux/amd64".to_owned(), vec![layer])]).unwrap();
    let seeder = Seeder::new(&registry.url, Client::new(), seed::Options::default());
    seeder.push("a", "v1", &image).await.unwrap();
    image
}

#[tokio::test]
async fn every_request_is_counted_once_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let registry = registry(&dir).await;
    let image = seeded(&registry).await;
    let http = Client::new();
    let mut log = Log::new(registry.log(), &registry.url, http.clone())
        .await
        .unwrap();
    let (blob, bytes) = image.blobs.last().unwrap();
    let at = |rest: &str| format!("{}/v2/{rest}", registry.url);
    let tag = http
        .head(at("a/manifests/v1"))
        .header("accept", image.index.media_type);
    assert_eq!(tag.send().await.unwrap().status(), StatusCode::OK);
    let missing = http.head(at("a/manifests/v2")).send().await.unwrap();
    assert_eq!(missing.status(), StatusCode::NOT_FOUND);
    let read = http
        .get(at(&format!("a/blobs/{blob}")))
        .send()
        .await
        .unwrap();
    assert_eq!(read.bytes().await.unwrap(), bytes);
    for (from, status) in [("a", StatusCode::CREATED), ("c", StatusCode::ACCEPTED)] {
        let mount = at(&format!("b/blobs/uploads/?mount={blob}&from={from}"));
        assert_eq!(http.post(mount).send().await.unwrap().status(), status);
    }
    let requests = log.take().await.unwrap();
    let kinds: Vec<_> = requests
        .kinds
        .iter()
        .map(|(kind, n)| (kind.as_str(), *n))
        .collect();
    assert_eq!(
        kinds,
        [("GetBlob", 1), ("HeadManifest", 2), ("MountBlob", 2)]
    );
    assert_eq!((requests.mounted, requests.sent), (1, bytes.len() as u64));
    assert_eq!(log.take().await.unwrap().total(), 0);
}

#[tokio::test]
async fn an_image_without_one_of_its_blobs_is_not_whole() {
    let dir = tempfile::tempdir().unwrap();
    let registry = registry(&dir).await;
    let image = seeded(&registry).await;
    let http = Client::new();
    let whole = check::tree(&http, &registry.url, "a", "v1").await.unwrap();
    assert_eq!((whole.manifests.len(), whole.blobs.len()), (1, 2));
    check::same(&http, &registry.url, "a", "v1", &whole)
        .await
        .unwrap();
    let mut other = whole.clone();
    other.digest = whole.manifests[0].clone();
    let error = check::same(&http, &registry.url, "a", "v1", &other)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("instead of"), "{error}");
    let blob = &image.blobs.last().unwrap().0;
    let gone = http.delete(format!("{}/v2/a/blobs/{blob}", registry.url));
    assert_eq!(gone.send().await.unwrap().status(), StatusCode::ACCEPTED);
    let error = check::same(&http, &registry.url, "a", "v1", &whole)
        .await
        .unwrap_err();
    assert!(error.to_string().contains(blob), "{error}");
}

async fn copy(castlink: Option<&Path>) -> Measured {
    let program = program();
    let castlink = castlink.map(Path::to_path_buf);
    // Both block, and one has a runtime of its own.
    let setup = tokio::task::spawn_blocking(move || {
        let data = images::ensure(&program, SCALE, &|line| eprintln!("{line}")).unwrap();
        let kit = Kit::ensure(&[Tool::Castlink], castlink.as_deref(), &|_| {}).unwrap();
        (program, data, kit)
    });
    let (program, data, kit) = setup.await.unwrap();
    let mut source = Source::start(&program, &data).await.unwrap();
    let mut site = Site::new(&mut source, None).await.unwrap();
    site.run(Tool::Castlink, &kit, FIRST, true).await.unwrap()
}

#[tokio::test]
async fn who_copies_nothing_does_not_win() {
    let measured = copy(Some(Path::new("/bin/true"))).await;
    let error = measured.error.unwrap();
    assert!(error.contains("no manifest"), "{error}");
    assert_eq!(measured.source.total() + measured.destination.total(), 0);
    let measured = copy(Some(Path::new("/bin/false"))).await;
    assert_eq!(measured.usage.failed, 1);
    assert!(measured.error.is_some());
}

#[tokio::test]
async fn a_real_copy_is_whole_and_measured() {
    let measured = copy(None).await;
    assert_eq!(measured.error, None);
    assert!(measured.usage.cpu_s > 0.0 && measured.usage.rss_mb > 1.0);
    assert!(measured.usage.wall_s > 0.0);
    // 86 blobs once, in 30 manifests; what several images share is mounted.
    assert_eq!(measured.source.of("GetBlob"), 86);
    assert_eq!(measured.destination.of("PutManifest"), 30);
    assert_eq!(measured.destination.of("PutBlob"), 86);
    assert_eq!(measured.destination.mounted, 34);
    assert!((measured.pulled_mb - measured.pushed_mb).abs() < 0.001);
}

#[test]
fn the_releases_differ_in_three_images() {
    let data = images::ensure(&program(), SCALE, &|line| eprintln!("{line}")).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let source = Source::start(&program(), &data).await.unwrap();
        let of = |release| {
            let load = Load {
                release,
                images: &NAMES,
            };
            source
                .trees(load)
                .map(|(_, tree)| tree.digest.clone())
                .collect::<Vec<_>>()
        };
        let (first, second) = (of(0), of(1));
        let changed = first
            .iter()
            .zip(&second)
            .filter(|(one, other)| one != other);
        assert_eq!((changed.count(), first.len()), (3, NAMES.len()));
        let large = repository(RELEASES[0], LARGE[0]);
        let tree = check::tree(&Client::new(), source.url(), &large, TAG)
            .await
            .unwrap();
        assert_eq!(tree.blobs.len(), 2);
    });
}

/// A server that answers each connection with what it was sent, and the proxy before it.
async fn echo(conditions: Conditions) -> (Proxy, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr: SocketAddr = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let (mut from, mut to) = stream.split();
                drop(tokio::io::copy(&mut from, &mut to).await);
                drop(to.shutdown().await);
            });
        }
    });
    (Proxy::start(addr, conditions).await.unwrap(), task)
}

/// Sends `bytes` and returns what comes back until the end, however it ends.
async fn exchange(proxy: &Proxy, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(proxy.addr).await.unwrap();
    let (mut from, mut to) = stream.split();
    let send = async {
        drop(to.write_all(bytes).await);
        drop(to.shutdown().await);
    };
    let mut back = Vec::new();
    let receive = async {
        drop(from.read_to_end(&mut back).await);
    };
    tokio::join!(send, receive);
    back
}

#[tokio::test]
async fn bytes_pass_unchanged_and_counted() {
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    let slow = Conditions {
        rtt: std::time::Duration::from_millis(4),
        rate: Some(100_000_000),
        ..Conditions::default()
    };
    for conditions in [Conditions::default(), slow] {
        let (proxy, server) = echo(conditions).await;
        assert_eq!(exchange(&proxy, &bytes).await, bytes);
        let traffic = &proxy.traffic;
        assert_eq!((traffic.up(), traffic.down()), (3_000_000, 3_000_000));
        assert_eq!((traffic.connections(), traffic.broken()), (1, 0));
        server.abort();
    }
}

#[tokio::test]
async fn some_connections_are_cut_and_never_pass_more_than_they_may() {
    let conditions = Conditions {
        trouble: Trouble::Cuts,
        seed: 1,
        ..Conditions::default()
    };
    let (proxy, server) = echo(conditions).await;
    let bytes = vec![7; 12_000_000];
    let mut short = 0;
    for _ in 0..30 {
        short += u64::from(exchange(&proxy, &bytes).await.len() < bytes.len());
    }
    assert_eq!(short, 9);
    process::wait_until(
        "the cut connections",
        std::time::Duration::from_secs(10),
        async || {
            anyhow::ensure!(proxy.traffic.broken() == short);
            Ok(())
        },
    )
    .await
    .unwrap();
    server.abort();
}

#[tokio::test]
async fn refused_connections_say_when_to_come_back() {
    let conditions = Conditions {
        trouble: Trouble::Refusals,
        seed: 1,
        ..Conditions::default()
    };
    let (proxy, server) = echo(conditions).await;
    let mut refused = 0;
    for _ in 0..60 {
        let answer = exchange(&proxy, b"GET /v2/ HTTP/1.1\r\n\r\n").await;
        let answer = String::from_utf8(answer).unwrap();
        if answer.starts_with("HTTP/1.1 503 ") {
            assert!(answer.contains("\r\nRetry-After: 1\r\n"), "{answer}");
            refused += 1;
        } else {
            assert!(answer.starts_with("GET /v2/"), "{answer}");
        }
    }
    assert_eq!(refused, 9);
    assert_eq!(proxy.traffic.broken(), refused);
    server.abort();
}

#[tokio::test]
async fn mounts_are_refused_by_a_registry_that_would_grant_them() {
    let dir = tempfile::tempdir().unwrap();
    let registry = registry(&dir).await;
    let image = seeded(&registry).await;
    let addr: SocketAddr = registry.url.trim_start_matches("http://").parse().unwrap();
    let blob = &image.blobs.last().unwrap().0;
    for (refuse_mounts, status) in [(false, StatusCode::CREATED), (true, StatusCode::ACCEPTED)] {
        let conditions = Conditions {
            refuse_mounts,
            ..Conditions::default()
        };
        let proxy = Proxy::start(addr, conditions).await.unwrap();
        for query in [
            format!("mount={blob}&from=a"),
            format!("from=a&mount={blob}"),
        ] {
            let url = format!("http://{}/v2/b/blobs/uploads/?{query}", proxy.addr);
            let answer = Client::new().post(url).send().await.unwrap();
            assert_eq!(answer.status(), status, "{query}");
        }
    }
}

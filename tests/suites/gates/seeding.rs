//! The upstream registry and the images in it.

use castlink_tests::pki::Authority;
use castlink_tests::registry::{LOGIN, Options, Registry};
use castlink_tests::seed::{self, LIBRARY, MIRROR, Seeder};
use serde_json::Value;

use crate::harness::registry_program;

const ACCEPT: &str =
    "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json";

#[tokio::test(flavor = "multi_thread")]
async fn seeded_images_are_whole_shared_and_seeded_once() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new("upstream test").unwrap();
    let tls = authority
        .server_cert("upstream", &[])
        .unwrap()
        .write(dir.path(), "upstream")
        .unwrap();
    let root = reqwest::Certificate::from_pem(authority.pair().cert.as_bytes()).unwrap();
    let http = reqwest::Client::builder()
        .tls_certs_only([root])
        .build()
        .unwrap();
    let options = Options {
        name: "upstream".to_owned(),
        tls: Some(tls),
        login: false,
        ..Options::default()
    };
    let program = tokio::task::spawn_blocking(registry_program).await.unwrap();
    let registry = Registry::start(&program, dir.path(), &options, &http)
        .await
        .unwrap();
    let small = seed::Options {
        scale: 0.01,
        ..seed::Options::default()
    };
    let seeder = Seeder::new(&registry.url, http.clone(), small);

    let first = seeder.seed_all(seed::defaults()).await.unwrap();
    assert_eq!(first.len(), seed::defaults().len());
    assert!(first.iter().all(|one| !one.present));
    let again = seeder.seed_all(seed::defaults()).await.unwrap();
    assert!(again.iter().all(|one| one.present));

    let agent = format!("{LIBRARY}agent:v0.161.1");
    let mirror = format!("{MIRROR}agent:v0.161.1");
    assert_eq!(
        seeder.digest_of(&agent).unwrap(),
        seeder.digest_of(&mirror).unwrap()
    );
    let get = async |path: &str| {
        let request = http.get(format!("{}/v2/{path}", registry.url));
        request.header("accept", ACCEPT).send().await.unwrap()
    };
    let repository = "us-docker.pkg.dev/castai-hub/library/agent";
    let index: Value = get(&format!("{repository}/manifests/v0.161.1"))
        .await
        .json()
        .await
        .unwrap();
    let architectures: Vec<_> = index["manifests"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["platform"]["architecture"])
        .collect();
    assert_eq!(architectures, ["amd64", "arm64"]);
    let digest = seeder.digest_of(&agent).unwrap();
    let signature = format!("{repository}/manifests/{}.sig", digest.replace(':', "-"));
    assert_eq!(get(&signature).await.status(), 200);
    let controller = format!("{LIBRARY}kvisor-controller:v1.164.8");
    let tag = seeder.digest_of(&controller).unwrap().replace(':', "-");
    let referrers =
        format!("us-docker.pkg.dev/castai-hub/library/kvisor-controller/manifests/{tag}");
    let referrers: Value = get(&referrers).await.json().await.unwrap();
    assert_eq!(
        referrers["manifests"][0]["artifactType"],
        "application/spdx+json"
    );

    let pinned = seeder
        .pinned("clickhouse/clickhouse-server:25.2.1.3085-alpine")
        .unwrap();
    assert!(seeder.seed(&pinned).await.unwrap().present);
    let wrong = format!("busybox:1@sha256:{}", "0".repeat(64));
    assert!(
        seeder
            .seed(&wrong)
            .await
            .unwrap_err()
            .to_string()
            .contains("cannot be made")
    );
    let seeder = seeder.remembering(&dir.path().join("gone.txt"));
    let never = "never-seeded";
    assert!(
        !seeder
            .unseed(&format!("docker.io/library/{never}:1"))
            .await
            .unwrap()
    );
    let repository = format!("docker.io/library/{never}");
    assert!(!seeder.on_demand(&repository, "1").await.unwrap());
    assert!(seeder.on_demand(&repository, "2").await.unwrap());
    assert!(seeder.unseed(&agent).await.unwrap());
    assert!(!seeder.unseed(&agent).await.unwrap());
    assert!(!seeder.seed(&agent).await.unwrap().present);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_can_ask_for_credentials() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        name: "private".to_owned(),
        tls: None,
        login: true,
        ..Options::default()
    };
    let program = tokio::task::spawn_blocking(registry_program).await.unwrap();
    let http = reqwest::Client::new();
    let registry = Registry::start(&program, dir.path(), &options, &http)
        .await
        .unwrap();
    let ping = http.get(format!("{}/v2/", registry.url));
    let anonymous = ping.try_clone().unwrap().send().await.unwrap();
    assert_eq!(anonymous.status(), 401);
    assert!(
        anonymous.headers()["www-authenticate"]
            .to_str()
            .unwrap()
            .starts_with("Basic")
    );
    let known = ping
        .basic_auth(LOGIN.0, Some(LOGIN.1))
        .send()
        .await
        .unwrap();
    assert_eq!(known.status(), 200);
}

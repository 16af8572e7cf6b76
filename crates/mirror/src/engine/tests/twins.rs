//! The two public homes of CAST AI's images stand in for each other, both ways, wherever the
//! first fails.

use super::*;

const HUB: &str = "us-docker.pkg.dev";
const GHCR: &str = "ghcr.io";

/// The image's repository in one of its homes.
fn repository(host: &str) -> &'static str {
    match host {
        HUB => "castai-hub/library/agent",
        _ => "castai/images/agent",
    }
}

async fn home(host: &str, hook: impl Fn(&Asked) -> bool + Send + Sync + 'static) -> Liar {
    let fails = move |asked: &Asked, _| hook(asked).then(|| Reply::status(404));
    let liar = Liar::start(fails).await;
    let layers: &[&[u8]] = &[b"layer", b"another"];
    liar.put_image(repository(host), "v1", layers);
    liar
}

#[tokio::test]
async fn each_home_stands_in_for_the_other_at_every_step() {
    type Step = fn(&Asked) -> bool;
    let steps: [(&str, Step); 3] = [
        ("resolving", |_| true),
        ("manifests", |asked| {
            asked.method == "GET" && asked.target.contains("/manifests/")
        }),
        ("blobs", |asked| asked.target.contains("/blobs/")),
    ];
    for (first, second) in [(HUB, GHCR), (GHCR, HUB)] {
        for (name, fails) in steps {
            let (broken, good) = (home(first, fails).await, home(second, |_| false).await);
            let target = Liar::honest().await;
            let image = format!("{first}/{}:v1", repository(first));
            let servers = [(first, &broken), (second, &good), (TARGET, &target)];
            let run = copy_between(&servers, &[&image]).await;
            assert_eq!(run.failures, [""; 0], "{name} of {first}");
            assert_eq!(run.plan.totals().images, 1, "{name} of {first}");
            let key = (repository(first).to_owned(), "v1".to_owned());
            assert!(
                target.store().manifests.contains_key(&key),
                "{name} of {first}"
            );
            let blobs = good.asked("/blobs/").len();
            assert_eq!(blobs, 3, "{name} of {first}: config and two layers");
        }
    }
}

#[tokio::test]
async fn when_both_fail_the_one_that_was_asked_for_is_named() {
    let fails: fn(&Asked) -> bool = |asked| asked.target.contains("/blobs/");
    let (hub, ghcr) = (home(HUB, fails).await, home(GHCR, fails).await);
    let target = Liar::honest().await;
    let servers = [(HUB, &hub), (GHCR, &ghcr), (TARGET, &target)];
    let image = format!("{HUB}/{}:v1", repository(HUB));
    let run = copy_between(&servers, &[&image]).await;
    assert_eq!(run.failures.len(), 1);
    assert!(run.failures[0].contains(HUB), "{:?}", run.failures);
    assert!(!run.failures[0].contains(GHCR), "{:?}", run.failures);
}

//! Signatures, attestations and other artifacts travel with their images, best effort.

use std::collections::BTreeSet;

use castlink_tests::products::Outcome;
use castlink_tests::seed::Via;
use serde_json::Value;

use super::fixture::{World, plain_registry, seed, seeder, with_world};

const SIGNATURE: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
const BILL: &str = "application/spdx+json";

/// An image with everything attached to it that can be: by tag and by reference, to the
/// index, to a manifest in it, and to what is attached.
pub(crate) struct Signed {
    pub(crate) digest: String,
    child: String,
    pub(crate) signature: String,
    pub(crate) bill: String,
    pub(crate) signed_bill: String,
    child_bill: String,
}

pub(crate) async fn signed(image: &str) -> Signed {
    let digest = seed(&[image]).await.remove(0);
    let index = seeder().manifest(image, &digest).await.unwrap();
    let child = index["manifests"][0]["digest"].as_str().unwrap().to_owned();
    let attach =
        async |subject: &str, kind, via| seeder().attach(image, subject, kind, via).await.unwrap();
    let signature = attach(&digest, SIGNATURE, Via::Tag("sig")).await;
    attach(&child, BUNDLE, Via::Tag("att")).await;
    let bill = attach(&digest, BILL, Via::Referrer).await;
    Signed {
        signed_bill: attach(&bill, BUNDLE, Via::Referrer).await,
        child_bill: attach(&child, BILL, Via::Referrer).await,
        bill,
        digest,
        child,
        signature,
    }
}

pub(crate) fn attachments(outcome: &Outcome) -> Value {
    let mut records = outcome.records_of("mirrored").unwrap();
    assert_eq!(records.len(), 1);
    records.remove(0)["attachments"].take()
}

/// What each attached manifest names as its subject, by digest.
pub(crate) fn subject(world: &World, repository: &str, digest: &str) -> Option<String> {
    let database = world.shared.ecr.database();
    database.repositories[repository]
        .images
        .get(digest)?
        .parts
        .subject
        .clone()
}

/// The selectors of the manifests written since `mark`, in order.
fn written(world: &World, mark: usize) -> Vec<String> {
    let entries = world.shared.journal.since(mark).into_iter();
    let puts = entries.filter(|entry| entry.action == "PutManifest" && entry.status == 201);
    puts.map(|entry| entry.params["reference"].clone())
        .collect()
}

#[test]
fn what_is_attached_arrives_before_the_tag_and_a_second_run_writes_nothing() {
    with_world(async |world| {
        let image = "busybox:s1";
        let signed = signed(image).await;
        let outcome = world.run(&["plan", image, "-o", "json"], 0).await;
        assert_eq!(attachments(&outcome)["found"], 5);
        assert_eq!(world.writes(0), [""; 0]);

        let outcome = world.run(&["copy", image], 0).await;
        let found = attachments(&outcome);
        assert_eq!(
            (&found["found"], &found["copied"]),
            (&5.into(), &5.into()),
            "{outcome}"
        );
        assert_eq!(found["failed"], Value::Null, "{outcome}");
        let name = |digest: &str, suffix| format!("{}.{suffix}", digest.replace(':', "-"));
        let signature = name(&signed.digest, "sig");
        assert_eq!(
            world.tagged("busybox", &signature),
            Some(signed.signature.clone())
        );
        assert!(
            world
                .tagged("busybox", &name(&signed.child, "att"))
                .is_some()
        );
        for (attached, to) in [
            (&signed.bill, &signed.digest),
            (&signed.child_bill, &signed.child),
            (&signed.signed_bill, &signed.bill),
        ] {
            assert_eq!(subject(world, "busybox", attached).as_ref(), Some(to));
        }
        // ECR lists referrers itself: no tag stands in for that.
        let stand_in = signed.digest.replace(':', "-");
        assert_eq!(world.tagged("busybox", &stand_in), None);
        let order = written(world, 0);
        let position = |what: &str| order.iter().position(|put| put == what).unwrap();
        assert!(
            position(&signed.digest) < position(&signed.bill),
            "{order:?}"
        );
        assert!(
            position(&signed.bill) < position(&signed.signed_bill),
            "{order:?}"
        );
        assert_eq!(
            order.last().unwrap(),
            "s1",
            "who finds the tag finds the signatures"
        );

        let mark = world.shared.journal.mark();
        world.run(&["copy", image], 0).await;
        assert_eq!(
            world.shared.journal.since(mark).len(),
            1,
            "one batch call, no write"
        );
        world.run(&["verify", image], 0).await;
    });
}

#[test]
fn one_that_is_refused_and_one_that_is_missing_do_not_fail_the_image() {
    with_world(async |world| {
        let image = "busybox:s2";
        let signed = signed(image).await;
        world
            .shared
            .panel
            .set(|knobs| knobs.refused_artifacts.insert(BILL.to_owned()));
        let gone = seeder()
            .attach(image, &signed.digest, BUNDLE, Via::Referrer)
            .await
            .unwrap();
        seeder().delete(image, &gone).await.unwrap();

        let outcome = world.run(&["copy", image], 0).await;
        assert_eq!(world.tagged("busybox", "s2"), Some(signed.digest.clone()));
        let found = attachments(&outcome);
        assert_eq!(
            (&found["found"], &found["copied"]),
            (&6.into(), &2.into()),
            "{outcome}"
        );
        let failed = found["failed"].as_array().unwrap();
        let why = |what: &str| {
            let left = failed.iter().find(|left| left["what"] == what);
            left.unwrap_or_else(|| panic!("{what} in {failed:?}"))["why"]
                .as_str()
                .unwrap()
        };
        assert!(why(&signed.bill).contains("405"), "{failed:?}");
        assert!(
            why(&signed.child_bill).contains("UNSUPPORTED"),
            "{failed:?}"
        );
        assert!(
            why(&signed.signed_bill).contains("belongs to"),
            "{failed:?}"
        );
        assert!(why(&gone).contains("not found"), "{failed:?}");
        assert_eq!(failed.len(), 4);
        assert!(
            outcome
                .stderr
                .contains("busybox:s2: not everything attached"),
            "{outcome}"
        );
        world.run(&["verify", image], 0).await;
    });
}

#[test]
fn what_the_target_has_under_a_name_of_cosigns_stays() {
    with_world(async |world| {
        let image = "busybox:s3";
        let signed = signed(image).await;
        world
            .run(&["copy", image, "--attachments", "never"], 0)
            .await;
        let tag = format!("{}.sig", signed.digest.replace(':', "-"));
        assert_eq!(world.tagged("busybox", &tag), None, "not looked for");
        {
            // Somebody signs the copy, and the tag of the image is lost.
            let mut database = world.shared.ecr.database();
            let repository = database.repositories.get_mut("busybox").unwrap();
            repository.tags.insert(tag.clone(), signed.child.clone());
            repository.tags.remove("s3");
        }
        let outcome = world.run(&["copy", image], 0).await;
        assert_eq!(world.tagged("busybox", &tag), Some(signed.child.clone()));
        let found = attachments(&outcome);
        assert_eq!(
            (&found["found"], &found["copied"]),
            (&5.into(), &4.into()),
            "{outcome}"
        );
        assert!(
            found["failed"][0]["why"]
                .as_str()
                .unwrap()
                .contains("stays"),
            "{outcome}"
        );
        assert_eq!(world.tagged("busybox", "s3"), Some(signed.digest));
    });
}

#[test]
fn an_image_with_nothing_attached_costs_the_target_nothing() {
    with_world(async |world| {
        seed(&["busybox:s4", "busybox:s5"]).await;
        let cost = async |image: &str, when: &str| {
            let mark = world.shared.journal.mark();
            let outcome = world.run(&["copy", image, "--attachments", when], 0).await;
            assert_eq!(attachments(&outcome), Value::Null);
            let entries = world.shared.journal.since(mark).into_iter();
            entries.map(|entry| entry.action).collect::<Vec<_>>().len()
        };
        world.run(&["copy", "busybox:s4"], 0).await;
        let host = world.host();
        world
            .run(&["copy", "busybox:s5", "--to", &format!("{host}/warm")], 0)
            .await;
        seed(&["busybox:s6", "busybox:s7"]).await;
        assert_eq!(
            cost("busybox:s6", "auto").await,
            cost("busybox:s7", "never").await
        );
    });
}

#[test]
fn a_selection_of_platforms_takes_what_is_attached_to_them() {
    with_world(async |world| {
        let image = "busybox:s8";
        let signed = signed(image).await;
        let outcome = world
            .run(&["copy", image, "--platform", "linux/amd64"], 0)
            .await;
        let found = attachments(&outcome);
        // The first of the index is linux/amd64; nobody has signed the filtered index.
        assert_eq!(
            (&found["found"], &found["copied"]),
            (&2.into(), &2.into()),
            "{outcome}"
        );
        let to = subject(world, "busybox", &signed.child_bill);
        assert_eq!(to, Some(signed.child));
        assert_eq!(subject(world, "busybox", &signed.bill), None);
    });
}

#[test]
fn where_a_registry_keeps_no_lists_a_tag_stands_in_for_them() {
    with_world(async |world| {
        let image = "busybox:s9";
        let signed = signed(image).await;
        let target = format!("{}/no-lists", plain_registry());
        let copy = async || {
            let outcome = world.run(&["copy", image, "--to", &target], 0).await;
            attachments(&outcome)
        };
        assert_eq!(copy().await["copied"], 5);
        let listed = async |subject: &str| {
            let tag = subject.replace(':', "-");
            let url = format!("http://{target}/manifests/{tag}")
                .replace("/no-lists", "/v2/no-lists/busybox");
            let answer = reqwest::get(url).await.unwrap().error_for_status().unwrap();
            answer.json::<Value>().await.unwrap()
        };
        let list = listed(&signed.digest).await;
        assert_eq!(list["manifests"].as_array().unwrap().len(), 1);
        assert_eq!(list["manifests"][0]["digest"], *signed.bill);
        assert_eq!(list["manifests"][0]["artifactType"], BILL);
        assert!(list["manifests"][0]["annotations"].is_object(), "{list}");
        assert_eq!(
            listed(&signed.bill).await["manifests"][0]["digest"],
            *signed.signed_bill
        );
        assert_eq!(copy().await, Value::Null, "nothing changed, nothing asked");

        // From there on to ECR: everything is found again.
        let onward = format!("{target}/{image}");
        let outcome = world.run(&["copy", &onward, "--layout", "path"], 0).await;
        assert_eq!(attachments(&outcome)["copied"], 5, "{outcome}");
        let digests: BTreeSet<_> = [&signed.bill, &signed.signed_bill, &signed.child_bill]
            .into_iter()
            .filter_map(|digest| subject(world, "no-lists/busybox", digest))
            .collect();
        assert_eq!(digests.len(), 3);
    });
}

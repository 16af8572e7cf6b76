//! What is found at registries that lie, and what is not followed.

use bytes::Bytes;
use serde_json::{Value, json};

use super::*;
use crate::{
    liar::{Asked, HOST, Liar, Reply, config},
    registry::Registries,
};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// The image that things are attached to.
fn image(liar: &Liar) -> Tree {
    let digest = liar.put_image("r", "v1", &[b"layer"]);
    let key = ("r".to_owned(), digest.to_string());
    let bytes = Bytes::from(liar.store().manifests[&key].clone());
    Tree {
        root: Manifest::parse(bytes, None, None).unwrap(),
        below: Vec::new(),
    }
}

/// Stores an artifact of this name that is attached to `subject`.
fn artifact(liar: &Liar, name: &str, subject: Option<&Digest>) -> Digest {
    let mut document = json!({"schemaVersion": 2, "layers": [], "annotations": {"name": name}});
    if let Some(subject) = subject {
        document["subject"] = json!({"digest": subject.as_str(), "size": 1});
    }
    liar.put_manifest("r", name, document.to_string().as_bytes())
}

fn list(liar: &Liar, subject: &Digest, entries: &[Digest]) {
    let entries: Vec<Value> = entries
        .iter()
        .map(|digest| json!({"digest": digest.as_str(), "size": 1}))
        .collect();
    let list = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries});
    liar.put_manifest("r", &fallback_tag(subject), list.to_string().as_bytes());
}

/// A registry that answers `tags/list` from what it holds.
async fn registry() -> Liar {
    let liar = Liar::honest().await;
    liar.list_tags();
    liar
}

async fn search(liar: &Liar, tree: &Tree) -> Attached {
    let sites = Sites::new(Registries::new(&config(&[(HOST, liar)])));
    let source = format!("{HOST}/r:v1").parse().unwrap();
    attached(&sites, &Tags::default(), &source, tree, None).await
}

fn names(found: &Attached) -> Vec<(usize, &str)> {
    let names = found.found.iter();
    names.map(|one| (one.depth, one.selector())).collect()
}

#[tokio::test]
async fn tags_and_referrers_are_found_however_deep() {
    let liar = registry().await;
    let tree = image(&liar);
    let root = &tree.root.digest;
    let stem = root.as_str().replace(':', "-");
    artifact(&liar, &format!("{stem}.sig"), None);
    artifact(&liar, &format!("{stem}.unrelated"), None);
    let bill = artifact(&liar, "bill", Some(root));
    let signed = artifact(&liar, "signed-bill", Some(&bill));
    list(&liar, root, std::slice::from_ref(&bill));
    list(&liar, &bill, std::slice::from_ref(&signed));
    let found = search(&liar, &tree).await;
    let signature = format!("{stem}.sig");
    let want = [
        (0, signature.as_str()),
        (0, bill.as_str()),
        (1, signed.as_str()),
    ];
    assert_eq!(names(&found), want);
    assert_eq!((found.named, found.troubles.len()), (3, 0));
    assert_eq!(liar.asked("tags/list").len(), 1, "once for everything");
    assert_eq!(liar.asked("/referrers/").len(), 1, "it keeps no lists");
}

#[tokio::test]
async fn circles_end() {
    let liar = registry().await;
    let tree = image(&liar);
    let root = &tree.root.digest;
    let one = artifact(&liar, "one", Some(root));
    // Lists are only text: this one names what it is about, and what that is about.
    list(&liar, root, std::slice::from_ref(&one));
    list(&liar, &one, &[one.clone(), root.clone()]);
    let found = search(&liar, &tree).await;
    assert_eq!(names(&found), [(0, one.as_str())]);
    assert_eq!(found.troubles.len(), 1, "{:?}", found.troubles);
    assert!(
        found.troubles[0].why.contains("does not name"),
        "{:?}",
        found.troubles
    );
}

#[tokio::test]
async fn what_is_listed_and_missing_or_not_attached_stays_behind() {
    let liar = registry().await;
    let tree = image(&liar);
    let root = &tree.root.digest;
    let missing = Digest::of(b"missing");
    let stranger = artifact(&liar, "stranger", None);
    let bill = artifact(&liar, "bill", Some(root));
    list(
        &liar,
        root,
        &[missing.clone(), stranger.clone(), bill.clone()],
    );
    let found = search(&liar, &tree).await;
    assert_eq!(names(&found), [(0, bill.as_str())]);
    assert_eq!(found.named, 3);
    let left: Vec<&str> = found
        .troubles
        .iter()
        .map(|trouble| trouble.what.as_str())
        .collect();
    assert_eq!(left, [missing.as_str(), stranger.as_str()]);
}

#[tokio::test]
async fn numbers_and_depth_are_bounded() {
    let liar = registry().await;
    let tree = image(&liar);
    let root = &tree.root.digest;
    let many: Vec<Digest> = (0..MAX_ATTACHED + 10)
        .map(|number| artifact(&liar, &format!("bill{number}"), Some(root)))
        .collect();
    list(&liar, root, &many);
    let found = search(&liar, &tree).await;
    assert_eq!(found.found.len(), MAX_ATTACHED);
    assert!(
        found.troubles[0].why.contains("more than"),
        "{:?}",
        found.troubles
    );

    let liar = registry().await;
    let tree = image(&liar);
    let mut subject = tree.root.digest.clone();
    for depth in 0..MAX_DEPTH + 3 {
        let next = artifact(&liar, &format!("depth{depth}"), Some(&subject));
        list(&liar, &subject, std::slice::from_ref(&next));
        subject = next;
    }
    assert_eq!(search(&liar, &tree).await.found.len(), MAX_DEPTH);
}

#[tokio::test]
async fn tags_that_cannot_be_listed_are_said_once() {
    let denied = |asked: &Asked, _| {
        asked
            .target
            .contains("tags/list")
            .then(|| Reply::status(403))
    };
    let liar = Liar::start(denied).await;
    let tree = image(&liar);
    let found = search(&liar, &tree).await;
    assert!(found.found.is_empty());
    assert_eq!(found.troubles.len(), 1);
    assert!(
        found.troubles[0].what.contains("the tags of"),
        "{:?}",
        found.troubles
    );
}

#[tokio::test]
async fn an_index_that_was_made_here_is_not_asked_about() {
    let liar = registry().await;
    let tree = image(&liar);
    let sites = Sites::new(Registries::new(&config(&[(HOST, &liar)])));
    let source = format!("{HOST}/r:v1").parse().unwrap();
    let made = Some(&tree.root.digest);
    let found = attached(&sites, &Tags::default(), &source, &tree, made).await;
    assert_eq!(found, Attached::default());
    assert_eq!(liar.asked("").len(), 0);
}

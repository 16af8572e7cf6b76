//! Decides what becomes of the things attached to an image. Pure.

use super::{Attach, Attachments};
use crate::{
    attached::{Attached, Attachment, Trouble},
    target::Holdings,
};

/// What to do about what is attached, where the target holds `holdings`.
pub(super) fn plan(attached: &Attached, holdings: &Holdings) -> Attachments {
    let mut plan = Attachments {
        found: attached.named,
        steps: Vec::new(),
        troubles: attached.troubles.clone(),
    };
    for attachment in &attached.found {
        match step(attachment, holdings) {
            Ok(step) => plan.steps.push(step),
            Err(trouble) => plan.troubles.push(trouble),
        }
    }
    plan
}

fn step(attachment: &Attachment, holdings: &Holdings) -> Result<Attach, Trouble> {
    let manifests = &holdings.held.manifests;
    let tree = &attachment.tree;
    let digest = &tree.root.digest;
    let missing = match &attachment.tag {
        None => !manifests.contains(digest),
        Some(tag) => match holdings.held.tags.get(tag) {
            None => true,
            Some(held) if held == digest => false,
            // Perhaps somebody has signed the copy with a key of their own.
            Some(held) => {
                let why = format!("the target has {} there, which stays", held.short());
                return Err(Trouble::new(tag, why));
            }
        },
    };
    let below = tree.below.iter();
    let children = below.filter(|manifest| missing && !manifests.contains(&manifest.digest));
    Ok(Attach {
        children: children.cloned().collect(),
        manifest: tree.root.clone(),
        selector: attachment.selector().to_owned(),
        subject: attachment.subject.clone(),
        depth: attachment.depth,
        missing,
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde_json::json;

    use super::*;
    use crate::content::{Digest, Manifest, Tree};

    fn attachment(name: &str, tag: Option<&str>) -> Attachment {
        let document = json!({"schemaVersion": 2, "layers": [], "annotations": {"name": name}});
        let bytes = Bytes::from(document.to_string());
        Attachment {
            tree: Tree {
                root: Manifest::parse(bytes, None, None).unwrap(),
                below: Vec::new(),
            },
            subject: Digest::of(b"subject"),
            tag: tag.map(str::to_owned),
            depth: 0,
        }
    }

    /// `write`, `there`, or why it stays behind.
    fn verdict(attachment: Attachment, holdings: &Holdings) -> String {
        let attached = Attached {
            named: 1,
            found: vec![attachment],
            troubles: Vec::new(),
        };
        let planned = plan(&attached, holdings);
        match (&planned.steps[..], &planned.troubles[..]) {
            ([step], []) if step.missing => format!("write {}", step.is_referrer()),
            ([_], []) => "there".into(),
            ([], [trouble]) => trouble.why.clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_becomes_of_one() {
        let digest = |attachment: &Attachment| attachment.tree.root.digest.clone();
        let (bill, signature) = (attachment("bill", None), attachment("sig", Some("s.sig")));
        let nothing = Holdings::default();
        let mut bill_there = Holdings::default();
        bill_there.held.manifests.insert(digest(&bill));
        let mut signed = Holdings::default();
        signed.held.manifests.insert(digest(&signature));
        let mut tagged = signed.clone();
        tagged.held.tags.insert("s.sig".into(), digest(&signature));
        let mut other = Holdings::default();
        other.held.tags.insert("s.sig".into(), digest(&bill));
        let stays = format!(
            "the target has {} there, which stays",
            digest(&bill).short()
        );
        for (attachment, holdings, want) in [
            (&bill, &nothing, "write true"),
            (&bill, &bill_there, "there"),
            (&signature, &nothing, "write false"),
            (&signature, &signed, "write false"),
            (&signature, &tagged, "there"),
            (&signature, &other, stays.as_str()),
        ] {
            assert_eq!(verdict(attachment.clone(), holdings), want);
        }
    }
}

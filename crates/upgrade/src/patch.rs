//! The guarded patch: all references of one workload in one JSON patch that the server
//! refuses unless names and old references are still what was seen.
//!
//! A refused test and an invalid patch get the same answer from the server (422, without a
//! reason), and a merge patch with a mistyped container name would add a container. So
//! every replacement is preceded by tests, and a refusal is explained by reading again.

use std::time::Duration;

use castlink_core::{Failure, Result, wait};
use json_patch::{Patch, PatchOperation, ReplaceOperation, TestOperation, jsonptr::PointerBuf};
use kube::{
    Error,
    api::{self, DynamicObject, PatchParams, ValidationDirective},
};
use serde_json::Value;

use crate::{
    client::{Cluster, FIELD_MANAGER},
    plan::Replacement,
    rollout::in_place,
    workload::{Id, ImageField, Kind, generation, image_fields},
};

/// How often a patch is built anew when somebody else wrote in between.
const ATTEMPTS: u32 = 6;

/// The wait before the second attempt; it doubles each time. The API server has tried a
/// patch five times by itself before it answers with a conflict.
const BACK_OFF: Duration = Duration::from_millis(100);

/// What a patch did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Patched {
    /// The generation of the object with our change in it; of a pod, how often its
    /// containers will have started.
    pub(crate) generation: i64,
    /// False when everything was in place already.
    pub(crate) changed: bool,
}

/// Whether the server should keep the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    DryRun,
    Real,
}

impl Cluster {
    /// Makes `replacements` in `id`, against the freshest state when it changed meanwhile.
    ///
    /// # Errors
    /// Exit 6 when a reference is neither the old nor the new one; 7 and 8 as the API says;
    /// 1 when the server or an admission policy rejects the result.
    pub(crate) async fn patch(
        &self,
        id: &Id,
        replacements: &[Replacement],
        mode: Mode,
    ) -> Result<Patched> {
        let mut sent = None;
        for attempt in 0..ATTEMPTS {
            let object = self.read(id).await?;
            let operations = operations(id, &image_fields(id.kind, &object.data), replacements)?;
            if operations.is_empty() {
                return Ok(Patched {
                    generation: generation(&object),
                    changed: false,
                });
            }
            let patch = Patch(operations);
            match self.send(id, &patch, mode).await {
                Ok(object) => return patched(id, &object, replacements, mode),
                Err(err) if is_conflict(&err) => wait::pause(BACK_OFF * 2_u32.pow(attempt)).await,
                // A test failed, or the object would be invalid: the same patch on fresh
                // state tells which.
                Err(err) if is_invalid(&err) && sent.as_ref() != Some(&patch) => {}
                Err(err) => return Err(self.explain(err, &format!("patching {id}"))),
            }
            sent = Some(patch);
        }
        Err(Failure::conflict(format!(
            "{id} changed {ATTEMPTS} times while it was being patched"
        ))
        .hint("run it again when the other writer is done"))
    }

    async fn send(&self, id: &Id, patch: &Patch, mode: Mode) -> Result<DynamicObject, Error> {
        let params = PatchParams {
            dry_run: mode == Mode::DryRun,
            field_manager: Some(FIELD_MANAGER.into()),
            field_validation: Some(ValidationDirective::Strict),
            ..PatchParams::default()
        };
        let patch = api::Patch::<()>::Json(patch.clone());
        self.api(id.kind).patch(&id.name, &params, &patch).await
    }

    /// The object as it is now.
    ///
    /// # Errors
    /// As the API says; exit 1 when it is gone.
    pub(crate) async fn read(&self, id: &Id) -> Result<DynamicObject> {
        match self.api(id.kind).get_opt(&id.name).await {
            Ok(Some(object)) => Ok(object),
            Ok(None) => Err(Failure::failed(format!("{id} is gone"))),
            Err(err) => Err(self.explain(err, &format!("reading {id}"))),
        }
    }
}

/// Somebody else writes all the time.
fn is_conflict(err: &Error) -> bool {
    matches!(err, Error::Api(status) if status.code == 409)
}

/// Refused because of what somebody else wrote, or because of what we want.
fn is_invalid(err: &Error) -> bool {
    matches!(err, Error::Api(status) if status.code == 422)
}

/// What the server answered. A dry run shows as well when a webhook or a policy writes
/// something else than we asked for; in a real run the rollout would see it.
fn patched(
    id: &Id,
    object: &DynamicObject,
    replacements: &[Replacement],
    mode: Mode,
) -> Result<Patched> {
    if mode == Mode::DryRun
        && let Some(failure) = rewritten(id, object, replacements)
    {
        return Err(failure);
    }
    let slots = replacements.iter().map(|one| &one.slot);
    Ok(Patched {
        generation: match id.kind {
            Kind::Pod => in_place::starts(&object.data, slots),
            _ => generation(object),
        },
        changed: true,
    })
}

fn rewritten(id: &Id, object: &DynamicObject, replacements: &[Replacement]) -> Option<Failure> {
    let fields = image_fields(id.kind, &object.data);
    replacements.iter().find_map(|one| {
        let now = fields.iter().find(|field| field.slot == one.slot);
        let now = now.map_or("nothing", |field| field.literal.as_str());
        (now != one.to).then(|| {
            let message = format!("admission makes {} of {id} {now} instead of {}", one.slot, one.to);
            Failure::conflict(message).hint(
                "a mutating webhook or policy rewrites images: exempt the namespace or the registry",
            )
        })
    })
}

/// The operations that turn `fields`, as they are now, into what `replacements` want.
/// Empty when all of it is in place.
///
/// # Errors
/// Exit 6 when a reference is neither the old nor the new one, or its container is gone.
fn operations(
    id: &Id,
    fields: &[ImageField],
    replacements: &[Replacement],
) -> Result<Vec<PatchOperation>> {
    let mut all = Vec::new();
    for one in replacements {
        let field = fields.iter().find(|field| field.slot == one.slot);
        let field = field.ok_or_else(|| changed(id, one, "gone"))?;
        if field.literal == one.to {
            continue;
        }
        if field.literal != one.from {
            return Err(changed(id, one, &field.literal));
        }
        let tests = field.guards.iter().map(|(path, name)| (path, name));
        for (path, text) in tests.chain([(&field.path, &one.from)]) {
            all.push(PatchOperation::Test(TestOperation {
                path: pointer(path),
                value: Value::from(text.clone()),
            }));
        }
        let replace = ReplaceOperation {
            path: pointer(&field.path),
            value: Value::from(one.to.clone()),
        };
        all.push(PatchOperation::Replace(replace));
    }
    Ok(all)
}

fn changed(id: &Id, one: &Replacement, now: &str) -> Failure {
    Failure::conflict(format!(
        "{} of {id} was changed by somebody else: it is {now}, neither {} nor {}",
        one.slot, one.from, one.to
    ))
    .hint("look who changed it (`kubectl get -o yaml --show-managed-fields`), then run it again")
}

fn pointer(path: &str) -> PointerBuf {
    PointerBuf::parse(path).expect("paths are built from field names and indexes")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::Slot;
    use castlink_core::Exit;
    use serde_json::json;

    fn object() -> Value {
        json!({"spec": {"template": {"spec": {
            "initContainers": [{"name": "init", "image": "busybox:1"}],
            "containers": [{"name": "app", "image": "a:1", "env": [
                {"name": "OTHER", "value": "x"}, {"name": "SCANNERS_IMAGE", "value": "s:1"}]}],
        }}}})
    }

    fn replace(slot: Slot, from: &str, to: &str) -> Replacement {
        Replacement {
            slot,
            from: from.into(),
            to: to.into(),
        }
    }

    fn build(object: &Value, replacements: &[Replacement]) -> Result<Vec<PatchOperation>> {
        operations(
            &"Deployment/web".parse().unwrap(),
            &image_fields(Kind::Deployment, object),
            replacements,
        )
    }

    fn all() -> Vec<Replacement> {
        let env = Slot::Env {
            container: "app".into(),
            name: "SCANNERS_IMAGE".into(),
        };
        vec![
            replace(Slot::Init("init".into()), "busybox:1", "r/busybox:1"),
            replace(Slot::Container("app".into()), "a:1", "r/a:1"),
            replace(env, "s:1", "r/s:1"),
        ]
    }

    #[test]
    fn the_patch_changes_the_references_and_nothing_else() {
        let before = object();
        let mut after = before.clone();
        json_patch::patch(&mut after, &build(&before, &all()).unwrap()).unwrap();
        let text = before
            .to_string()
            .replace("busybox:1", "r/busybox:1")
            .replace("a:1", "r/a:1")
            .replace("s:1", "r/s:1");
        assert_eq!(after, serde_json::from_str::<Value>(&text).unwrap());
        assert!(build(&after, &all()).unwrap().is_empty(), "idempotent");
    }

    #[test]
    fn the_server_refuses_it_when_anything_moved() {
        let patch = build(&object(), &all()).unwrap();
        for (from, to) in [
            ("\"app\"", "\"renamed\""),
            ("SCANNERS_IMAGE", "MOVED"),
            ("a:1", "a:2"),
        ] {
            let mut moved: Value =
                serde_json::from_str(&object().to_string().replace(from, to)).unwrap();
            assert!(json_patch::patch(&mut moved, &patch).is_err(), "{from}");
        }
    }

    #[test]
    fn a_foreign_change_is_a_conflict() {
        for (slot, from) in [
            (Slot::Container("app".into()), "a:0"),
            (Slot::Container("gone".into()), "a:1"),
        ] {
            let failure = build(&object(), &[replace(slot, from, "r/a:1")]).unwrap_err();
            assert_eq!(failure.exit(), Exit::Conflict);
        }
    }
}

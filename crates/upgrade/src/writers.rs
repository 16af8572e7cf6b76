//! Who wrote an image reference last, as `metadata.managedFields` records it field by
//! field. A label says who manages an object; this says who really wrote, and when.

use std::fmt;

use kube::api::DynamicObject;
use serde_json::{Value, json};

use crate::{
    client::FIELD_MANAGER,
    workload::{Id, Kind, Slot, Workload},
};

/// The entry of managedFields that holds a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Writer {
    /// `helm`, `argocd-controller`, `kubectl-client-side-apply`.
    pub(crate) manager: String,
    /// By server-side apply: its next apply is refused when somebody else has written.
    pub(crate) applies: bool,
    /// `2026-01-31T12:00:00Z`.
    pub(crate) time: Option<String>,
}

impl Writer {
    /// True when it wrote before `moment`: `2026-01-31 12:00:00.5`, UTC. The API server keeps
    /// whole seconds: what was written within the second of `moment` may be later.
    pub(crate) fn is_before(&self, moment: &str) -> bool {
        let second = moment.split_once('.').map_or(moment, |(second, _)| second);
        let time = self.time.as_deref().map(|time| time.replace('T', " "));
        time.is_some_and(|time| time.trim_end_matches('Z') < second)
    }
}

impl fmt::Display for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.manager)?;
        match &self.time {
            Some(time) => write!(f, " at {time}"),
            None => Ok(()),
        }
    }
}

/// Who wrote `slot` of `object`; with several, the one that wrote last.
pub(crate) fn of(object: &DynamicObject, kind: Kind, slot: &Slot) -> Option<Writer> {
    let paths = paths(kind, slot);
    let entries = object.metadata.managed_fields.iter().flatten();
    let holders = entries.filter(|entry| {
        let fields = entry.fields_v1.as_ref().map(|fields| &fields.0);
        fields.is_some_and(|fields| paths.iter().any(|path| holds(fields, path)))
    });
    let writers = holders.map(|entry| Writer {
        manager: entry.manager.clone().unwrap_or_default(),
        applies: entry.operation.as_deref() == Some("Apply"),
        time: entry.time.as_ref().map(|time| time.0.to_string()),
    });
    writers.max_by(|a, b| a.time.cmp(&b.time))
}

fn holds(fields: &Value, path: &[String]) -> bool {
    path.iter()
        .try_fold(fields, |at, key| at.get(key))
        .is_some()
}

/// The keys that lead to `slot` in a `fieldsV1`. A variable can be one of an init
/// container.
fn paths(kind: Kind, slot: &Slot) -> Vec<Vec<String>> {
    let to = |list: &str, name: &str, rest: Vec<String>| {
        let base = kind.pod_spec().split('/').skip(1).map(field);
        base.chain([field(list), key(name)]).chain(rest).collect()
    };
    let image = || vec![field("image")];
    match slot {
        Slot::Container(name) => vec![to("containers", name, image())],
        Slot::Init(name) => vec![to("initContainers", name, image())],
        Slot::Ephemeral(name) => vec![to("ephemeralContainers", name, image())],
        Slot::Volume(name) => vec![to(
            "volumes",
            name,
            vec![field("image"), field("reference")],
        )],
        Slot::Env { container, name } => ["containers", "initContainers"]
            .map(|list| {
                to(
                    list,
                    container,
                    vec![field("env"), key(name), field("value")],
                )
            })
            .into(),
    }
}

fn field(name: &str) -> String {
    format!("f:{name}")
}

/// An item of a list whose items are told apart by name.
fn key(name: &str) -> String {
    format!("k:{}", json!({ "name": name }))
}

/// Somebody who wrote one of the references with server-side apply, and will not be able to
/// do so again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Clash {
    pub(crate) id: Id,
    pub(crate) manager: String,
    pub(crate) slots: Vec<Slot>,
}

/// The managers whose next server-side apply will be refused once `slots` of `workload` are
/// ours, until they apply the same references.
pub(crate) fn clashes<'a>(
    workload: &Workload,
    slots: impl Iterator<Item = &'a Slot>,
) -> Vec<Clash> {
    let mut all: Vec<Clash> = Vec::new();
    for slot in slots {
        let writer = of(&workload.object, workload.id.kind, slot);
        let Some(writer) = writer.filter(|one| one.applies && one.manager != FIELD_MANAGER) else {
            continue;
        };
        match all.iter_mut().find(|one| one.manager == writer.manager) {
            Some(clash) => clash.slots.push(slot.clone()),
            None => all.push(Clash {
                id: workload.id.clone(),
                manager: writer.manager,
                slots: vec![slot.clone()],
            }),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the API server writes it after an apply by `argocd` and an update by us.
    fn object() -> DynamicObject {
        let entry = |manager: &str, operation: &str, time: &str, fields: Value| {
            json!({"manager": manager, "operation": operation, "time": time, "apiVersion": "apps/v1",
                "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {"f:template": {"f:spec": fields}}}})
        };
        let containers = |name: &str, rest: Value| json!({"f:containers": {format!("k:{{\"name\":\"{name}\"}}"): rest}});
        serde_json::from_value(json!({"metadata": {"name": "web", "managedFields": [
            entry("argocd", "Apply", "2026-01-01T00:00:00Z", containers("app", json!({".": {}, "f:image": {}, "f:name": {},
                "f:env": {"k:{\"name\":\"SCANNERS_IMAGE\"}": {"f:value": {}}}}))),
            entry("castlink", "Update", "2026-01-02T00:00:00Z", containers("side", json!({"f:image": {}}))),
            entry("helm", "Apply", "2026-01-01T00:00:00Z", containers("side", json!({"f:image": {}}))),
            entry("kubectl", "Update", "2026-01-01T00:00:00Z",
                json!({"f:volumes": {"k:{\"name\":\"model\"}": {"f:image": {"f:reference": {}}}}})),
        ]}}))
        .unwrap()
    }

    fn env() -> Slot {
        Slot::Env {
            container: "app".into(),
            name: "SCANNERS_IMAGE".into(),
        }
    }

    #[test]
    fn within_one_second_nothing_is_earlier() {
        let writer = |time: &str| Writer {
            manager: "helm".into(),
            applies: false,
            time: Some(time.into()),
        };
        for (time, before) in [
            ("2026-01-31T11:59:59Z", true),
            ("2026-01-31T12:00:00Z", false),
            ("2026-01-31T12:00:01Z", false),
        ] {
            assert_eq!(
                writer(time).is_before("2026-01-31 12:00:00.5"),
                before,
                "{time}"
            );
        }
    }

    #[test]
    fn the_last_writer_of_each_field_is_found() {
        let object = object();
        for (slot, want) in [
            (Slot::Container("app".into()), Some(("argocd", true))),
            (env(), Some(("argocd", true))),
            (Slot::Container("side".into()), Some(("castlink", false))),
            (Slot::Volume("model".into()), Some(("kubectl", false))),
            (Slot::Init("app".into()), None),
            (Slot::Container("other".into()), None),
        ] {
            let got = of(&object, Kind::Deployment, &slot);
            let got = got.as_ref().map(|one| (one.manager.as_str(), one.applies));
            assert_eq!(got, want, "{slot}");
        }
        assert_eq!(of(&object, Kind::CronJob, &env()), None);
        let writer = of(&object, Kind::Deployment, &env()).unwrap();
        assert_eq!(writer.time.as_deref(), Some("2026-01-01T00:00:00Z"));
    }

    #[test]
    fn one_clash_for_each_manager() {
        let workload = Workload::new(Kind::Deployment, object());
        let slots = [
            Slot::Container("app".into()),
            env(),
            Slot::Container("side".into()),
        ];
        let all = clashes(&workload, slots.iter());
        assert_eq!(all.len(), 1, "{all:?}");
        assert_eq!((all[0].manager.as_str(), all[0].slots.len()), ("argocd", 2));
    }
}

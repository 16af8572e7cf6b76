//! Workloads and the places in them that hold image references. One extraction serves
//! every kind: only the path to the pod spec differs.
//!
//! Never here: requests, or what a reference should become.

use std::{fmt, str::FromStr};

use castlink_core::Failure;
use castlink_rewrite::places::{self, Place};
use kube::api::{ApiResource, DynamicObject, GroupVersionKind};
use serde_json::Value;

use crate::{json::text, nodes::Placement, owner};

pub(crate) use castlink_rewrite::{kind::Kind, places::Slot};

/// What the API calls the resource of `kind`.
pub(crate) fn resource(kind: Kind) -> ApiResource {
    let gvk = GroupVersionKind::gvk(kind.group(), "v1", kind.name());
    ApiResource::from_gvk_with_plural(&gvk, kind.plural())
}

/// A workload of the namespace: `Deployment/castai-agent`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Id {
    pub(crate) kind: Kind,
    pub(crate) name: String,
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind.name(), self.name)
    }
}

impl FromStr for Id {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self, Failure> {
        let parsed = text.split_once('/').and_then(|(kind, name)| {
            let kind = Kind::ALL.into_iter().find(|known| known.name() == kind)?;
            (!name.is_empty()).then(|| Self {
                kind,
                name: name.into(),
            })
        });
        parsed.ok_or_else(|| {
            Failure::usage(format!("`{text}` is not a workload; write Deployment/NAME"))
        })
    }
}

/// One reference in an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ImageField {
    pub(crate) slot: Slot,
    /// JSON pointer to the reference.
    pub(crate) path: String,
    /// JSON pointers and the names that must stand there for `path` to mean this slot.
    pub(crate) guards: Vec<(String, String)>,
    /// The reference as it is written.
    pub(crate) literal: String,
}

/// A workload as observed.
#[derive(Debug, Clone)]
pub(crate) struct Workload {
    pub(crate) id: Id,
    /// Who manages it: `helm:castai-agent`.
    pub(crate) owner: Option<String>,
    /// The object that made it, when there is one: it would put a patch back.
    pub(crate) controller: Option<String>,
    pub(crate) fields: Vec<ImageField>,
    pub(crate) placement: Placement,
    /// A StatefulSet that replaces its pods one after the other, only past ready ones.
    pub(crate) ordered: bool,
    /// The object as the server sent it.
    pub(crate) object: DynamicObject,
}

impl Workload {
    pub(crate) fn new(kind: Kind, object: DynamicObject) -> Self {
        let pod_spec = object.data.pointer(kind.pod_spec()).unwrap_or(&Value::Null);
        Self {
            id: Id {
                kind,
                name: object.metadata.name.clone().unwrap_or_default(),
            },
            owner: owner::of(&object),
            controller: owner::controller(&object.metadata),
            fields: image_fields(kind, &object.data),
            placement: Placement::of(kind, pod_spec),
            ordered: kind == Kind::StatefulSet
                && text(&object.data, "/spec/podManagementPolicy") != Some("Parallel"),
            object,
        }
    }

    /// Made from a template that is looked at by itself: a run of a CronJob, a revision of
    /// a Deployment.
    pub(crate) fn is_revision(&self) -> bool {
        let maker = self.controller.as_deref().unwrap_or_default();
        match self.id.kind {
            Kind::Job => !maker.is_empty(),
            Kind::ReplicaSet => maker.starts_with("Deployment/"),
            _ => false,
        }
    }

    /// A pod whose manifest lies on its node; the API server shows a copy of it.
    pub(crate) fn is_static(&self) -> bool {
        let annotations = self.object.metadata.annotations.as_ref();
        annotations.is_some_and(|all| all.contains_key("kubernetes.io/config.mirror"))
    }
}

/// How often the specification of `object` has been changed.
pub(crate) fn generation(object: &DynamicObject) -> i64 {
    object.metadata.generation.unwrap_or_default()
}

/// Every image reference in `object`, the body of a resource of `kind`.
pub(crate) fn image_fields(kind: Kind, object: &Value) -> Vec<ImageField> {
    let base = kind.pod_spec();
    let spec = object.pointer(base).unwrap_or(&Value::Null);
    let places = places::in_pod_spec(spec).into_iter();
    places.filter_map(|place| field(base, place)).collect()
}

/// The pointers to a place; none where no reference stands, or where a name is missing that
/// would have to guard it.
fn field(base: &str, place: Place<&Value>) -> Option<ImageField> {
    let literal = place.node.as_str().filter(|text| !text.is_empty())?;
    let entry = format!("{base}/{}/{}", place.list, place.index);
    let (path, guards) = match (&place.slot, place.variable) {
        (Slot::Env { container, name }, Some(at)) => (
            format!("{entry}/env/{at}/value"),
            vec![
                (format!("{entry}/name"), container.clone()),
                (format!("{entry}/env/{at}/name"), name.clone()),
            ],
        ),
        (Slot::Volume(name), _) => (
            format!("{entry}/image/reference"),
            vec![(format!("{entry}/name"), name.clone())],
        ),
        (Slot::Container(name) | Slot::Init(name) | Slot::Ephemeral(name), _) => (
            format!("{entry}/image"),
            vec![(format!("{entry}/name"), name.clone())],
        ),
        (Slot::Env { .. }, None) => return None,
    };
    Some(ImageField {
        slot: place.slot,
        path,
        guards,
        literal: literal.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn template() -> Value {
        json!({
            "initContainers": [{"name": "obi-init", "image": "busybox:1.37.0-musl"}],
            "containers": [
                {"name": "app", "image": "r/app:1", "env": [
                    {"name": "SCANNERS_IMAGE", "value": "r/scan:1"},
                    {"name": "AGENT_IMAGE", "value": "v0.21.0"},
                    {"name": "JMX_EXPORTER_INIT_IMAGE", "valueFrom": null},
                ]},
                {"name": "injected later"},
            ],
            "volumes": [{"name": "model", "image": {"reference": "r/model:1"}}, {"name": "tmp", "emptyDir": {}}],
        })
    }

    fn found(kind: Kind, object: &Value) -> Vec<String> {
        let fields = image_fields(kind, object);
        for field in &fields {
            assert_eq!(
                text(object, &field.path),
                Some(field.literal.as_str()),
                "{}",
                field.path
            );
            for (path, name) in &field.guards {
                assert_eq!(text(object, path), Some(name.as_str()), "{path}");
            }
        }
        fields
            .iter()
            .map(|field| format!("{}={}", field.slot, field.literal))
            .collect()
    }

    #[test]
    fn every_place_of_every_kind_is_found() {
        let want = [
            "init container obi-init=busybox:1.37.0-musl",
            "container app=r/app:1",
            "env SCANNERS_IMAGE of container app=r/scan:1",
            "volume model=r/model:1",
        ];
        let spec = template();
        let plain = json!({"spec": {"template": {"spec": spec}}});
        for kind in [
            Kind::Deployment,
            Kind::DaemonSet,
            Kind::StatefulSet,
            Kind::Job,
        ] {
            assert_eq!(found(kind, &plain), want, "{kind:?}");
        }
        let cron = json!({"spec": {"jobTemplate": plain}});
        assert_eq!(found(Kind::CronJob, &cron), want);
        assert_eq!(found(Kind::Pod, &json!({"spec": spec})), want);
        assert!(found(Kind::Pod, &json!({"spec": null})).is_empty());
    }

    #[test]
    fn slots_read_back_from_a_journal() {
        for slot in [
            Slot::Container("a".into()),
            Slot::Init("a".into()),
            Slot::Ephemeral("a".into()),
            Slot::Volume("a".into()),
            Slot::Env {
                container: "a".into(),
                name: "SCANNERS_IMAGE".into(),
            },
        ] {
            assert_eq!(Slot::from_field(&slot.field()), Some(slot));
        }
        assert_eq!(Slot::from_field("tag cast.ai/routable"), None);
    }

    #[test]
    fn identifiers_read_back() {
        let id = Id {
            kind: Kind::StatefulSet,
            name: "x".into(),
        };
        assert_eq!(id.to_string().parse::<Id>().unwrap(), id);
        assert!("subnet/subnet-1".parse::<Id>().is_err());
    }
}

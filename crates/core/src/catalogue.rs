//! The dated catalogue of CAST AI's PrivateLink endpoint services, and the user's own
//! file laid over it.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::{Failure, Result, config::nearest};

const BUILT_IN: &str = include_str!("../data/privatelink.toml");

/// Endpoint services by region and role.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Catalogue {
    /// When the list was true.
    #[serde(default)]
    pub date: String,
    #[serde(default)]
    services: BTreeMap<String, String>,
    #[serde(default)]
    regions: BTreeMap<String, BTreeMap<String, String>>,
    /// The files that entries come from, by region and role; those that are missing here
    /// are built in.
    #[serde(skip)]
    origins: BTreeMap<(String, String), String>,
}

/// One endpoint service of a region.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Service {
    /// The role: `rest-api`.
    pub role: String,
    /// The full service name: `com.amazonaws.vpce.us-east-1.vpce-svc-0f6…`.
    pub name: String,
    /// What it is for.
    pub title: String,
}

impl Catalogue {
    /// The catalogue that ships with castlink.
    #[must_use]
    pub fn built_in() -> Self {
        toml::from_str(BUILT_IN).expect("the built-in catalogue is checked by a test")
    }

    /// Lays a user's file (same format) over this catalogue: its regions and roles are
    /// added, and win where both have one. `name` is the file's, for errors.
    ///
    /// # Errors
    /// Exit 2 when it is not a catalogue, or a service id is not one.
    pub fn overlay(mut self, name: &str, text: &str) -> Result<Self> {
        let theirs: Self = toml::from_str(text)
            .map_err(|err| Failure::usage(format!("catalogue {name}")).because(err))?;
        for (region, services) in &theirs.regions {
            for (role, id) in services {
                full_name(region, id)
                    .map_err(|err| err.context(format!("catalogue {name}: {role} in {region}")))?;
                self.origins
                    .insert((region.clone(), role.clone()), name.to_owned());
            }
            self.regions
                .entry(region.clone())
                .or_default()
                .extend(services.clone());
        }
        self.services.extend(theirs.services);
        Ok(self)
    }

    /// The services of `region`, or of them those whose role is in `roles` (empty = all).
    ///
    /// # Errors
    /// Exit 2 when the region or a role is not in the catalogue.
    pub fn services(&self, region: &str, roles: &[String]) -> Result<Vec<Service>> {
        let ids = self
            .regions
            .get(region)
            .ok_or_else(|| self.no_region(region))?;
        let all: Vec<&String> = ids.keys().collect();
        let wanted = if roles.is_empty() {
            all
        } else {
            roles.iter().collect()
        };
        wanted
            .into_iter()
            .map(|role| {
                let id = ids.get(role).ok_or_else(|| no_role(role, region, ids))?;
                Ok(Service {
                    role: role.clone(),
                    name: full_name(region, id)?,
                    title: self.services.get(role).unwrap_or(role).clone(),
                })
            })
            .collect()
    }

    /// Where an entry is from: `built-in`, or the name of the file that was laid over it.
    #[must_use]
    pub fn origin(&self, region: &str, role: &str) -> &str {
        self.origins
            .get(&(region.to_owned(), role.to_owned()))
            .map_or("built-in", String::as_str)
    }

    /// The regions in the catalogue.
    pub fn regions(&self) -> impl Iterator<Item = &str> {
        self.regions.keys().map(String::as_str)
    }

    fn no_region(&self, region: &str) -> Failure {
        let known: Vec<&str> = self.regions().collect();
        Failure::usage(format!(
            "region {region} is not in the catalogue of CAST AI endpoint services of {}",
            self.date
        ))
        .hint(format!(
            "listed: {}; ask CAST AI for the service names of {region} and put them into a file: endpoints.catalogue in castlink.toml, or --catalogue FILE",
            known.join(", ")
        ))
    }
}

fn no_role(role: &str, region: &str, ids: &BTreeMap<String, String>) -> Failure {
    let known: Vec<&str> = ids.keys().map(String::as_str).collect();
    let failure = Failure::usage(format!("no endpoint service `{role}` in {region}"));
    match nearest(role, &known) {
        Some(near) => failure.hint(format!("did you mean `{near}`?")),
        None => failure.hint(format!("known: {}", known.join(", "))),
    }
}

/// `vpce-svc-…` or a full service name, as a full name of `region`.
fn full_name(region: &str, id: &str) -> Result<String> {
    // China's partition turns the whole name around.
    let domain = if region.starts_with("cn-") {
        "cn.com.amazonaws"
    } else {
        "com.amazonaws"
    };
    let prefix = format!("{domain}.vpce.{region}.");
    let bare = id.strip_prefix(&prefix).unwrap_or(id);
    let hex = bare.strip_prefix("vpce-svc-").unwrap_or_default();
    if hex.len() == 17 && hex.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Ok(format!("{prefix}{bare}"));
    }
    Err(
        Failure::usage(format!("`{id}` is not an endpoint service of {region}")).hint(format!(
            "write vpce-svc- and 17 hexadecimal digits, or {prefix}vpce-svc-…"
        )),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn six_services_in_each_of_four_regions() {
        let catalogue = Catalogue::built_in();
        assert_eq!(catalogue.regions().count(), 4);
        for region in catalogue.regions() {
            let services = catalogue.services(region, &[]).unwrap();
            assert_eq!(services.len(), 6, "{region}");
            assert!(services.iter().all(|s| s.title != s.role), "{region}");
        }
    }

    #[test]
    fn a_users_file_adds_a_region() {
        let text = "[regions.eu-west-1]\nrest-api = 'vpce-svc-0123456789abcdef0'";
        let catalogue = Catalogue::built_in().overlay("mine.toml", text).unwrap();
        let services = catalogue.services("eu-west-1", &[]).unwrap();
        assert_eq!(
            services[0].name,
            "com.amazonaws.vpce.eu-west-1.vpce-svc-0123456789abcdef0"
        );
        assert_eq!(catalogue.services("us-east-1", &[]).unwrap().len(), 6);
    }

    #[test]
    fn an_entry_knows_its_origin_and_its_partition() {
        let text = "[regions.cn-north-1]
rest-api = 'vpce-svc-0123456789abcdef0'
kvisor = 'cn.com.amazonaws.vpce.cn-north-1.vpce-svc-0123456789abcdef1'
[regions.us-gov-west-1]
rest-api = 'vpce-svc-0123456789abcdef2'";
        let catalogue = Catalogue::built_in().overlay("mine.toml", text).unwrap();
        let names = |region: &str| -> Vec<String> {
            let services = catalogue.services(region, &[]).unwrap();
            services.into_iter().map(|service| service.name).collect()
        };
        assert_eq!(
            names("cn-north-1"),
            [
                "cn.com.amazonaws.vpce.cn-north-1.vpce-svc-0123456789abcdef1",
                "cn.com.amazonaws.vpce.cn-north-1.vpce-svc-0123456789abcdef0"
            ]
        );
        assert_eq!(
            names("us-gov-west-1"),
            ["com.amazonaws.vpce.us-gov-west-1.vpce-svc-0123456789abcdef2"]
        );
        assert_eq!(catalogue.origin("cn-north-1", "kvisor"), "mine.toml");
        assert_eq!(catalogue.origin("us-east-1", "kvisor"), "built-in");
    }

    #[test]
    fn mistakes_are_usage_errors_with_the_fix() {
        let catalogue = Catalogue::built_in();
        let err = catalogue.services("eu-west-1", &[]).unwrap_err();
        assert!(err.hint_text().unwrap().contains("ask CAST AI"), "{err:?}");
        let err = catalogue
            .services("us-east-1", &["rest".into()])
            .unwrap_err();
        assert!(err.hint_text().is_some());
        for text in ["[regions.x]\na = 'vpce-svc-1'", "[region.x]\na = 'b'"] {
            assert!(Catalogue::built_in().overlay("f", text).is_err(), "{text}");
        }
    }
}

//! What is worth knowing about a plan, although nothing is done about it. Pure.

use std::collections::BTreeMap;

use castlink_core::catalogue;

use crate::{aws, planner::Planner};

impl Planner<'_> {
    /// One line per thing, not per service.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let mut warnings = self.zones_without();
        warnings.extend(self.far());
        for wanted in &self.wanted {
            warnings.extend(self.nameless(wanted));
            warnings.extend(self.single_stack(wanted));
            warnings.extend(self.leftovers(wanted));
        }
        warnings.extend(self.partly_closed());
        warnings.extend(
            self.world
                .unread_zones
                .iter()
                .map(|why| format!("private hosted zones were not compared with the names: {why}")),
        );
        warnings
    }

    /// Zones with nodes where services are not offered, with the services.
    fn zones_without(&self) -> Vec<String> {
        let mut missing: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for wanted in &self.wanted {
            let Some(service) = self.service(&wanted.name) else {
                continue;
            };
            let offered = self.zones.offering(service);
            let mut zones = self.zones.names();
            zones.retain(|zone| !offered.contains(zone));
            // Offered nowhere is an error of its own.
            if !zones.is_empty() && !offered.is_empty() {
                missing
                    .entry(zones.join(", "))
                    .or_default()
                    .push(&wanted.role);
            }
        }
        let line = |(zones, roles): (String, Vec<&str>)| {
            format!(
                "not offered in {zones}: {}; nodes there go through another zone",
                roles.join(", ")
            )
        };
        missing.into_iter().map(line).collect()
    }

    fn far(&self) -> Option<String> {
        let there = self.settings.service_region.as_deref()?;
        Some(format!(
            "the services are in {there}: data between regions costs extra, and every call is slower"
        ))
    }

    /// Why an endpoint that is made gets no IPv6 addresses although they are wanted.
    fn single_stack(&self, wanted: &catalogue::Service) -> Option<String> {
        let service = self.service(&wanted.name)?;
        if !self.settings.dual_stack || service.gateway || self.adopted(&wanted.name).is_some() {
            return None;
        }
        if !service.dual_stack {
            return Some(format!(
                "{} takes IPv4 only: its endpoint is made without IPv6",
                wanted.role
            ));
        }
        let chosen = self.chosen(&wanted.name);
        let lacking: Vec<&str> = chosen
            .iter()
            .filter(|id| !self.wants_both(service, std::slice::from_ref(id)))
            .map(String::as_str)
            .collect();
        (!lacking.is_empty()).then(|| {
            format!(
                "{} has no IPv6 CIDR: the endpoint of {} is made without IPv6",
                lacking.join(", "),
                wanted.role
            )
        })
    }

    fn nameless(&self, wanted: &catalogue::Service) -> Option<String> {
        let service = self.service(&wanted.name)?;
        if !self.settings.private_dns || service.gateway || self.wants_names(service) {
            return None;
        }
        let why = match service.private_names.as_slice() {
            [] => "has no private DNS name",
            _ => "has a private DNS name that is not verified",
        };
        Some(format!(
            "{} {why}: its endpoint is made without private DNS",
            wanted.role
        ))
    }

    /// Dead endpoints, and live ones besides the adopted one.
    fn leftovers(&self, wanted: &catalogue::Service) -> Vec<String> {
        let adopted = self
            .adopted(&wanted.name)
            .map(|endpoint| endpoint.id.as_str());
        let all = self
            .world
            .endpoints
            .iter()
            .filter(|endpoint| endpoint.service == wanted.name)
            .filter(|endpoint| endpoint.gateway == aws::is_gateway(&wanted.name));
        let left = all.filter(|endpoint| {
            !endpoint.state.is_leaving() && Some(endpoint.id.as_str()) != adopted
        });
        left.map(|endpoint| {
            let said = endpoint
                .last_error
                .as_ref()
                .map(|error| format!(": {error}"))
                .unwrap_or_default();
            format!(
                "{} ({}) is {} and left alone{said}",
                endpoint.id, wanted.role, endpoint.state
            )
        })
        .collect()
    }
}

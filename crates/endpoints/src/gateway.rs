//! Decides about gateway endpoints: routes in the tables of the subnets where nodes may
//! be, no interfaces, no group, no names. Pure.

use castlink_core::catalogue;
use castlink_ec2::{Endpoint, EndpointChange, EndpointSpec, State};

use crate::{plan::Verdict, planner::Planner};

impl Planner<'_> {
    /// What is done for a service that comes as a gateway.
    pub(crate) fn gateway(
        &self,
        wanted: &catalogue::Service,
        endpoint: Option<&Endpoint>,
    ) -> Verdict {
        let own = |tables: Vec<&str>| tables.into_iter().map(ToOwned::to_owned).collect();
        let Some(endpoint) = endpoint else {
            return Verdict::Create {
                spec: EndpointSpec {
                    vpc: self.world.vpc.id.clone(),
                    service: wanted.name.clone(),
                    tags: self.settings.tags_for(&format!("castlink-{}", wanted.role)),
                    route_tables: own(self.world.node_tables().into_iter().collect()),
                    ..EndpointSpec::default()
                },
                own_group: false,
                after: None,
            };
        };
        let add_route_tables: Vec<String> = own(self.world.without_route(endpoint));
        match endpoint.state {
            _ if !add_route_tables.is_empty() => Verdict::Modify {
                change: EndpointChange {
                    id: endpoint.id.clone(),
                    add_route_tables,
                    ..EndpointChange::default()
                },
                own_group: false,
            },
            State::Available => Verdict::Present,
            _ => Verdict::Pending(endpoint.state.clone()),
        }
    }
}

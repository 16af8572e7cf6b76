//! The EC2 and EKS calls that the network commands share. Domain values out; no SDK
//! type in a public signature.
//!
//! The only crate that links `aws-sdk-ec2`: its compile takes gigabytes. Nothing here
//! decides anything; planners of the commands do.
#![warn(missing_docs)]

mod cluster;
mod convert;
mod create;
mod dns;
mod endpoints;
mod groups;
mod model;
mod network;
mod nodes;
mod problem;
mod subnets;
mod tags;
mod token;

pub use create::{EndpointChange, EndpointSpec};
pub use dns::DnsAttribute;
pub use endpoints::Undeleted;
pub use groups::RULE_TEXT;
pub use model::{
    Cluster, Endpoint, FargateProfile, Group, HostedZone, Instance, NodeGroup, Routes, Rule,
    Service, State, Subnet, Tags, Vpc,
};
pub use network::Network;
pub use problem::{Problem, Refusal};
pub use token::client_token;

//! Real servers for the sandbox and the test suites.

pub mod aws_gate;
pub mod aws_stack;
pub mod bench;
pub mod cache;
pub mod control_plane;
pub mod ecr;
pub mod ecr_gate;
pub mod faults;
mod golang;
pub mod iam;
pub mod knobs;
pub mod kubelet;
pub mod mirrored;
pub mod moto;
pub mod namespace;
pub mod network;
pub mod peers;
pub mod pki;
pub mod process;
pub mod products;
pub mod registry;
pub mod sandbox;
pub mod seed;
pub mod servers;
pub mod stack;
pub mod upstream_gate;
pub mod wire;

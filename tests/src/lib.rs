//! Real servers for the sandbox and the test suites.

pub mod aws_gate;
pub mod aws_stack;
pub mod cache;
pub mod control_plane;
pub mod ecr;
pub mod ecr_gate;
pub mod faults;
pub mod knobs;
pub mod kubelet;
pub mod moto;
pub mod pki;
pub mod process;
pub mod registry;
pub mod seed;
pub mod servers;
pub mod wire;
pub mod namespace;
pub mod products;
pub mod network;
pub mod sandbox;
pub mod stack;
pub mod mirrored;

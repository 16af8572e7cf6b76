//! The rules of the AWS and ECR gates that the products' correctness rests on, each driven
//! over HTTP as a product would. Where the gates and AWS differ, products are tested
//! against something that does not exist.

#![expect(clippy::unwrap_used, reason = "a test fails where it is surprised")]
#![expect(
    clippy::print_stderr,
    reason = "setting servers up takes long enough to say so"
)]

#[path = "gates/ec2.rs"]
mod ec2;
#[path = "gates/ec2_rules.rs"]
mod ec2_rules;
#[path = "gates/ecr_api.rs"]
mod ecr_api;
#[path = "gates/harness.rs"]
mod harness;
#[path = "gates/registry.rs"]
mod registry;
#[path = "gates/registry_reads.rs"]
mod registry_reads;
#[path = "gates/seeding.rs"]
mod seeding;

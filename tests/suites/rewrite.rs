//! `castlink-upgrade rewrite` and `images` of manifests, from outside: the built binary, its
//! streams and its exit codes. No server.

#[path = "rewrite/harness.rs"]
mod harness;
#[path = "rewrite/images.rs"]
mod images;
#[path = "rewrite/mapping.rs"]
mod mapping;
#[path = "rewrite/proxy.rs"]
mod proxy;
#[path = "rewrite/refusals.rs"]
mod refusals;
#[path = "rewrite/shapes.rs"]
mod shapes;

//! What is seeded without being asked for: every image of CAST AI's core components as
//! their charts write them, in two releases.

/// Where CAST AI publishes its images.
pub const LIBRARY: &str = "us-docker.pkg.dev/castai-hub/library/";
/// Where it publishes the same images again.
pub const MIRROR: &str = "ghcr.io/castai/images/";

/// Repositories below [`LIBRARY`] and [`MIRROR`], with the tags of two releases.
const COMPONENTS: [(&str, [&str; 2]); 19] = [
    ("agent", ["v0.161.1", "v0.160.0"]),
    ("busybox", ["1.37.0", "1.36.1"]),
    ("castware-operator", ["v0.10.1", "v0.10.0"]),
    ("cluster-controller", ["v0.63.6", "v0.63.5"]),
    ("cpa/cpvpa", ["v0.8.12", "v0.8.11"]),
    ("evictor", ["v0.35.143", "v0.35.142"]),
    ("jmx-exporter-init", ["1.6.0-v2", "1.6.0-v1"]),
    ("kubectl", ["v1.35.7", "v1.35.6"]),
    ("kvisor-agent", ["v1.164.8", "v1.164.7"]),
    ("kvisor-controller", ["v1.164.8", "v1.164.7"]),
    ("kvisor-event-generator", ["v1.164.8", "v1.164.7"]),
    ("kvisor-scanners", ["v1.164.8", "v1.164.7"]),
    ("pod-mutator", ["v0.17.6", "v0.17.5"]),
    ("pod-pinner", ["v1.13.0", "v1.12.0"]),
    ("prom/prometheus", ["v3.11.3", "v3.11.2"]),
    ("reliability-metrics-ch-exporter", ["v0.3.19", "v0.3.18"]),
    ("reliability-metrics-otel-collector", ["v0.1.11", "v0.1.10"]),
    ("spot-handler", ["v0.23.2", "v0.23.1"]),
    ("workload-autoscaler", ["v1.9.3", "v1.9.2"]),
];

/// Images that the charts take from elsewhere, as they write them.
const OTHERS: [(&str, [&str; 2]); 12] = [
    ("castai/hibernate", ["v0.14", "v0.13"]),
    ("busybox", ["1.37.0-musl", "1.36.1-musl"]),
    (
        "clickhouse/clickhouse-server",
        ["25.2.1.3085-alpine", "25.1.5.31-alpine"],
    ),
    (
        "ghcr.io/castai/kvisor/kvisor-agent",
        ["v1.164.8", "v1.164.7"],
    ),
    (
        "ghcr.io/castai/kvisor/kvisor-controller",
        ["v1.164.8", "v1.164.7"],
    ),
    (
        "ghcr.io/castai/kvisor/kvisor-event-generator",
        ["v1.164.8", "v1.164.7"],
    ),
    (
        "ghcr.io/castai/kvisor/kvisor-scanners",
        ["v1.164.8", "v1.164.7"],
    ),
    ("lachlanevenson/k8s-kubectl", ["v1.25.4", "v1.25.3"]),
    (
        "nvcr.io/nvidia/k8s/dcgm-exporter",
        ["4.5.2-4.8.1-ubuntu22.04", "3.3.7-3.5.0-ubuntu22.04"],
    ),
    ("otel/ebpf-instrument", ["v0.8.0", "v0.7.0"]),
    ("rancher/kubectl", ["v1.35.6", "v1.35.0"]),
    ("registry.k8s.io/cpa/cpvpa", ["v0.8.4", "v0.8.3"]),
];

/// The references, the newest release of each image first.
#[must_use]
pub fn defaults() -> Vec<String> {
    let below = |prefix: &'static str| {
        COMPONENTS
            .iter()
            .map(move |(name, tags)| (format!("{prefix}{name}"), tags))
    };
    let others = OTHERS.iter().map(|(name, tags)| ((*name).to_owned(), tags));
    let all = below(LIBRARY).chain(below(MIRROR)).chain(others);
    all.flat_map(|(name, tags)| tags.map(|tag| format!("{name}:{tag}")))
        .collect()
}

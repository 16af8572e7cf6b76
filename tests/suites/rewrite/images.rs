//! `images` of manifests and of Helm values: the records that the mirror reads.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::harness::{ECR, Place, fixture, pod};

/// The references of the records on stdout, and who uses each.
fn records(stdout: &str) -> Result<Vec<(String, Vec<String>)>> {
    let mut found = Vec::new();
    for line in stdout.lines() {
        let record: Value = serde_json::from_str(line)?;
        if record["kind"] == "image" {
            let users = serde_json::from_value(record["used_by"].clone())?;
            found.push((serde_json::from_value(record["source"].clone())?, users));
        }
    }
    Ok(found)
}

#[test]
fn manifests_are_listed_with_file_document_and_object() -> Result<()> {
    let place = Place::new()?;
    place.file("components.yaml", &fixture("components.yaml")?)?;
    let listed = place.call(
        &["images", "-f", "components.yaml", "-f", "-"],
        pod(&["busybox:9"]),
    )?;
    let listed = records(&listed.done()?)?;
    let text = fixture("components.yaml")?;
    let arrows = text.lines().filter_map(|line| line.split_once("# <- "));
    let mut wanted: Vec<&str> = arrows
        .map(|(_, image)| image.trim())
        .chain(["busybox:9"])
        .collect();
    wanted.sort_unstable();
    wanted.dedup();
    let sources: Vec<&str> = listed.iter().map(|(source, _)| source.as_str()).collect();
    assert_eq!(sources, wanted);
    let users = |image: &str| {
        let found = listed.iter().find(|(source, _)| source == image);
        found.map_or_else(String::new, |(_, users)| users.join("; "))
    };
    assert_eq!(
        users("castai/hibernate:v0.14"),
        "components.yaml document 5 CronJob/hibernate-pause container pauser"
    );
    assert_eq!(users("busybox:9"), "stdin document 1 Pod/p container c0");
    // What is listed is all that has to be mirrored.
    let lines: String = sources.iter().map(|source| {
        format!("{{\"castlink\":1,\"kind\":\"mirrored\",\"source\":\"{source}\",\"target\":\"{ECR}/{source}\",\"status\":\"present\"}}\n")
    }).collect();
    place.file("mirrored.json", &lines)?;
    place
        .call(&["rewrite", "--images", "mirrored.json"], &text)?
        .done()?;
    Ok(())
}

#[test]
fn manifests_in_configmaps_are_listed_when_asked_for() -> Result<()> {
    let place = Place::new()?;
    let inner = "apiVersion: v1\nkind: Pod\nmetadata: {name: q}\nspec:\n  containers:\n  - name: c\n    image: inner:1\n";
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"},
        "data": {"pod.yaml": inner, "note": "image: no:1"}});
    let text = pod(&["outer:1"]) + "---\n" + &map.to_string();
    let sources = |flags: &[&'static str]| -> Result<Vec<(String, Vec<String>)>> {
        let args = [&["images", "-f", "-"], flags].concat();
        records(&place.call(&args, &text)?.done()?)
    };
    let outer = (
        "outer:1".to_owned(),
        vec!["stdin document 1 Pod/p container c0".to_owned()],
    );
    assert_eq!(sources(&[])?, std::slice::from_ref(&outer));
    let user = "stdin document 2 ConfigMap/m pod.yaml, Pod/q container c".to_owned();
    assert_eq!(
        sources(&["--configmaps"])?,
        [("inner:1".to_owned(), vec![user]), outer]
    );
    Ok(())
}

const VALUES: &str = "\
global:
  registry: r.example
castai-agent:
  image: {repository: ghcr.io/castai/images/agent, tag: v1}
  clusterVPA:
    repository: registry.k8s.io/cpa/cpvpa
    version: v0.8.4
castai-evictor:
  image:
    repository: ghcr.io/castai/images/evictor
  crdUpgrade:
    image: {registry: docker.io, repository: rancher/kubectl, tag: \"v1.35.6\", digest: \"\"}
castai-kvisor:
  image: {repository: ghcr.io/castai/kvisor/kvisor, tag: 1.164}
  controller:
    additionalEnv:
      SCANNERS_IMAGE: ghcr.io/castai/kvisor/kvisor-scanners:v1.164.8
charts:
  repository: https://castai.github.io/helm-charts
busy: {image: \"busybox:1\", AGENT_IMAGE: v1, imagePullPolicy: Always}
";

#[test]
fn values_are_listed_as_charts_put_them_together() -> Result<()> {
    let place = Place::new()?;
    place.file("values.yaml", VALUES)?;
    let ran = place.call(&["images", "--values", "values.yaml"], "")?;
    for want in [
        "values.yaml:10 castai-evictor.image: ghcr.io/castai/images/evictor has no tag here",
        "global.registry is r.example",
    ] {
        ensure!(ran.stderr.contains(want), "{want} is not in {}", ran.stderr);
    }
    let listed = records(&ran.done()?)?;
    let sources: Vec<&str> = listed.iter().map(|(source, _)| source.as_str()).collect();
    assert_eq!(
        sources,
        [
            "busybox:1",
            "docker.io/rancher/kubectl:v1.35.6",
            "ghcr.io/castai/images/agent:v1",
            "ghcr.io/castai/kvisor/kvisor-agent:1.164",
            "ghcr.io/castai/kvisor/kvisor-controller:1.164",
            "ghcr.io/castai/kvisor/kvisor-scanners:v1.164.8",
            "registry.k8s.io/cpa/cpvpa:v0.8.4",
        ]
    );
    assert_eq!(listed[2].1, ["values.yaml:4 castai-agent.image"]);
    Ok(())
}

#[test]
fn what_is_neither_is_refused() -> Result<()> {
    let place = Place::new()?;
    for text in ["", "a: b\n", "a: [\n"] {
        let ran = place.call(&["images", "-f", "-"], text)?;
        assert_eq!(ran.code, 2, "{text}: {}", ran.stderr);
        ensure!(records(&ran.stdout)?.is_empty(), "{}", ran.stdout);
    }
    Ok(())
}

//! Proxy variables: who gets them, where they are put, and that they are put once.

use anyhow::{Context, Result, ensure};
use serde::Deserialize as _;
use serde_json::{Value, json};

use crate::harness::{ECR, Place};

const URL: &str = "http://proxy.corp:3128";
const AGENT: &str = "ghcr.io/castai/images/agent:v1";

fn args(more: &[&'static str]) -> Vec<&'static str> {
    [&["--proxy", URL], more].concat()
}

fn read(text: &str) -> Result<Vec<Value>> {
    let text = text.trim_start_matches('\u{feff}');
    let documents = serde_yaml_ng::Deserializer::from_str(text);
    documents.map(|one| Ok(Value::deserialize(one)?)).collect()
}

fn variables(object: &Value) -> Result<Vec<String>> {
    let env = &object["spec"]["containers"][0]["env"];
    let env = env
        .as_array()
        .with_context(|| format!("no list: {object}"))?;
    let name = |one: &Value| one["name"].as_str().unwrap_or_default().to_owned();
    Ok(env.iter().map(name).collect())
}

/// Containers as people write them; `IMAGE` is what changes.
const CONTAINERS: [&str; 12] = [
    "  - name: a\n    image: IMAGE\n",
    "  - image: IMAGE\n    name: a\n",
    "  - image: IMAGE\n",
    "  - name: a\n    # about the image\n    image: IMAGE\n    env:\n    # first\n    - name: X\n      value: y\n    args: [b]\n",
    "  - name: a\n    env:\n      - {name: X, value: y}\n    image: IMAGE\n",
    "  - name: a\n    env: [{name: X, value: y}]\n    image: IMAGE\n",
    "  - name: a\n    env: []\n    image: IMAGE\n",
    "  - name: a\n    env:\n    image: IMAGE\n",
    "  - name: a\n    env: null\n    image: IMAGE\n",
    "  - {name: a, image: IMAGE}\n",
    "  - {\"name\": \"a\", \"image\": \"IMAGE\", \"env\": [ ]}\n",
    "  -   name: a\n      image: IMAGE\n      env:\n        -   name: X\n            value: y\n",
];

fn pod(container: &str, image: &str) -> String {
    let head = "# ü\napiVersion: v1\nkind: Pod\nmetadata: {name: castai-p}\nspec:\n  containers:\n";
    format!("{head}{}  volumes: []\n", container.replace("IMAGE", image))
}

#[test]
fn every_way_to_write_a_container_takes_them() -> Result<()> {
    let place = Place::new()?;
    for container in CONTAINERS {
        for crlf in [false, true] {
            let plain = pod(container, AGENT);
            let text = if crlf {
                plain.replace('\n', "\r\n")
            } else {
                plain
            };
            let out = place.rewrite(&args(&[]), &text)?.done()?;
            let (mut before, mut after) = (read(&text)?.remove(0), read(&out)?.remove(0));
            let mut names = variables(&after)?;
            names.retain(|name| name != "X");
            assert_eq!(names, ["HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"], "{out}");
            ensure!(
                out.matches("\r\n").count() == if crlf { out.matches('\n').count() } else { 0 }
            );
            // Apart from them, and from the image, everything is as it was.
            let pod = &mut before["spec"]["containers"][0];
            pod["image"] = json!(format!("{ECR}/{AGENT}"));
            pod["env"] = after["spec"]["containers"][0]["env"].take();
            after["spec"]["containers"][0]["env"] = pod["env"].clone();
            assert_eq!(before, after);
            let kept = text.lines().filter(|line| !line.contains("castai/images"));
            for line in kept.filter(|line| !line.contains("env:")) {
                ensure!(out.contains(line), "{line} is lost in {out}");
            }
            assert_eq!(place.rewrite(&args(&[]), &out)?.done()?, out);
        }
    }
    Ok(())
}

#[test]
fn json_takes_them_too() -> Result<()> {
    let object = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
        "spec": {"containers": [{"name": "a", "image": AGENT}]}});
    let out = Place::new()?
        .rewrite(&args(&[]), object.to_string())?
        .done()?;
    assert_eq!(variables(&serde_json::from_str(&out)?)?.len(), 3);
    Ok(())
}

#[test]
fn what_is_there_is_respected_and_others_get_none() -> Result<()> {
    let place = Place::new()?;
    let own = "  - name: a\n    image: IMAGE\n    env:\n    - name: https_proxy\n      value: http://own:1\n    - name: NO_PROXY\n      valueFrom: null\n";
    let out = place.rewrite(&args(&[]), pod(own, AGENT))?.done()?;
    let names = variables(&read(&out)?[0])?;
    assert_eq!(names, ["HTTP_PROXY", "https_proxy", "NO_PROXY"]);
    for image in ["busybox:1", "registry.k8s.io/cpa/cpvpa:v0.8.4"] {
        let text = pod(CONTAINERS[0], image);
        let want = text.replace(image, &format!("{ECR}/{image}"));
        assert_eq!(place.rewrite(&args(&[]), &text)?.done()?, want);
    }
    let said = place
        .rewrite(&args(&["--check"]), pod(CONTAINERS[0], AGENT))?
        .refused(3)?;
    ensure!(
        said.contains("container a: adds HTTP_PROXY, HTTPS_PROXY, NO_PROXY"),
        "{said}"
    );
    Ok(())
}

#[test]
fn no_proxy_is_what_a_cluster_reaches_itself() -> Result<()> {
    let more = args(&["--no-proxy", "api.cast.ai,.corp", "--no-proxy", "localhost"]);
    let out = Place::new()?
        .rewrite(&more, pod(CONTAINERS[0], AGENT))?
        .done()?;
    let object = &read(&out)?[0];
    let value = object["spec"]["containers"][0]["env"][2]["value"].as_str();
    let hosts: Vec<&str> = value.context("NO_PROXY")?.split(',').collect();
    for host in [
        "localhost",
        "127.0.0.1",
        "::1",
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "100.64.0.0/10",
        "fc00::/7",
        "169.254.169.254",
        "169.254.170.23",
        "fd00:ec2::254",
        "fd00:ec2::23",
        ".svc",
        ".cluster.local",
        ".eks.amazonaws.com",
        ".vpce.amazonaws.com",
        ".internal",
        "api.cast.ai",
        ".corp",
    ] {
        assert_eq!(
            hosts.iter().filter(|one| **one == host).count(),
            1,
            "{host}"
        );
    }
    Ok(())
}

#[test]
fn variables_from_elsewhere_are_pointed_out() -> Result<()> {
    let place = Place::new()?;
    for (list, name) in [
        ("- secretRef: {name: proxy}", "Secret/proxy"),
        ("- configMapRef: {name: settings}", "ConfigMap/settings"),
    ] {
        let own = format!("  - name: a\n    image: IMAGE\n    envFrom:\n    {list}\n");
        let said = place
            .rewrite(&args(&["--check"]), pod(&own, AGENT))?
            .refused(3)?;
        ensure!(
            said.contains(&format!("variables from {name} as well")),
            "{said}"
        );
    }
    let said = place
        .rewrite(&args(&["--check"]), pod(CONTAINERS[0], AGENT))?
        .refused(3)?;
    ensure!(!said.contains("as well"), "{said}");
    Ok(())
}

#[test]
fn a_password_is_refused_and_not_repeated() -> Result<()> {
    let place = Place::new()?;
    for url in [
        "http://me:canary-5f1c@proxy:3128",
        "proxy:canary-5f1c",
        "ftp://canary-5f1c",
        "",
    ] {
        let said = place
            .rewrite(&["--proxy", url], pod(CONTAINERS[0], AGENT))?
            .refused(2)?;
        ensure!(!said.contains("canary"), "{said}");
    }
    Ok(())
}

#[test]
fn where_they_cannot_be_put_nothing_is_written() -> Result<()> {
    let odd = "  - ? image\n    : IMAGE\n";
    let said = Place::new()?
        .rewrite(&args(&[]), pod(odd, AGENT))?
        .refused(2)?;
    ensure!(said.contains("cannot be put here"), "{said}");
    Ok(())
}

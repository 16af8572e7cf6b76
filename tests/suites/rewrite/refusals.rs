//! All or nothing: what is refused, with which exit code, and that nothing is written then.

use anyhow::{Result, ensure};

use crate::harness::{ECR, Place, pod, rewritten};

#[test]
fn one_bad_document_of_five_and_nothing_is_written() -> Result<()> {
    let good = pod(&["busybox:1"]);
    let place = Place::new()?;
    for (bad, line, why) in [
        ("apiVersion: v1\nkind: Pod\n\tspec: x\n", 20, ""),
        ("apiVersion: v1\nkind: \"Pod\n", 20, ""),
        ("apiVersion: v1\nkind: Pod\nspec: *nobody\n", 21, ""),
        ("a: b\n", 19, "no Kubernetes object"),
        ("kind: Pod\n", 19, "no `apiVersion`"),
        ("<html>busy</html>\n", 19, "no Kubernetes object"),
        (
            "{\"message\": \"unauthorized\"}\n",
            19,
            "no Kubernetes object",
        ),
        (
            "apiVersion: v1\nkind: Pod\nspec: {containers: [{image: [a]}]}\n",
            21,
            "is no text",
        ),
        (
            "apiVersion: v1\nkind: Pod\nspec: {containers: [{image: !!binary YQ==}]}\n",
            21,
            "!!binary",
        ),
    ] {
        let text = [&good, &good, bad, &good, &good].join("---\n");
        let said = place.rewrite(&[], &text)?.refused(2)?;
        let spot = format!("stdin:{line}: document 3");
        ensure!(said.contains("nothing was written"), "{said}");
        ensure!(bad.contains('"') || said.contains(&spot), "{bad}: {said}");
        ensure!(said.contains(why), "{bad}: {said}");
    }
    Ok(())
}

#[test]
fn nothing_and_what_is_no_text_are_refused() -> Result<()> {
    let place = Place::new()?;
    for empty in ["", "\n", "# only a comment\n", "---\n---\n"] {
        let said = place.rewrite(&[], empty)?.refused(2)?;
        ensure!(said.contains("no Kubernetes object"), "{empty:?}: {said}");
    }
    let utf16: Vec<u8> = "a: b".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let utf16 = [&[0xff, 0xfe][..], &utf16].concat();
    let said = place.rewrite(&[], utf16)?.refused(2)?;
    ensure!(
        said.contains("stdin:1: not UTF-8") && said.contains("iconv"),
        "{said}"
    );
    let said = place.rewrite(&["none.yaml"], "")?.refused(2)?;
    ensure!(said.contains("none.yaml cannot be read"), "{said}");
    let said = place.call(&["rewrite"], pod(&["a:1"]))?.refused(2)?;
    ensure!(said.contains("--to REGISTRY"), "{said}");
    Ok(())
}

#[test]
fn every_image_without_a_target_is_named_with_its_place() -> Result<()> {
    let place = Place::new()?;
    place.file("castlink.lock", &lock(&["busybox:1"]))?;
    place.file(
        "m.yaml",
        &[pod(&["busybox:1", "a/b:1"]), pod(&["\"{{ .image }}\""])].join("---\n"),
    )?;
    let args = ["--images", "castlink.lock", "m.yaml"];
    let said = place.rewrite(&args, "")?.refused(6)?;
    for want in [
        "m.yaml:10: document 1, Pod/p container c1: a/b:1: the lock file does not have it",
        "m.yaml:19: document 2, Pod/p container c0: {{ .image }}: this is not an image reference",
        "2 references without a target",
        "castlink-mirror lock",
    ] {
        ensure!(said.contains(want), "{want} is not in {said}");
    }
    let kept = [
        pod(&[&format!("{ECR}/busybox:1"), "a/b:1"]),
        pod(&["\"{{ .image }}\""]),
    ]
    .join("---\n");
    for (choice, named) in [("warn", true), ("keep", false)] {
        let ran = place.rewrite(&[&args[..], &["--on-unmapped", choice]].concat(), "")?;
        assert_eq!(ran.stderr.contains("a/b:1"), named, "{}", ran.stderr);
        assert_eq!(ran.done()?, kept);
    }
    Ok(())
}

fn lock(images: &[&str]) -> String {
    let entry = |image: &&str| {
        format!(
            "[[image]]\nsource = \"{image}\"\ndigest = \"sha256:{}\"\nplatforms = []\nsize = 1\n",
            "a".repeat(64)
        )
    };
    format!(
        "version = 1\n{}",
        images.iter().map(entry).collect::<String>()
    )
}

#[test]
fn an_anchor_with_two_meanings_is_not_touched() -> Result<()> {
    let text = "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: d\n  annotations:\n    image: &image busybox:1\nspec:\n  \
        template:\n    spec:\n      containers:\n      - name: c\n        image: *image\n";
    let said = Place::new()?.rewrite(&[], text)?.refused(2)?;
    ensure!(
        said.contains("stdin:6: document 1, Deployment/d container c: this anchor"),
        "{said}"
    );
    // The same value, no longer shared.
    let apart = text.replace("*image", "busybox:1");
    ensure!(
        rewritten(&apart)?.contains("image: &image busybox:1"),
        "changed"
    );
    Ok(())
}

#[test]
fn hostile_aliases_end() -> Result<()> {
    let mut text = "apiVersion: v1\nkind: Pod\na0: &a0 {image: busybox:1}\n".to_owned();
    for level in 1..30 {
        let below = format!("*a{}", level - 1);
        text += &format!("a{level}: &a{level} {{<<: [{below}, {below}, {below}]}}\n");
    }
    text += "spec:\n  containers:\n  - <<: *a29\n";
    let said = Place::new()?.rewrite(&[], text)?.refused(2)?;
    ensure!(said.contains("more merges"), "{said}");
    let round = "apiVersion: v1\nkind: Pod\nspec: &s\n  containers:\n  - &c\n    <<: *c\n    image: busybox:1\n";
    Place::new()?.rewrite(&[], round)?.refused(2)?;
    Ok(())
}

#[test]
fn check_lists_what_would_change_and_writes_nothing() -> Result<()> {
    let place = Place::new()?;
    let text = pod(&["busybox:1", &format!("{ECR}/a:1")]);
    let said = place.rewrite(&["--check"], &text)?.refused(3)?;
    let want = format!("stdin:8: document 1, Pod/p container c0: busybox:1 -> {ECR}/busybox:1");
    ensure!(said.contains(&want), "{said}");
    let json = place.rewrite(&["--check", "-o", "json"], &text)?;
    assert_eq!(json.code, 3);
    let first: serde_json::Value = serde_json::from_str(json.stdout.lines().next().unwrap_or(""))?;
    assert_eq!(first["kind"], "change");
    assert_eq!(first["from"], "busybox:1");
    assert_eq!(first["field"], "container c0");
    place.rewrite(&["--check"], rewritten(&text)?)?.refused(0)?;
    place.rewrite(&["--check"], "kind: x\n")?.refused(2)?;
    Ok(())
}

#[test]
fn stdin_is_read_once() -> Result<()> {
    let place = Place::new()?;
    place.file("m.yaml", &pod(&["busybox:1"]))?;
    for args in [&["--images", "-"][..], &["--images", "-", "-"], &["-", "-"]] {
        place.rewrite(args, "")?.refused(2)?;
    }
    let record = format!(
        "{{\"castlink\":1,\"kind\":\"mirrored\",\"source\":\"busybox:1\",\"target\":\"{ECR}/b:1\",\"status\":\"copied\"}}"
    );
    let got = place
        .call(&["rewrite", "--images", "-", "m.yaml"], record)?
        .done()?;
    assert_eq!(got, pod(&[&format!("{ECR}/b:1")]));
    Ok(())
}

//! Where references lead: by rule, by lock file, by records; with digests on request.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::harness::{ECR, Place, pod};

const AGENT: &str = "us-docker.pkg.dev/castai-hub/library/agent:v1";
const TWIN: &str = "ghcr.io/castai/images/agent:v1";

fn digest(fill: &str) -> String {
    format!("sha256:{}", fill.repeat(64))
}

fn lock(images: &[(&str, &str, &str)]) -> String {
    let entry = |(source, fill, platforms): &(&str, &str, &str)| {
        let digest = digest(fill);
        format!(
            "[[image]]\nsource = \"{source}\"\ndigest = \"{digest}\"\nplatforms = [{platforms}]\nsize = 1\n"
        )
    };
    format!(
        "version = 1\n{}",
        images.iter().map(entry).collect::<String>()
    )
}

fn record(source: &str, target: &str, more: Value) -> String {
    let mut record = json!({"castlink": 1, "kind": "mirrored", "source": source, "target": target, "status": "copied"});
    if let (Value::Object(record), Value::Object(more)) = (&mut record, more) {
        record.extend(more);
    }
    format!("{record}\n")
}

#[test]
fn layouts_name_targets() -> Result<()> {
    for (layout, want) in [
        ("full", format!("{ECR}/{AGENT}")),
        ("path", format!("{ECR}/castai-hub/library/agent:v1")),
        ("flat", format!("{ECR}/agent:v1")),
    ] {
        let place = Place::new()?;
        let once = place
            .rewrite(&["--layout", layout], pod(&[AGENT]))?
            .done()?;
        assert_eq!(once, pod(&[&want]));
        let twice = place.rewrite(&["--layout", layout, "--pin-digest"], &once)?;
        ensure!(
            twice.refused(2)?.contains("--images"),
            "a digest from nowhere"
        );
        assert_eq!(place.rewrite(&["--layout", layout], &once)?.done()?, once);
    }
    Ok(())
}

#[test]
fn a_lock_file_says_which_images_there_are() -> Result<()> {
    let place = Place::new()?;
    place.file(
        "castlink.lock",
        &lock(&[(TWIN, "a", ""), ("busybox", "b", "")]),
    )?;
    place.file("castlink.toml", &format!("[mirror]\nto = \"{ECR}\"\n"))?;
    let args = ["rewrite", "--images", "castlink.lock"];
    // By its text, by what the text means, and by the other public name of the same image.
    let text = pod(&[TWIN, AGENT, "docker.io/library/busybox:latest", "busybox"]);
    let twin = format!("{ECR}/{TWIN}");
    let busybox = format!("{ECR}/busybox:latest");
    let want = pod(&[&twin, &twin, &busybox, &busybox]);
    assert_eq!(place.call(&args, &text)?.done()?, want);
    let pinned = [&args[..], &["--pin-digest"]].concat();
    let (twin, busybox) = (
        format!("{twin}@{}", digest("a")),
        format!("{busybox}@{}", digest("b")),
    );
    let want = pod(&[&twin, &twin, &busybox, &busybox]);
    assert_eq!(place.call(&pinned, &text)?.done()?, want);
    assert_eq!(place.call(&pinned, &want)?.done()?, want);
    assert_eq!(place.call(&args, &want)?.done()?, want);
    // What is there without a digest gets one.
    let plain = pod(&[&format!("{ECR}/{TWIN}")]);
    assert_eq!(place.call(&pinned, plain)?.done()?, pod(&[&twin]));
    Ok(())
}

#[test]
fn records_say_where_images_are() -> Result<()> {
    let place = Place::new()?;
    let target = "harbor.corp/x/agent:v1";
    let records = record(AGENT, target, json!({"digest": digest("c")}))
        + &record("busybox:1", "harbor.corp/b:1", json!({"status": "failed"}))
        + &record("a:1", "harbor.corp/a:1", json!({"status": "planned"}));
    place.file("mirrored.json", &records)?;
    let args = ["rewrite", "--images", "mirrored.json"];
    let want = pod(&[target]);
    assert_eq!(place.call(&args, pod(&[TWIN]))?.done()?, want);
    assert_eq!(place.call(&args, &want)?.done()?, want);
    let pinned = [&args[..], &["--pin-digest"]].concat();
    let want = pod(&[&format!("{target}@{}", digest("c"))]);
    assert_eq!(place.call(&pinned, pod(&[AGENT]))?.done()?, want);
    assert_eq!(place.call(&pinned, &want)?.done()?, want);
    let said = place
        .call(&args, pod(&["busybox:1", "a:1", "b:1"]))?
        .refused(6)?;
    for want in [
        "busybox:1 was not mirrored",
        "it is not mirrored yet, only planned",
        "no record says where it was mirrored to",
    ] {
        ensure!(said.contains(want), "{said}");
    }
    Ok(())
}

#[test]
fn a_selection_of_platforms_makes_other_digests() -> Result<()> {
    let place = Place::new()?;
    let both = "\"linux/amd64\", \"linux/arm64\"";
    place.file("castlink.lock", &lock(&[("busybox:1", "a", both)]))?;
    place.file(
        "castlink.toml",
        &format!("[mirror]\nto = \"{ECR}\"\nplatforms = [\"linux/amd64\"]\n"),
    )?;
    let args = ["rewrite", "--images", "castlink.lock"];
    place.call(&args, pod(&["busybox:1"]))?.done()?;
    let pinned = [&args[..], &["--pin-digest"]].concat();
    let said = place.call(&pinned, pod(&["busybox:1"]))?.refused(2)?;
    ensure!(said.contains("selects platforms"), "{said}");
    Ok(())
}

const CONTROLLER: &str = "ghcr.io/castai/kvisor/kvisor-controller:v1";
const SCANNERS: &str = "ghcr.io/castai/kvisor/kvisor-scanners:v1";

#[test]
fn the_scanners_that_kvisor_makes_up_stay_reachable() -> Result<()> {
    let place = Place::new()?;
    let quiet = place.rewrite(&[], pod(&[CONTROLLER]))?;
    ensure!(!quiet.stderr.contains("warning"), "{}", quiet.stderr);
    // The first `-controller` of the name is replaced, wherever it is.
    let odd = place.call(
        &["rewrite", "--to", "r.example/x-controller"],
        pod(&[CONTROLLER]),
    )?;
    ensure!(
        odd.stderr.contains("r.example/x-scanners/ghcr.io"),
        "{}",
        odd.stderr
    );
    ensure!(odd.stderr.contains("SCANNERS_IMAGE"), "{}", odd.stderr);
    place.file("one.lock", &lock(&[(CONTROLLER, "a", "")]))?;
    place.file(
        "two.lock",
        &lock(&[(CONTROLLER, "a", ""), (SCANNERS, "b", "")]),
    )?;
    let one = place.rewrite(&["--images", "one.lock"], pod(&[CONTROLLER]))?;
    ensure!(
        one.stderr.contains("which is not mirrored"),
        "{}",
        one.stderr
    );
    one.done()?;
    // A digest would be the controller's: this one image is not pinned.
    let two = place.rewrite(
        &["--images", "two.lock", "--pin-digest"],
        pod(&[CONTROLLER]),
    )?;
    ensure!(!two.stderr.contains("warning"), "{}", two.stderr);
    assert_eq!(two.done()?, pod(&[&format!("{ECR}/{CONTROLLER}")]));
    let told =
        pod(&[CONTROLLER]) + &format!("    env: [{{name: SCANNERS_IMAGE, value: '{SCANNERS}'}}]\n");
    let told = place
        .rewrite(&["--images", "two.lock", "--pin-digest"], told)?
        .done()?;
    let want = |name: &str, fill: &str| format!("{ECR}/{name}@{}", digest(fill));
    assert_eq!(
        told,
        pod(&[&want(CONTROLLER, "a")])
            + &format!(
                "    env: [{{name: SCANNERS_IMAGE, value: '{}'}}]\n",
                want(SCANNERS, "b")
            )
    );
    Ok(())
}

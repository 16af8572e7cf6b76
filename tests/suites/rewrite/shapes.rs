//! What manifests look like: everything that should change does, and nothing else.

use anyhow::{Result, ensure};

use crate::harness::{ECR, Place, expected, fixture, pod, rewritten};

#[test]
fn charts_change_where_the_arrows_are_and_nowhere_else() -> Result<()> {
    for name in ["agent.yaml", "components.yaml"] {
        let text = fixture(name)?;
        let want = expected(&text);
        ensure!(want != text, "{name} has no arrow");
        let got = rewritten(&text)?;
        pretty(&got, &want)?;
        pretty(&rewritten(&got)?, &want)?;
    }
    Ok(())
}

#[test]
fn line_ends_and_byte_order_marks_stay() -> Result<()> {
    let text = fixture("components.yaml")?;
    for shape in [
        text.replace('\n', "\r\n"),
        format!("\u{feff}{text}"),
        text.trim_end().to_owned(),
        format!("\u{feff}{}", text.replace('\n', "\r\n")),
        text.replace("---\n", "---\n\u{feff}"),
        text.replace("---\n", "--- # here\n\n---\n"),
        text.replace("---\n", "...\n---\n"),
    ] {
        pretty(&rewritten(&shape)?, &expected(&shape))?;
    }
    Ok(())
}

#[test]
fn a_marker_with_a_key_behind_it_is_taken_and_warned_of() -> Result<()> {
    let text = format!("---{}", pod(&["busybox:1"]));
    let ran = Place::new()?.rewrite(&[], &text)?;
    let warned = ran.stderr.contains("kubectl refuses a `---`");
    ensure!(warned, "no warning: {}", ran.stderr);
    let want = format!("---{}", pod(&[&format!("{ECR}/busybox:1")]));
    assert_eq!(ran.done()?, want);
    Ok(())
}

fn pretty(got: &str, want: &str) -> Result<()> {
    for (got, want) in got.lines().zip(want.lines()) {
        assert_eq!(got, want);
    }
    ensure!(got == want, "lines are the same, line ends are not");
    Ok(())
}

/// What stands behind `image: ` and what it becomes.
#[test]
fn every_style_stays_what_it_is() -> Result<()> {
    let digest = format!("sha256:{}", "a".repeat(64));
    let pinned = format!("busybox:1@{digest}");
    let cases = [
        ("busybox", "{}/busybox:latest"),
        ("busybox:1", "{}/busybox:1"),
        ("busybox:1   # why", "{}/busybox:1   # why"),
        ("\"busybox:1\"", "\"{}/busybox:1\""),
        ("'busybox:1'", "'{}/busybox:1'"),
        ("\"b\\x75sy\\u0062ox:1\"", "\"{}/busybox:1\""),
        ("\"busy\\\n      box:1\"", "\"{}/busybox:1\""),
        ("!!str busybox:1", "!!str {}/busybox:1"),
        ("\n      busybox:1", "\n      {}/busybox:1"),
        ("|-\n      busybox:1", "|-\n      {}/busybox:1"),
        (
            ">-\n\n      busybox:1\n\n      # no comment",
            ">-\n\n      {}/busybox:1\n\n      # no comment",
        ),
        (">\n        busybox:1\n", ">\n        {}/busybox:1\n"),
        ("|2-\n      busybox:1", "|2-\n      {}/busybox:1"),
        (&pinned, &format!("{{}}/{pinned}")),
    ];
    for (image, want) in cases {
        // A comment behind a block scalar is text of it, which makes no reference.
        if image.contains("no comment") {
            continue;
        }
        let want = want.replace("{}", ECR);
        assert_eq!(rewritten(&pod(&[image]))?, pod(&[&want]), "{image}");
    }
    let ipv6 = ["rewrite", "--to", "[2001:db8::1]:5000"];
    let place = Place::new()?;
    let got = place.call(&ipv6, pod(&["busybox:1", "'a:1'"]))?.done()?;
    let want = [
        "\"[2001:db8::1]:5000/busybox:1\"",
        "'[2001:db8::1]:5000/a:1'",
    ];
    assert_eq!(got, pod(&want));
    Ok(())
}

#[test]
fn json_lists_and_streams_of_values_are_manifests_too() -> Result<()> {
    let pod = |image: &str| {
        format!(
            "{{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{{\"name\":\"p\",\"annotations\":{{\"a\":\"\\ud83d\\ude00 busybox:1\"}}}},\n\
             \t\"spec\": {{\"containers\" : [ {{\"image\":\"{image}\",\"name\":\"c\"}} ]}}}}"
        )
    };
    let list = |image: &str| {
        format!(
            "{{\"kind\": \"List\", \"apiVersion\": \"v1\", \"items\": [{}, {}]}}",
            pod(image),
            pod(image)
        )
    };
    let target = format!("{ECR}/busybox:1");
    for wrap in [
        |one: String| one,
        |one: String| format!("{one}\n"),
        |one: String| format!("{one}{one}\n{one}"),
        |one: String| format!("{one}\n---\n{one}\n"),
        |one: String| format!("---{one}\n---\n{one}\n"),
    ] {
        assert_eq!(rewritten(&wrap(pod("busybox:1")))?, wrap(pod(&target)));
        assert_eq!(
            rewritten(&wrap(list("busybox\\u003a1")))?,
            wrap(list(&target))
        );
    }
    let yaml = |image: &str| {
        format!(
            "apiVersion: v1\nkind: PodList\nitems:\n- metadata: {{name: a}}\n  spec:\n    containers:\n    - image: {image}\n"
        )
    };
    assert_eq!(rewritten(&yaml("busybox:1"))?, yaml(&target));
    Ok(())
}

#[test]
fn anchors_change_once_and_merges_are_followed() -> Result<()> {
    let text = |image: &str| {
        format!(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: d}}\nx-image: &image {image}\n\
             x-base: &base\n  image: {image}\n  imagePullPolicy: Always\nspec:\n  template:\n    spec:\n      \
             initContainers:\n      - {{name: a, image: *image}}\n      containers:\n      - name: b\n        \
             image: &own \"{image}\"\n      - name: c\n        image: *own\n      - name: d\n        <<: *base\n"
        )
    };
    let got = rewritten(&text("busybox:1"))?;
    assert_eq!(got, text(&format!("{ECR}/busybox:1")));
    Ok(())
}

#[test]
fn large_streams_come_through_in_order() -> Result<()> {
    let document = |index: usize, image: &str| {
        let filler = "x".repeat(index * 37 % 3000);
        format!("---\n# {index}\n{}  # {filler}\n", pod(&[image]))
    };
    let stream = |image: &str| {
        (0..6000)
            .map(|index| document(index, image))
            .collect::<String>()
    };
    let text = stream("busybox:1");
    ensure!(
        text.len() > 9 << 20,
        "this has to be spooled: {}",
        text.len()
    );
    let got = rewritten(&text)?;
    ensure!(got == stream(&format!("{ECR}/busybox:1")), "out of order");
    Ok(())
}

#[test]
fn files_become_one_stream() -> Result<()> {
    let place = Place::new()?;
    place.file("a.yaml", pod(&["busybox:1"]).trim_end())?;
    place.file("b.yaml", &pod(&["busybox:2"]))?;
    place.file("c.yaml", &format!("---\n{}", pod(&["busybox:3"])))?;
    let got = place.rewrite(&["a.yaml", "-", "b.yaml", "c.yaml"], pod(&["busybox:4"]))?;
    let one = |tag: &str| pod(&[&format!("{ECR}/busybox:{tag}")]);
    let want = [one("1"), one("4"), one("2"), one("3")].join("---\n");
    assert_eq!(got.done()?, want);
    Ok(())
}

#[test]
fn configmaps_are_opened_on_request_only() -> Result<()> {
    let inner = |image: &str| format!("{}---\n{}", pod(&[image]), pod(&["'busybox:2'"]));
    let indented = |text: &str| {
        text.replace('\n', "\n    ")
            .trim_end_matches(' ')
            .to_owned()
    };
    let text = |one: &str, two: &str| {
        let quoted = serde_json::to_string(&pod(&[one])).expect("text");
        let literal = inner(one).replace("busybox:2", two);
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: m}}\ndata:\n  a.yaml: |\n    {}  b: {quoted}\n  c: 'image: busybox:1'\n  d: \"{{{{ no manifest\"\n",
            indented(&literal)
        )
    };
    let plain = text("busybox:1", "busybox:2");
    assert_eq!(rewritten(&plain)?, plain);
    let place = Place::new()?;
    let got = place.rewrite(&["--configmaps"], &plain)?.done()?;
    let target = |tag: &str| format!("{ECR}/busybox:{tag}");
    assert_eq!(got, text(&target("1"), &target("2")));
    let folded = plain.replace("a.yaml: |", "a.yaml: >");
    let said = place.rewrite(&["--configmaps"], &folded)?;
    ensure!(said.code == 0 || said.stdout.is_empty(), "{}", said.stderr);
    Ok(())
}

#[test]
fn it_is_a_post_renderer() -> Result<()> {
    let place = Place::new()?;
    place.file("castlink.toml", &format!("[mirror]\nto = \"{ECR}\"\n"))?;
    let text = fixture("agent.yaml")?;
    let got = place.call(&["rewrite"], &text)?;
    ensure!(
        got.stderr.contains("3 references changed in 5 documents"),
        "{}",
        got.stderr
    );
    pretty(&got.done()?, &expected(&text))?;
    // Whatever the output is told to be, it is manifests.
    let json = place.call(&["rewrite", "-o", "json", "-q"], &text)?;
    pretty(&json.done()?, &expected(&text))
}

#[test]
fn what_an_operator_renders_is_named_and_left_alone() -> Result<()> {
    let text = "apiVersion: castware.cast.ai/v1alpha1\nkind: Component\nmetadata: {name: castai-agent}\nspec:\n  values:\n    image:\n      \
        repository: ghcr.io/castai/images/agent\n      tag: v1\n";
    let ran = Place::new()?.rewrite(&[], text)?;
    let want = format!(
        "stdin:7: document 1, Component/castai-agent spec.values.image: ghcr.io/castai/images/agent:v1 in the values of a chart is not changed; name the repository where it is mirrored: {ECR}/ghcr.io/castai/images/agent:v1"
    );
    ensure!(ran.stderr.contains(&want), "{}", ran.stderr);
    assert_eq!(ran.done()?, text);
    Ok(())
}

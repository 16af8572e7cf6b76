//! What every binary does the same: help, exit codes, output, configuration, secrets. No
//! servers: what would need one must fail before it asks.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, ensure};
use castlink_tests::process::binary;

#[path = "cli/signals.rs"]
mod signals;

const BINARIES: [(&str, &[&str]); 5] = [
    ("castlink", &["run", "config", "exit-codes"]),
    (
        "castlink-tag",
        &["plan", "apply", "verify", "remove", "iam-policy"],
    ),
    (
        "castlink-endpoints",
        &[
            "plan",
            "apply",
            "status",
            "export",
            "catalogue",
            "iam-policy",
            "destroy",
        ],
    ),
    (
        "castlink-mirror",
        &[
            "plan",
            "copy",
            "pull",
            "push",
            "verify",
            "lock",
            "tags",
            "iam-policy",
        ],
    ),
    (
        "castlink-upgrade",
        &[
            "images", "rewrite", "plan", "apply", "status", "drift", "rollback", "rbac",
        ],
    ),
];

/// A call with nothing of the user's environment.
fn call(dir: &Path, program: &str, args: &[&str], env: &[(&str, &str)]) -> Result<Output> {
    let mut command = Command::new(binary(program)?);
    command
        .args(args)
        .env_clear()
        .env("HOME", dir)
        .current_dir(dir);
    command.env("AWS_EC2_METADATA_DISABLED", "true");
    command.envs(env.iter().copied()).stdin(Stdio::null());
    Ok(command.output()?)
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or(-1)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn every_verb_has_help_and_refuses_nonsense_with_2() -> Result<()> {
    let dir = tempfile::tempdir()?;
    for (program, verbs) in BINARIES {
        for verb in verbs {
            let help = call(dir.path(), program, &[verb, "--help"], &[])?;
            ensure!(code(&help) == 0, "{program} {verb} --help");
            ensure!(text(&help.stdout).contains("Usage:"), "{program} {verb}");
            let bad = call(dir.path(), program, &[verb, "--no-such-flag"], &[])?;
            ensure!(code(&bad) == 2, "{program} {verb} --no-such-flag");
        }
        let version = call(dir.path(), program, &["--version"], &[])?;
        ensure!(
            text(&version.stdout).starts_with(program),
            "{program} --version"
        );
    }
    Ok(())
}

/// Runs what the help shows, with nothing reachable: whatever fails, it is not the usage.
#[test]
fn every_verb_shows_examples_and_they_are_right() -> Result<()> {
    let dir = tempfile::tempdir()?;
    fs::write(dir.path().join("castlink.toml"), CLOSED)?;
    fs::write(dir.path().join("castlink.lock"), LOCK)?;
    for name in ["agent.yaml", "rendered.yaml"] {
        fs::write(dir.path().join(name), MANIFEST)?;
    }
    fs::write(dir.path().join("values.yaml"), VALUES)?;
    let store = dir.path().join("by-skopeo");
    fs::create_dir_all(store.join("blobs/sha256"))?;
    fs::write(
        store.join("oci-layout"),
        "{\"imageLayoutVersion\": \"1.0.0\"}",
    )?;
    fs::write(store.join("index.json"), STORED)?;
    fs::create_dir(dir.path().join(".kube"))?;
    fs::write(dir.path().join(".kube/config"), KUBECONFIG)?;
    std::thread::scope(|scope| {
        let checks = BINARIES.map(|(program, verbs)| {
            let dir = dir.path();
            scope.spawn(move || {
                verbs
                    .iter()
                    .try_for_each(|verb| check_verb(dir, program, verb))
            })
        });
        checks
            .into_iter()
            .try_for_each(|check| check.join().expect("no panic"))
    })
}

fn check_verb(dir: &Path, program: &str, verb: &str) -> Result<()> {
    let help = text(&call(dir, program, &[verb, "--help"], &[])?.stdout);
    let examples = examples(&help);
    let own = format!("{program} {verb}");
    ensure!(
        examples.iter().any(|line| line.contains(&own)),
        "{own} --help: no example of it"
    );
    let mut stages = examples.iter().flat_map(|line| line.split('|'));
    stages.try_for_each(|stage| check_example(dir, stage))
}

/// No registry answers, and none is asked twice.
const CLOSED: &str = "[mirror]\nto = \"123456789012.dkr.ecr.us-east-1.amazonaws.com\"\nattempts = 1\n\
    [env.prod.aws]\nregion = \"us-east-1\"\n";

const LOCK: &str = "version = 1\n[[image]]\nsource = \"busybox:1\"\n\
    digest = \"sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"\n\
    platforms = []\nsize = 1\n";

/// A layout with an entry whose manifest is missing.
const STORED: &str = "{\"schemaVersion\": 2, \"manifests\": [{\"mediaType\": \"application/vnd.oci.image.manifest.v1+json\", \
    \"digest\": \"sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\", \"size\": 2, \
    \"annotations\": {\"org.opencontainers.image.ref.name\": \"v1\"}}]}";

const KUBECONFIG: &str = "{\"apiVersion\": \"v1\", \"kind\": \"Config\", \"current-context\": \"none\", \
    \"clusters\": [{\"name\": \"none\", \"cluster\": {\"server\": \"https://127.0.0.1:1\"}}], \
    \"users\": [{\"name\": \"none\", \"user\": {\"token\": \"nothing\"}}], \
    \"contexts\": [{\"name\": \"none\", \"context\": {\"cluster\": \"none\", \"user\": \"none\"}}]}";

/// What a stage before would have written.
const RECORDS: &str = concat!(
    r#"{"castlink":1,"kind":"image","source":"busybox:1"}"#,
    "\n",
    r#"{"castlink":1,"kind":"mirrored","source":"busybox:1","target":"r.example/busybox:1","status":"copied"}"#,
    "\n",
);

const MANIFEST: &str = "apiVersion: v1\nkind: Pod\nspec:\n  containers:\n  - image: busybox:1\n";

const VALUES: &str = "image:\n  repository: busybox\n  tag: 1\n";

/// What `stage` reads on stdin.
fn stdin(stage: &str) -> &'static str {
    match stage.contains(" rewrite") || stage.contains(" -f -") {
        true => MANIFEST,
        false => RECORDS,
    }
}

fn examples(help: &str) -> Vec<&str> {
    let lines = help
        .lines()
        .skip_while(|line| !line.starts_with("Examples"));
    lines
        .skip(1)
        .map_while(|line| line.strip_prefix("  "))
        .collect()
}

fn check_example(dir: &Path, stage: &str) -> Result<()> {
    let words = stage.replace("$ECR", "123456789012.dkr.ecr.us-east-1.amazonaws.com");
    let words: Vec<&str> = words
        .split_whitespace()
        // What the shell does with the output is the shell's.
        .take_while(|word| *word != ">")
        .map(|word| word.trim_matches('\''))
        .collect();
    let (program, args) = words.split_first().context("an empty example")?;
    if !program.starts_with("castlink") {
        // Other people's programs before and behind ours.
        return Ok(());
    }
    let mut command = Command::new(binary(program)?);
    command.args(args).env_clear().current_dir(dir);
    let nowhere = "http://127.0.0.1:1";
    for (name, value) in [
        ("HOME", dir.to_str().context("a path")?),
        ("AWS_ENDPOINT_URL", nowhere),
        ("AWS_ACCESS_KEY_ID", "AKIANOBODY"),
        ("AWS_SECRET_ACCESS_KEY", "nothing"),
        ("AWS_REGION", "us-east-1"),
        ("AWS_MAX_ATTEMPTS", "1"),
        ("AWS_EC2_METADATA_DISABLED", "true"),
        ("HTTPS_PROXY", nowhere),
    ] {
        command.env(name, value);
    }
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn()?;
    // A stage that does not read its stdin may have ended by now.
    let _ = child
        .stdin
        .take()
        .context("a pipe")?
        .write_all(stdin(stage).as_bytes());
    let output = child.wait_with_output()?;
    let said = text(&output.stderr);
    // Nothing was rolled out here that could be rolled back.
    let refused = code(&output) == 2 && !said.contains("no run of `apply`");
    ensure!(!refused, "`{}` is refused: {said}", stage.trim());
    Ok(())
}

#[test]
fn configuration_is_layered_and_says_where_values_come_from() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let file = "[aws]\nregion = \"us-east-2\"\nprofile = \"p\"\n[upgrade]\ntimeout = \"5m\"\n\
        [registries.\"ghcr.io\"]\nendpoint = \"https://harbor.corp/ghcr\"\n\
        [env.prod.aws]\nregion = \"ap-south-1\"\nprofile = \"prod\"\n";
    fs::write(dir.path().join("castlink.toml"), file)?;
    let shown = |args: &[&str], env: &[(&str, &str)]| -> Result<BTreeMap<String, String>> {
        let output = call(dir.path(), "castlink", args, env)?;
        ensure!(code(&output) == 0, "{}", text(&output.stderr));
        let row = |line: &str| {
            let (key, rest) = line.split_once(' ')?;
            let words: Vec<&str> = rest.split_whitespace().collect();
            Some((key.to_owned(), words.join(" ")))
        };
        Ok(text(&output.stdout).lines().filter_map(row).collect())
    };
    let plain = shown(
        &["config", "show"],
        &[("CASTLINK_CONFIG", ""), ("CASTLINK_ENV", "")],
    )?;
    assert_eq!(plain["aws.region"], "\"us-east-2\" castlink.toml");
    assert_eq!(plain["upgrade.timeout"], "300 castlink.toml");
    assert_eq!(plain["mirror.concurrency"], "32 default");
    let endpoint = &plain["registries.ghcr.io.endpoint"];
    assert_eq!(endpoint, "\"https://harbor.corp/ghcr\" castlink.toml");
    let prod = [
        ("CASTLINK_ENV", "prod"),
        ("CASTLINK_AWS__REGION", "us-east-1"),
    ];
    let prod = shown(&["config", "show"], &prod)?;
    assert_eq!(prod["aws.region"], "\"us-east-1\" environment");
    assert_eq!(prod["aws.profile"], "\"prod\" [env.prod]");
    for (variable, want) in [
        (
            "CASTLINK_AWS__REGOIN",
            "unknown key `regoin` in environment variable CASTLINK_AWS__REGOIN",
        ),
        (
            "CASTLINK_MIRROR__CONCURRENCY",
            "`mirror.concurrency` in environment variable CASTLINK_MIRROR__CONCURRENCY",
        ),
    ] {
        let output = call(
            dir.path(),
            "castlink",
            &["config", "show"],
            &[(variable, "x")],
        )?;
        assert_eq!(code(&output), 2);
        assert!(
            text(&output.stderr).contains(want),
            "{}",
            text(&output.stderr)
        );
    }
    Ok(())
}

#[test]
fn a_closed_pipe_is_quiet_and_a_full_disk_is_not() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let run = |stdout: Stdio| -> Result<Output> {
        let mut command = Command::new(binary("castlink")?);
        command
            .args(["config", "show"])
            .env_clear()
            .env("HOME", dir.path());
        command
            .current_dir(dir.path())
            .stdout(stdout)
            .stderr(Stdio::piped());
        Ok(command.spawn()?.wait_with_output()?)
    };
    let (reader, writer) = std::io::pipe()?;
    drop(reader);
    let closed = run(Stdio::from(writer))?;
    assert_eq!((code(&closed), text(&closed.stderr)), (0, String::new()));
    let full = File::options()
        .write(true)
        .open("/dev/full")
        .context("/dev/full")?;
    let full = run(Stdio::from(full))?;
    assert_eq!(code(&full), 1);
    assert!(
        text(&full.stderr).contains("could not be written"),
        "{}",
        text(&full.stderr)
    );
    Ok(())
}

/// A profile named on purpose wins over keys that lie around, and secrets appear nowhere.
#[test]
fn a_named_profile_is_used_and_no_secret_is_printed() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let secret = "canary-5f1c-secret";
    let env = [
        ("AWS_ACCESS_KEY_ID", "AKIAAMBIENT"),
        ("AWS_SECRET_ACCESS_KEY", secret),
        ("AWS_SESSION_TOKEN", secret),
        ("AWS_REGION", "us-east-1"),
        ("AWS_ENDPOINT_URL", "http://127.0.0.1:1"),
    ];
    let args = ["plan", "--vpc", "vpc-0123456789abcdef0", "-vv"];
    let named = [&args[..], &["--profile", "no-such-profile"]].concat();
    let output = call(dir.path(), "castlink-tag", &named, &env)?;
    assert_eq!(code(&output), 7, "{}", text(&output.stderr));
    assert!(
        text(&output.stderr).contains("no-such-profile"),
        "{}",
        text(&output.stderr)
    );
    let ambient = call(dir.path(), "castlink-tag", &args, &env)?;
    assert_eq!(code(&ambient), 8, "{}", text(&ambient.stderr));
    for output in [output, ambient] {
        let all = text(&output.stdout) + &text(&output.stderr);
        assert!(!all.contains(secret), "{all}");
    }
    Ok(())
}

#[test]
fn castlink_finds_its_siblings_and_passes_their_exit_on() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let help = call(dir.path(), "castlink", &["mirror", "--help"], &[])?;
    assert!(text(&help.stdout).contains("castlink-mirror"));
    let usage = call(
        dir.path(),
        "castlink",
        &["mirror", "copy", "BAD ref", "--to", "r.example"],
        &[],
    )?;
    assert_eq!(code(&usage), 2);
    let unknown = call(dir.path(), "castlink", &["miror"], &[])?;
    assert_eq!(code(&unknown), 2);
    assert!(text(&unknown.stderr).contains("did you mean `castlink mirror`?"));
    Ok(())
}

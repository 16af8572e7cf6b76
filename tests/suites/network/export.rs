//! `castlink-endpoints export`: the texts are judged by those who read them, an HCL parser,
//! the AWS CLI, and the checker of templates.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::LazyLock;

use castlink_tests::aws_gate::{ACCESS_KEY, SECRET_KEY};
use castlink_tests::awscli;
use castlink_tests::products::Outcome;
use hcl_edit::expr::Expression;
use hcl_edit::structure::{Block, Body};
use serde_json::Value;
use tokio::process::Command;

use crate::fixture::{World, count, quick, texts, with_world, writes};

/// Two of CAST AI's, one of AWS with interfaces, and the gateway.
const WHAT: [&str; 4] = ["--service", "kvisor,telemetry", "--aws-services", "s3,sts"];
const TELEMETRY: &str = "0c00cf3bb0688c735";

static PYTHON: LazyLock<PathBuf> = LazyLock::new(|| {
    awscli::ensure(&|line| eprintln!("{line}")).expect("the AWS CLI can be set up")
});

impl World {
    async fn export(&self, format: &str) -> Outcome {
        let args: Vec<&str> = ["export", format].into_iter().chain(WHAT).collect();
        self.castlink(0, &args).await
    }

    /// Runs a script with the AWS CLI, as a user would, in nothing but this account.
    async fn script(&self, text: &str) -> Outcome {
        let file = self.home.path().join("export.sh");
        std::fs::write(&file, text).unwrap();
        let bin = awscli::program(&PYTHON, self.home.path()).unwrap();
        let path = format!("{}:/usr/bin:/bin", bin.display());
        let output = Command::new("bash")
            .arg(&file)
            .env_clear()
            .env("PATH", path)
            .env("HOME", self.home.path())
            .env("AWS_ENDPOINT_URL", &self.gate.url)
            .env("AWS_ACCESS_KEY_ID", ACCESS_KEY)
            .env("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .unwrap();
        Outcome {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// What EC2 has in the end, without the ids that no two accounts share.
    async fn end_state(&self) -> BTreeMap<String, String> {
        let mut state = BTreeMap::new();
        for endpoint in self.live().await {
            let mut groups = Vec::new();
            for id in &endpoint.groups {
                groups.push(self.group_rules(id).await);
            }
            let tables = self.route_tables(&endpoint.id).await;
            // Which of two equal subnets of a zone is taken depends on their ids.
            let zones = self
                .names(endpoint.subnets.iter().map(String::as_str))
                .into_iter()
                .map(|name| name.replace("a2", "a"));
            let zones: Vec<String> = zones.collect();
            let said = format!(
                "{} dns {} in {zones:?} managed {} groups {groups:?} {tables} route tables",
                endpoint.state, endpoint.private_dns, endpoint.managed,
            );
            state.insert(endpoint.service, said);
        }
        state
    }

    async fn group_rules(&self, id: &str) -> String {
        let xml = self
            .ec2("DescribeSecurityGroups", &[("GroupId.1", id)])
            .await;
        let start = xml.find("<ipPermissions>").unwrap();
        let ingress = &xml[start..xml.find("</ipPermissions>").unwrap()];
        let parts = ["ipProtocol", "fromPort", "toPort", "cidrIp", "description"];
        let rules = parts.map(|name| {
            let mut all = texts(ingress, name);
            all.sort();
            all
        });
        let mut tags = texts(&xml, "key");
        tags.sort();
        format!("{rules:?} {tags:?}").replace(&self.vpc, "VPC")
    }

    pub(crate) async fn route_tables(&self, id: &str) -> usize {
        let xml = self
            .ec2("DescribeVpcEndpoints", &[("VpcEndpointId.1", id)])
            .await;
        let start = xml.find("<routeTableIdSet>").unwrap();
        texts(&xml[start..xml.find("</routeTableIdSet>").unwrap()], "item").len()
    }
}

#[test]
fn the_script_ends_where_apply_does_and_can_be_run_again() {
    let mut ends = Vec::new();
    with_world(quick(), async |world| {
        let args: Vec<&str> = ["apply"].into_iter().chain(WHAT).collect();
        world.castlink(0, &args).await;
        ends.push(world.end_state().await);
    });
    with_world(quick(), async |world| {
        let (script, asked) = world.watched(world.export("aws-cli")).await;
        assert_eq!(writes(&asked), [""; 0]);
        let outcome = world.script(&script.stdout).await;
        assert_eq!(outcome.code, 0, "{outcome}");
        ends.push(world.end_state().await);
        let (again, asked) = world.watched(world.script(&script.stdout)).await;
        assert_eq!(again.code, 0, "{again}");
        assert_eq!(count(&asked, "CreateVpcEndpoint"), 0);
        assert_eq!(count(&asked, "CreateSecurityGroup"), 0);
        // And the planner finds nothing left to do.
        let args = ["plan", "--exit-code"].into_iter().chain(WHAT);
        world.castlink(0, &args.collect::<Vec<_>>()).await;
    });
    assert_eq!(ends[0].len(), 4);
    assert_eq!(ends[0], ends[1]);
}

#[test]
fn the_script_says_when_the_provider_has_to_accept_and_ends_it_after_that() {
    let mut knobs = quick();
    knobs.acceptance_required.insert(TELEMETRY.to_owned());
    with_world(knobs, async |world| {
        let export = ["export", "aws-cli", "--service", "telemetry"];
        let script = world.castlink(0, &export).await.stdout;
        let outcome = world.script(&script).await;
        assert_eq!(outcome.code, 8, "{outcome}");
        let id = world.live().await[0].id.clone();
        let said = format!("error: CAST AI has to accept {id}");
        assert!(outcome.stderr.contains(&said), "{outcome}");
        assert!(world.gate.decide(&id, true));
        let outcome = world.script(&script).await;
        assert_eq!(outcome.code, 0, "{outcome}");
        let live = world.live().await;
        assert!(live.len() == 1 && live[0].private_dns, "{live:?}");
    });
}

#[test]
fn a_refused_call_ends_the_script() {
    with_world(quick(), async |world| {
        let script = world.export("aws-cli").await.stdout;
        // The subnets of nowhere: what EC2 answers must not be passed over.
        let broken = script.replace("--subnet-ids 'subnet-", "--subnet-ids 'subnet-f");
        let outcome = world.script(&broken).await;
        assert!(outcome.code != 0, "{outcome}");
        assert!(outcome.stderr.contains("InvalidSubnet"), "{outcome}");
    });
}

fn parsed(text: &str) -> Body {
    text.parse()
        .unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn blocks<'a>(body: &'a Body, name: &'a str) -> impl Iterator<Item = &'a Block> {
    body.blocks()
        .filter(move |block| block.ident.as_str() == name)
}

fn string(block: &Block, name: &str) -> Option<String> {
    let value = &block.body.get_attribute(name)?.value;
    value.as_str().map(str::to_owned)
}

fn strings(block: &Block, name: &str) -> Vec<String> {
    let values = block.body.get_attribute(name).map(|one| &one.value);
    let values = values.and_then(Expression::as_array);
    let texts = values.into_iter().flatten().filter_map(|one| one.as_str());
    texts.map(str::to_owned).collect()
}

#[test]
fn the_configuration_has_everything_and_imports_what_exists() {
    with_world(quick(), async |world| {
        world.castlink(0, &["apply", "--service", "kvisor"]).await;
        let there = world.live().await.remove(0);
        let text = world.export("terraform").await.stdout;
        let body = parsed(&text);
        let imports: BTreeMap<String, String> = blocks(&body, "import")
            .map(|one| {
                let to = one.body.get_attribute("to").unwrap().value.to_string();
                (to.trim().to_owned(), string(one, "id").unwrap())
            })
            .collect();
        let want = [
            ("aws_security_group.castlink", there.groups[0].as_str()),
            ("aws_vpc_endpoint.kvisor", &there.id),
        ];
        assert_eq!(imports, want.map(|(a, b)| (a.into(), b.into())).into());
        let mut resources: BTreeMap<String, &Block> = BTreeMap::new();
        for one in blocks(&body, "resource") {
            let labels: Vec<&str> = one.labels.iter().map(|label| label.as_str()).collect();
            assert!(
                resources.insert(labels.join("."), one).is_none(),
                "{labels:?} twice"
            );
        }
        let names: BTreeSet<&str> = resources.keys().map(String::as_str).collect();
        let endpoints =
            ["kvisor", "s3", "sts", "telemetry"].map(|one| format!("aws_vpc_endpoint.{one}"));
        let mut want: BTreeSet<&str> = endpoints.iter().map(String::as_str).collect();
        want.insert("aws_security_group.castlink");
        assert_eq!(names, want);
        let s3 = resources["aws_vpc_endpoint.s3"];
        assert_eq!(string(s3, "vpc_endpoint_type").unwrap(), "Gateway");
        assert_eq!(strings(s3, "route_table_ids").len(), 1);
        let kvisor = resources["aws_vpc_endpoint.kvisor"];
        let subnets: BTreeSet<String> = strings(kvisor, "subnet_ids").into_iter().collect();
        assert_eq!(subnets, there.subnets.into_iter().collect());
        for one in resources.values() {
            assert_eq!(string(one, "vpc_id").unwrap(), world.vpc);
        }
        formatted(&text).await;
    });
}

/// `terraform fmt`, which parses too, where it is installed.
async fn formatted(text: &str) {
    let mut command = Command::new("terraform");
    command.args(["fmt", "-check", "-diff", "-"]);
    command
        .env_remove("TF_CLI_CONFIG_FILE")
        .stdin(Stdio::piped());
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = child else {
        eprintln!("no terraform in PATH: the HCL was checked by its parser alone");
        return;
    };
    let mut stdin = child.stdin.take().unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut stdin, text.as_bytes())
        .await
        .unwrap();
    drop(stdin);
    let output = child.wait_with_output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
}

#[test]
fn the_template_is_one_and_holds_what_is_missing() {
    with_world(quick(), async |world| {
        let all = world.export("cloudformation").await;
        lint(world.home.path(), &all.stdout).await;
        let resources = resources(&all.stdout);
        let types = |name: &str| resources.values().filter(|one| one["Type"] == name).count();
        assert_eq!(types("AWS::EC2::VPCEndpoint"), 4);
        assert_eq!(types("AWS::EC2::SecurityGroup"), 1);
        let kvisor = &resources["EndpointKvisor"]["Properties"];
        assert_eq!(kvisor["PrivateDnsEnabled"], true);
        assert_eq!(kvisor["SubnetIds"].as_array().unwrap().len(), 3);
        assert_eq!(
            kvisor["SecurityGroupIds"][0]["Fn::GetAtt"][0],
            "SecurityGroup"
        );

        world.castlink(0, &["apply", "--service", "kvisor"]).await;
        let some = world.export("cloudformation").await;
        lint(world.home.path(), &some.stdout).await;
        let template: Value = serde_json::from_str(&some.stdout).unwrap();
        let left = crate::export::resources(&some.stdout);
        assert!(left.contains_key("EndpointTelemetry") && !left.contains_key("EndpointKvisor"));
        let group = &left["EndpointTelemetry"]["Properties"]["SecurityGroupIds"][0];
        assert_eq!(*group, world.live().await[0].groups[0]);
        assert_eq!(
            template["Metadata"]["Castlink"]["Existing"][0]["Role"],
            "kvisor"
        );
    });
}

fn resources(template: &str) -> BTreeMap<String, Value> {
    let template: Value = serde_json::from_str(template).unwrap();
    serde_json::from_value(template["Resources"].clone()).unwrap()
}

async fn lint(dir: &Path, template: &str) {
    let file = dir.join("template.json");
    std::fs::write(&file, template).unwrap();
    let run = "import sys; from cfnlint.runner import main; sys.exit(main())";
    let mut command = Command::new(&*PYTHON);
    command
        .args(["-c", run, "--regions", "us-east-1", "--"])
        .arg(&file);
    let output = command.env_clear().env("HOME", dir).output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{template}");
}

//! One emulator for the whole suite; a gate, a VPC and a cluster of its own for each test.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use castlink_tests::aws_gate::{ACCESS_KEY, AwsGate, SECRET_KEY, Shared};
use castlink_tests::aws_stack::{ACCOUNT, REGION};
use castlink_tests::faults::Fault;
use castlink_tests::knobs::Knobs;
use castlink_tests::moto::{self, Moto};
use castlink_tests::products::{Outcome, Product};
use castlink_tests::wire::Entry;
use reqwest::Client;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;

struct Common {
    moto: Moto,
    _dir: TempDir,
    // The gates of all tests run here, so that no test's end stops another's.
    runtime: Runtime,
}

static COMMON: LazyLock<Common> = LazyLock::new(|| {
    let python = moto::ensure(&|line| eprintln!("{line}")).expect("moto can be set up");
    let dir = tempfile::tempdir().expect("a temporary directory");
    let runtime = Runtime::new().expect("a runtime");
    let moto = runtime.block_on(Moto::start(&python, &dir.path().join("logs")));
    Common {
        moto: moto.expect("moto starts"),
        _dir: dir,
        runtime,
    }
});

/// (name, zone letter, range, in the cluster's configuration, in the node group)
const SUBNETS: [(&str, char, &str, bool, bool); 6] = [
    ("a", 'a', "10.0.1.0/24", true, true),
    ("a2", 'a', "100.64.1.0/24", false, true),
    ("b", 'b', "10.0.2.0/24", true, true),
    ("c", 'c', "10.0.3.0/24", false, true),
    ("d", 'd', "10.0.4.0/24", false, true),
    ("public", 'b', "10.0.101.0/24", true, false),
];

/// The account of one test.
pub(crate) struct World {
    pub(crate) gate: AwsGate,
    pub(crate) shared: Shared,
    pub(crate) vpc: String,
    pub(crate) cluster: String,
    subnets: BTreeMap<&'static str, String>,
    pub(crate) home: TempDir,
    http: Client,
}

/// Runs `test` in an account of its own.
pub(crate) fn with_world(knobs: Knobs, test: impl AsyncFnOnce(&World)) {
    COMMON.runtime.block_on(async {
        let world = World::make(knobs).await;
        test(&world).await;
    });
}

/// Runs `work` where the gates run.
pub(crate) fn run<T>(work: impl Future<Output = T>) -> T {
    COMMON.runtime.block_on(work)
}

/// Short times.
pub(crate) fn quick() -> Knobs {
    Knobs {
        endpoint_pending_ms: 1_200,
        endpoint_modify_ms: 200,
        endpoint_delete_ms: 200,
        endpoint_listed_ms: 200,
        ..Knobs::default()
    }
}

impl World {
    pub(crate) async fn make(knobs: Knobs) -> Self {
        let shared = Shared::new(ACCOUNT, REGION, knobs, None).unwrap();
        let gate = AwsGate::start(&COMMON.moto.url, shared.clone())
            .await
            .unwrap();
        let mut world = Self {
            gate,
            shared,
            vpc: String::new(),
            cluster: String::new(),
            subnets: BTreeMap::new(),
            home: tempfile::tempdir().unwrap(),
            http: Client::builder().no_proxy().build().unwrap(),
        };
        world.network().await;
        world.eks_cluster().await;
        world
    }

    async fn network(&mut self) {
        let vpc = self
            .one("vpcId", "CreateVpc", &[("CidrBlock", "10.0.0.0/16")])
            .await;
        self.ec2(
            "AssociateVpcCidrBlock",
            &[("VpcId", &vpc), ("CidrBlock", "100.64.0.0/16")],
        )
        .await;
        for attribute in ["EnableDnsSupport.Value", "EnableDnsHostnames.Value"] {
            self.ec2(
                "ModifyVpcAttribute",
                &[("VpcId", &vpc), (attribute, "true")],
            )
            .await;
        }
        for (name, letter, range, _, _) in SUBNETS {
            let zone = format!("{REGION}{letter}");
            let fields = [
                ("VpcId", vpc.as_str()),
                ("CidrBlock", range),
                ("AvailabilityZone", &zone),
            ];
            let id = self.one("subnetId", "CreateSubnet", &fields).await;
            self.subnets.insert(name, id);
        }
        let gateway = self
            .one("internetGatewayId", "CreateInternetGateway", &[])
            .await;
        self.ec2(
            "AttachInternetGateway",
            &[("InternetGatewayId", &gateway), ("VpcId", &vpc)],
        )
        .await;
        let table = self
            .one("routeTableId", "CreateRouteTable", &[("VpcId", &vpc)])
            .await;
        let route = [
            ("RouteTableId", table.as_str()),
            ("DestinationCidrBlock", "0.0.0.0/0"),
            ("GatewayId", &gateway),
        ];
        self.ec2("CreateRoute", &route).await;
        self.ec2(
            "AssociateRouteTable",
            &[
                ("RouteTableId", &table),
                ("SubnetId", self.subnet("public")),
            ],
        )
        .await;
        self.vpc = vpc;
    }

    async fn eks_cluster(&mut self) {
        self.cluster = format!("cluster-{}", self.vpc);
        let role = |name: &str| format!("arn:aws:iam::{ACCOUNT}:role/{name}");
        let pick = |test: fn(&(&str, char, &str, bool, bool)) -> bool| -> Vec<&str> {
            SUBNETS
                .iter()
                .filter(|row| test(row))
                .map(|row| self.subnet(row.0))
                .collect()
        };
        let cluster = json!({
            "name": self.cluster, "version": "1.36", "roleArn": role("eks-cluster"),
            "resourcesVpcConfig": {"subnetIds": pick(|row| row.3)},
        });
        let group = json!({
            "nodegroupName": "general", "nodeRole": role("eks-nodes"), "subnets": pick(|row| row.4),
            "scalingConfig": {"minSize": 1, "maxSize": 3, "desiredSize": 2},
        });
        self.eks("/clusters", &cluster).await;
        self.eks(&format!("/clusters/{}/node-groups", self.cluster), &group)
            .await;
    }

    /// The id of a subnet of the table above.
    pub(crate) fn subnet(&self, name: &str) -> &str {
        &self.subnets[name]
    }

    /// Names of the subnets with these ids, sorted.
    pub(crate) fn names<'a>(&self, ids: impl IntoIterator<Item = &'a str>) -> Vec<&'static str> {
        let name = |id: &str| {
            self.subnets
                .iter()
                .find(|(_, known)| *known == id)
                .map(|(name, _)| *name)
        };
        let mut names: Vec<_> = ids.into_iter().filter_map(name).collect();
        names.sort_unstable();
        names
    }

    /// One call of EC2; the answer's XML.
    pub(crate) async fn ec2(&self, action: &str, fields: &[(&str, &str)]) -> String {
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.append_pair("Action", action)
            .append_pair("Version", "2016-11-15");
        form.extend_pairs(fields);
        let request = self
            .http
            .post(&self.gate.url)
            .header("authorization", signature("ec2"));
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        let answer = request.body(form.finish()).send().await.unwrap();
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        assert!(status.is_success(), "{action}: {text}");
        text
    }

    /// The text of one element of an EC2 answer.
    pub(crate) async fn one(&self, element: &str, action: &str, fields: &[(&str, &str)]) -> String {
        let xml = self.ec2(action, fields).await;
        texts(&xml, element)
            .into_iter()
            .next()
            .unwrap_or_else(|| panic!("no {element}: {xml}"))
    }

    pub(crate) async fn eks(&self, path: &str, body: &Value) {
        self.post("eks", path, &body.to_string()).await;
    }

    /// One call of a service with paths; it must succeed.
    pub(crate) async fn post(&self, service: &str, path: &str, body: &str) {
        let request = self.http.post(format!("{}{path}", self.gate.url));
        let answer = request
            .header("authorization", signature(service))
            .body(body.to_owned())
            .send()
            .await
            .unwrap();
        assert!(
            answer.status().is_success(),
            "{}",
            answer.text().await.unwrap()
        );
    }

    /// The endpoints of the VPC: one map of texts for each.
    pub(crate) async fn endpoints(&self) -> Vec<Endpoint> {
        let fields = [
            ("Filter.1.Name", "vpc-id"),
            ("Filter.1.Value.1", self.vpc.as_str()),
        ];
        let xml = self.ec2("DescribeVpcEndpoints", &fields).await;
        let document = roxmltree::Document::parse(&xml).unwrap();
        let set = document.descendants().find(|node| {
            node.has_tag_name(("http://ec2.amazonaws.com/doc/2016-11-15/", "vpcEndpointSet"))
        });
        let items = set
            .into_iter()
            .flat_map(|set| set.children().filter(roxmltree::Node::is_element));
        items
            .map(|item| Endpoint::read(&document.input_text()[item.range()]))
            .collect()
    }

    /// Those that are neither deleted nor on their way out.
    pub(crate) async fn live(&self) -> Vec<Endpoint> {
        let mut all = self.endpoints().await;
        all.retain(|endpoint| !endpoint.state.starts_with("delet"));
        all
    }

    /// A product with nothing but this account.
    pub(crate) fn product(&self, name: &str, args: &[&str]) -> Product {
        let env = [
            ("AWS_ENDPOINT_URL", self.gate.url.as_str()),
            ("AWS_ACCESS_KEY_ID", ACCESS_KEY),
            ("AWS_SECRET_ACCESS_KEY", SECRET_KEY),
            ("AWS_REGION", REGION),
            ("AWS_EC2_METADATA_DISABLED", "true"),
            ("HOME", self.home.path().to_str().unwrap()),
        ];
        let env = env.map(|(key, value)| (key.to_owned(), value.to_owned()));
        Product::new(name, env)
            .unwrap()
            .dir(self.home.path())
            .args(args.iter().copied())
    }

    /// `castlink-tag`, which must end with `code`.
    pub(crate) async fn tag(&self, code: i32, args: &[&str]) -> Outcome {
        self.product("castlink-tag", args)
            .run()
            .await
            .unwrap()
            .expect_code(code)
            .unwrap()
    }

    /// `castlink-endpoints` on the test's VPC, which must end with `code`.
    pub(crate) async fn castlink(&self, code: i32, args: &[&str]) -> Outcome {
        let product = self
            .product("castlink-endpoints", args)
            .args(["--vpc", self.vpc.as_str()]);
        product.run().await.unwrap().expect_code(code).unwrap()
    }

    /// `castlink-endpoints VERB` on the test's VPC at a terminal where somebody types
    /// `text`; what the terminal shows. (`script` of util-linux is the terminal.)
    pub(crate) async fn at_terminal(&self, verb: &str, text: &str) -> String {
        let binary = castlink_tests::process::binary("castlink-endpoints").unwrap();
        let line = format!("{} {verb} --vpc {}", binary.display(), self.vpc);
        let product = self.product("castlink-endpoints", &[]);
        let product = product.through("script", ["-qec", line.as_str(), "/dev/null"]);
        product.stdin(text).run().await.unwrap().stdout
    }

    /// Runs `work` and returns what it asked of AWS.
    pub(crate) async fn watched<T>(&self, work: impl Future<Output = T>) -> (T, Vec<Entry>) {
        let mark = self.shared.journal.mark();
        let result = work.await;
        (result, self.shared.journal.since(mark))
    }

    /// Puts a fault in force.
    pub(crate) fn fault(&self, fault: Fault) {
        self.shared.faults.add(fault);
    }
}

/// An endpoint as EC2 describes it.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) id: String,
    pub(crate) service: String,
    pub(crate) state: String,
    pub(crate) private_dns: bool,
    pub(crate) subnets: Vec<String>,
    pub(crate) groups: Vec<String>,
    pub(crate) managed: bool,
}

impl Endpoint {
    fn read(xml: &str) -> Self {
        let list = |name| texts(xml, name);
        let one = |name| list(name).into_iter().next().unwrap_or_default();
        let set = |name: &str| {
            let start = xml.find(&format!("<{name}>")).unwrap_or(0);
            let end = xml.find(&format!("</{name}>")).unwrap_or(start);
            texts(&xml[start..end], "item")
        };
        Self {
            id: one("vpcEndpointId"),
            service: one("serviceName"),
            state: one("state"),
            private_dns: one("privateDnsEnabled") == "true",
            subnets: set("subnetIdSet"),
            groups: list("groupId"),
            managed: list("key").iter().any(|key| key == "castlink:managed-by"),
        }
    }
}

/// The texts of all leaves called `name`; EC2's answers need no more than that.
pub(crate) fn texts(xml: &str, name: &str) -> Vec<String> {
    let (start, end) = (format!("<{name}>"), format!("</{name}>"));
    let parts = xml.split(&start).skip(1);
    parts
        .filter_map(|part| part.split_once(&end))
        .map(|(text, _)| text.to_owned())
        .collect()
}

/// The gate wants a signature that names a known key; nobody verifies it.
fn signature(service: &str) -> String {
    format!(
        "AWS4-HMAC-SHA256 Credential={ACCESS_KEY}/20260101/{REGION}/{service}/aws4_request, \
         SignedHeaders=host, Signature=0"
    )
}

/// The actions of the requests that would change something, in order.
pub(crate) fn writes(entries: &[Entry]) -> Vec<&str> {
    entries
        .iter()
        .filter(|entry| entry.mutating)
        .map(|entry| entry.action.as_str())
        .collect()
}

/// How many requests had this action.
pub(crate) fn count(entries: &[Entry], action: &str) -> usize {
    entries
        .iter()
        .filter(|entry| entry.action == action)
        .count()
}

/// The values of a numbered parameter (`SubnetId.1`, `SubnetId.2`, …) of a request.
pub(crate) fn list<'a>(entry: &'a Entry, name: &str) -> Vec<&'a str> {
    let prefix = format!("{name}.");
    let numbered = |key: &str| {
        key.strip_prefix(&prefix)
            .is_some_and(|rest| rest.parse::<usize>().is_ok())
    };
    entry
        .params
        .iter()
        .filter(|(key, _)| numbered(key))
        .map(|(_, value)| value.as_str())
        .collect()
}

//! One emulator and one blob store for the whole suite; gates of its own, hence journal,
//! faults and knobs of its own, for each test.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use castlink_tests::aws_gate::{ACCESS_KEY, AwsGate, SECRET_KEY, Shared};
use castlink_tests::aws_stack::{ACCOUNT, REGION};
use castlink_tests::ecr_gate::EcrGate;
use castlink_tests::knobs::Knobs;
use castlink_tests::moto::{self, Moto};
use castlink_tests::registry::{Options, Registry};
use castlink_tests::servers;
use reqwest::{Method, Response, StatusCode};
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Runtime;

struct Common {
    moto: Moto,
    store: Registry,
    _dir: TempDir,
    // The gates of all tests run here, so that no test's end stops another's.
    runtime: Runtime,
}

static COMMON: LazyLock<Common> = LazyLock::new(|| {
    let say = |line: &str| eprintln!("{line}");
    let python = moto::ensure(&say).expect("moto can be set up");
    let registry = servers::ensure(&say)
        .expect("servers can be built")
        .registry;
    let dir = tempfile::tempdir().expect("a temporary directory");
    let runtime = Runtime::new().expect("a runtime");
    let options = Options {
        name: "store".to_owned(),
        ..Options::default()
    };
    let http = reqwest::Client::new();
    let (moto, store) = runtime.block_on(async {
        let moto = Moto::start(&python, &dir.path().join("logs"))
            .await
            .expect("moto starts");
        let store = Registry::start(&registry, dir.path(), &options, &http).await;
        (moto, store.expect("the registry starts"))
    });
    Common {
        moto,
        store,
        _dir: dir,
        runtime,
    }
});

/// The registry program, for tests that want one of their own.
pub(crate) fn registry_program() -> std::path::PathBuf {
    let say = |line: &str| eprintln!("{line}");
    servers::ensure(&say)
        .expect("servers can be built")
        .registry
}

/// The gates of one test.
pub(crate) struct Gates {
    pub(crate) aws: AwsGate,
    pub(crate) ecr: EcrGate,
    pub(crate) shared: Shared,
    pub(crate) http: reqwest::Client,
}

/// Runs `test` against gates of its own.
pub(crate) fn with_gates(knobs: Knobs, test: impl AsyncFnOnce(&Gates)) {
    let common = &*COMMON;
    common.runtime.block_on(async {
        let shared = Shared::new(ACCOUNT, REGION, knobs, None).unwrap();
        let aws = AwsGate::start(&common.moto.url, shared.clone())
            .await
            .unwrap();
        let ecr = EcrGate::start(&common.store.url, shared.clone())
            .await
            .unwrap();
        let no_redirects = reqwest::redirect::Policy::none();
        let http = reqwest::Client::builder()
            .redirect(no_redirects)
            .build()
            .unwrap();
        test(&Gates {
            aws,
            ecr,
            shared,
            http,
        })
        .await;
    });
}

/// An answer with its body.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: http::HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    async fn read(response: Response) -> Self {
        let (status, headers) = (response.status(), response.headers().clone());
        Self {
            status,
            headers,
            text: response.text().await.unwrap_or_default(),
        }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("not JSON: {}", self.text))
    }

    /// The texts of all XML elements called `name`.
    pub(crate) fn all(&self, name: &str) -> Vec<String> {
        let document = roxmltree::Document::parse(&self.text)
            .unwrap_or_else(|_| panic!("not XML: {}", self.text));
        let named = document
            .descendants()
            .filter(|node| node.tag_name().name() == name);
        named
            .map(|node| node.text().unwrap_or_default().to_owned())
            .collect()
    }

    /// The text of the first XML element called `name`.
    pub(crate) fn one(&self, name: &str) -> String {
        self.all(name)
            .into_iter()
            .next()
            .unwrap_or_else(|| panic!("no {name}: {}", self.text))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    /// The error code, whatever the protocol.
    pub(crate) fn code(&self) -> String {
        if self.text.starts_with('<') {
            return self.one("Code");
        }
        let json = self.json();
        let code = json["__type"]
            .as_str()
            .or(json["errors"][0]["code"].as_str());
        code.unwrap_or(self.header("x-amzn-errortype")).to_owned()
    }
}

fn signature(service: &str, region: &str) -> String {
    format!(
        "AWS4-HMAC-SHA256 Credential={ACCESS_KEY}/20260101/{region}/{service}/aws4_request, \
         SignedHeaders=host, Signature=0"
    )
}

impl Gates {
    /// One EC2 call.
    pub(crate) async fn ec2(&self, action: &str, params: &[(&str, &str)]) -> Answer {
        self.ec2_in(REGION, action, params).await
    }

    pub(crate) async fn ec2_in(
        &self,
        region: &str,
        action: &str,
        params: &[(&str, &str)],
    ) -> Answer {
        let mut form: BTreeMap<_, _> = params.iter().copied().collect();
        form.extend([("Action", action), ("Version", "2016-11-15")]);
        let body = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(form)
            .finish();
        let request = self.http.post(&self.aws.url).body(body);
        let request = request
            .header("content-type", "application/x-www-form-urlencoded")
            .header("authorization", signature("ec2", region));
        Answer::read(request.send().await.unwrap()).await
    }

    /// One call of ECR's API.
    pub(crate) async fn ecr(&self, action: &str, input: Value) -> Answer {
        let target = format!("AmazonEC2ContainerRegistry_V20150921.{action}");
        let request = self.http.post(&self.aws.url).body(input.to_string());
        let request = request
            .header("x-amz-target", target)
            .header("authorization", signature("ecr", REGION));
        Answer::read(request.send().await.unwrap()).await
    }

    /// One EKS call.
    pub(crate) async fn eks(&self, method: Method, path: &str, input: Value) -> Answer {
        let request = self.http.request(method, format!("{}{path}", self.aws.url));
        let request = request
            .header("authorization", signature("eks", REGION))
            .header("content-type", "application/json")
            .body(input.to_string());
        Answer::read(request.send().await.unwrap()).await
    }

    /// One request to the data plane, with a fresh token.
    pub(crate) async fn v2(
        &self,
        method: Method,
        path: &str,
        body: impl Into<reqwest::Body>,
    ) -> Answer {
        self.v2_typed(method, path, "application/octet-stream", body)
            .await
    }

    pub(crate) async fn v2_typed(
        &self,
        method: Method,
        path: &str,
        kind: &str,
        body: impl Into<reqwest::Body>,
    ) -> Answer {
        let (token, _) = self.shared.ecr.issue_token();
        let url = if path.starts_with("http") {
            path.to_owned()
        } else {
            format!("{}{path}", self.ecr.url)
        };
        let request = self
            .http
            .request(method, url)
            .basic_auth("AWS", Some(token));
        let request = request.header("content-type", kind).body(body);
        Answer::read(request.send().await.unwrap()).await
    }

    /// A request with just these headers.
    pub(crate) async fn bare(&self, url: &str, headers: &[(&str, &str)]) -> Answer {
        let request = headers
            .iter()
            .fold(self.http.get(url), |request, (k, v)| request.header(*k, *v));
        Answer::read(request.send().await.unwrap()).await
    }

    /// The real SDK's client for ECR.
    pub(crate) fn ecr_sdk(&self) -> aws_sdk_ecr::Client {
        let keys =
            aws_sdk_ecr::config::Credentials::new(ACCESS_KEY, SECRET_KEY, None, None, "tests");
        let config = aws_sdk_ecr::Config::builder()
            .behavior_version(aws_sdk_ecr::config::BehaviorVersion::latest())
            .region(aws_sdk_ecr::config::Region::new(REGION))
            .endpoint_url(&self.aws.url)
            .credentials_provider(keys)
            .build();
        aws_sdk_ecr::Client::from_conf(config)
    }
}

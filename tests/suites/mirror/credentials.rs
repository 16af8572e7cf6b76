//! Who we are at a registry that lets nobody in: Docker's configuration file and the
//! credential helpers it names, asked as programs.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use castlink_tests::products::Outcome;
use castlink_tests::wire::{Bound, Server};
use http::{Method, StatusCode, header};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::fixture::{World, with_world};

const USER: &str = "me";
/// What no output may show.
const PASSWORD: &str = "pass:word-canary";
const IDENTITY: &str = "identity-canary";
const MANIFEST: &str =
    r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","layers":[]}"#;

/// How the registry wants to be talked to.
#[derive(Clone, Copy, PartialEq)]
enum Scheme {
    Basic,
    Bearer,
}

/// A registry of one image that wants credentials.
struct Private {
    scheme: Scheme,
    host: String,
}

async fn private(scheme: Scheme) -> (Server, String) {
    let bound = Bound::new().await.unwrap();
    let host = bound.addr.to_string();
    let state = Arc::new(Private {
        scheme,
        host: host.clone(),
    });
    let router = Router::new().fallback(answer).with_state(state);
    (bound.serve(router), host)
}

async fn answer(State(registry): State<Arc<Private>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let given = parts.headers.get(header::AUTHORIZATION);
    let given = given
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    if parts.uri.path() == "/token" {
        let body = axum::body::to_bytes(body, 1 << 16).await.unwrap();
        return registry.token(&parts.method, given, &body);
    }
    let admitted = match registry.scheme {
        Scheme::Basic => given == basic(),
        Scheme::Bearer => ["Bearer by-password", "Bearer by-identity"].contains(&given),
    };
    if !admitted {
        let challenge = match registry.scheme {
            Scheme::Basic => "Basic realm=\"private\"".to_owned(),
            Scheme::Bearer => {
                format!(
                    "Bearer realm=\"http://{}/token\",service=\"private\"",
                    registry.host
                )
            }
        };
        let refusal = Response::builder().status(StatusCode::UNAUTHORIZED);
        return refusal
            .header(header::WWW_AUTHENTICATE, challenge)
            .body(Body::empty())
            .unwrap();
    }
    let found = Response::builder().header(header::CONTENT_TYPE, "application/json");
    found.body(Body::from(MANIFEST)).unwrap()
}

impl Private {
    /// A password buys a token by GET, an identity token one by POST (OAuth2).
    fn token(&self, method: &Method, given: &str, body: &[u8]) -> Response {
        let form = String::from_utf8_lossy(body).into_owned();
        let token = if method == Method::POST {
            let wanted = [
                "grant_type=refresh_token",
                &format!("refresh_token={IDENTITY}"),
            ];
            let whole = wanted
                .iter()
                .all(|part| form.split('&').any(|given| given == *part));
            whole.then(|| json!({"access_token": "by-identity"}))
        } else {
            (given == basic()).then(|| json!({"token": "by-password"}))
        };
        let status = match token {
            Some(_) => StatusCode::OK,
            None => StatusCode::UNAUTHORIZED,
        };
        let body = Body::from(token.unwrap_or(Value::Null).to_string());
        Response::builder().status(status).body(body).unwrap()
    }
}

fn encoded() -> String {
    STANDARD.encode(format!("{USER}:{PASSWORD}"))
}

fn basic() -> String {
    format!("Basic {}", encoded())
}

/// Docker's directory, with this configuration.
fn docker(config: &Value) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
    dir
}

/// Plans a copy of the private image. The directory is Docker's, and the first of `PATH`.
async fn plan(world: &World, host: &str, docker: &TempDir, code: i32) -> Outcome {
    let dir = docker.path().to_str().unwrap();
    let path = std::env::var("PATH").unwrap_or_default();
    let product = world.mirror(&[
        "plan",
        &format!("{host}/r:v1"),
        "--layout",
        "path",
        "-o",
        "json",
    ]);
    let product = product
        .env("DOCKER_CONFIG", dir)
        .env("PATH", format!("{dir}:{path}"));
    let outcome = product.run().await.unwrap().expect_code(code).unwrap();
    let said = format!("{}{}", outcome.stdout, outcome.stderr);
    for secret in [PASSWORD, IDENTITY, &encoded()] {
        assert!(!said.contains(secret), "{said}");
    }
    outcome
}

/// A credential helper that knows one registry, and notes what it is asked.
fn helper(dir: &TempDir, host: &str, username: &str, secret: &str) {
    let (note, file) = (
        dir.path().join("asked"),
        dir.path().join("docker-credential-canary"),
    );
    let answer = json!({"ServerURL": host, "Username": username, "Secret": secret});
    let script = format!(
        "#!/bin/sh\nread server\necho \"$1 $server\" >> '{}'\ncase \"$server\" in\n\
         {host}) echo '{answer}' ;;\n*) echo 'credentials not found'; exit 1 ;;\nesac\n",
        note.display()
    );
    std::fs::write(&file, script).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn docker_logins_let_us_in() {
    with_world(async |world| {
        for scheme in [Scheme::Basic, Scheme::Bearer] {
            let (_server, host) = private(scheme).await;
            let config = json!({"auths": {&host: {"auth": encoded()}}});
            let outcome = plan(world, &host, &docker(&config), 0).await;
            let record = &outcome.records_of("mirrored").unwrap()[0];
            assert_eq!(record["status"], "planned");
            // The same without: nobody is let in, and the exit says why.
            plan(world, &host, &docker(&json!({})), 7).await;
            let wrong = STANDARD.encode("me:wrong");
            let config = json!({"auths": {&host: {"auth": wrong}}});
            plan(world, &host, &docker(&config), 7).await;
        }
    });
}

#[test]
fn an_identity_token_is_exchanged() {
    with_world(async |world| {
        let (_server, host) = private(Scheme::Bearer).await;
        let config = json!({"auths": {&host: {"identitytoken": IDENTITY}}});
        plan(world, &host, &docker(&config), 0).await;
        let config = json!({"auths": {&host: {"identitytoken": "another"}}});
        plan(world, &host, &docker(&config), 7).await;
    });
}

#[test]
fn credential_helpers_are_asked() {
    with_world(async |world| {
        let (_server, host) = private(Scheme::Bearer).await;
        for key in ["credHelpers", "credsStore"] {
            let config = match key {
                "credHelpers" => json!({key: {&host: "canary"}}),
                _ => json!({key: "canary"}),
            };
            for (username, secret) in [(USER, PASSWORD), ("<token>", IDENTITY)] {
                let dir = docker(&config);
                helper(&dir, &host, username, secret);
                plan(world, &host, &dir, 0).await;
                let asked = std::fs::read_to_string(dir.path().join("asked")).unwrap();
                assert!(
                    asked.lines().any(|line| line == format!("get {host}")),
                    "{asked}"
                );
            }
            let dir = docker(&config);
            helper(&dir, "another.example", USER, PASSWORD);
            plan(world, &host, &dir, 7).await;
        }
        // Named and not installed: that is said, and nobody is asked as a stranger.
        let config = json!({"credHelpers": {&host: "not-installed"}});
        let outcome = plan(world, &host, &docker(&config), 7).await;
        assert!(
            outcome.stderr.contains("docker-credential-not-installed")
                || outcome.stdout.contains("docker-credential-not-installed"),
            "{outcome}"
        );
    });
}

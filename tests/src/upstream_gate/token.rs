//! Anonymous bearer tokens: good for pulling from one repository, as the public
//! registries give them out (distribution-spec's token authentication).

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, StatusCode, header};

/// Seconds a token is said to live.
const LIFE: u32 = 300;

/// The answer of the token endpoint: the scopes asked for, sealed into the token.
pub(super) fn grant(query: &str) -> Response {
    let scopes: Vec<String> = url::form_urlencoded::parse(query.as_bytes())
        .filter(|(name, _)| name == "scope")
        .map(|(_, value)| value.into_owned())
        .collect();
    let token = URL_SAFE_NO_PAD.encode(scopes.join(" "));
    let body = serde_json::json!({"token": token, "expires_in": LIFE});
    (
        [(header::CONTENT_TYPE, "application/json")],
        body.to_string(),
    )
        .into_response()
}

/// Whether the request carries a token for `repository` (any token for the base path).
pub(super) fn admits(headers: &HeaderMap, repository: Option<&str>) -> bool {
    let Some(scopes) = scopes(headers) else {
        return false;
    };
    repository.is_none_or(|repository| {
        scopes
            .split(' ')
            .any(|scope| scope == format!("repository:{repository}:pull"))
    })
}

/// 401 that says where the token is to be had.
pub(super) fn challenge(own: &str, repository: Option<&str>) -> Response {
    let scope = repository.map_or_else(String::new, |repository| {
        format!(",scope=\"repository:{repository}:pull\"")
    });
    let bearer = format!("Bearer realm=\"{own}/token\",service=\"upstream\"{scope}");
    let body = r#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}"#;
    Response::builder()
        .status(StatusCode::UNAUTHORIZED)
        .header(header::WWW_AUTHENTICATE, bearer)
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(body))
        .expect("a response of constants and our own address")
}

fn scopes(headers: &HeaderMap) -> Option<String> {
    let token = headers
        .get(header::AUTHORIZATION)?
        .to_str()
        .ok()?
        .strip_prefix("Bearer ")?;
    String::from_utf8(URL_SAFE_NO_PAD.decode(token).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_token_opens_its_own_repository_alone() {
        let answer = grant("service=upstream&scope=repository%3Aghcr.io%2Fa%3Apull");
        let body = axum::body::to_bytes(answer.into_body(), 4096)
            .await
            .unwrap();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let mut headers = HeaderMap::new();
        let bearer = format!("Bearer {}", body["token"].as_str().unwrap());
        headers.insert(header::AUTHORIZATION, bearer.parse().unwrap());
        assert!(admits(&headers, Some("ghcr.io/a")));
        assert!(!admits(&headers, Some("ghcr.io/b")));
        assert!(!admits(&HeaderMap::new(), None));
    }
}

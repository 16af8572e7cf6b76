//! How the data plane refuses: status, code and text as ECR's own.

use axum::response::Response;
use http::StatusCode;
use serde_json::json;

use super::set;
use crate::aws_gate::respond;
use crate::faults::Harm;

/// One refusal.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    code: String,
    message: String,
    challenge: Option<String>,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, code: &str, message: impl Into<String>) -> Self {
        Self {
            status,
            code: code.to_owned(),
            message: message.into(),
            challenge: None,
        }
    }

    pub(super) fn unauthenticated(host: &str) -> Self {
        let challenge = format!("Basic realm=\"https://{host}/\",service=\"ecr.amazonaws.com\"");
        let refusal = Self::new(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "Not Authorized");
        Self {
            challenge: Some(challenge),
            ..refusal
        }
    }

    pub(super) fn denied(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "DENIED", message)
    }

    pub(super) fn expired() -> Self {
        Self::denied("Your authorization token has expired. Reauthenticate and try again.")
    }

    pub(super) fn throttled() -> Self {
        Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            "TOOMANYREQUESTS",
            "Rate exceeded",
        )
    }

    pub(super) fn no_repository(name: &str, account: &str) -> Self {
        let message = format!(
            "The repository with name '{name}' does not exist in the registry with id '{account}'"
        );
        Self::new(StatusCode::NOT_FOUND, "NAME_UNKNOWN", message)
    }

    pub(super) fn not_found(code: &str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, message)
    }

    pub(super) fn bad(code: &str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    pub(super) fn unsupported(message: impl Into<String>) -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED", message)
    }

    /// The store behind the gate is in trouble.
    pub(super) fn internal(error: impl std::fmt::Display) -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "INTERNAL",
            format!("blob store: {error}"),
        )
    }

    /// The refusal that `harm` means here, when it is one.
    pub(super) fn from_harm(harm: &Harm, permissions: &[&str]) -> Option<Self> {
        match harm {
            Harm::Throttle => Some(Self::throttled()),
            Harm::Deny => Some(Self::denied(format!(
                "User: arn:aws:iam::123456789012:user/sandbox is not authorized to perform: ecr:{}",
                permissions.first().unwrap_or(&"BatchGetImage")
            ))),
            Harm::Expired => Some(Self::expired()),
            Harm::Error {
                status,
                code,
                message,
            } => {
                let status = StatusCode::from_u16(*status).unwrap_or(StatusCode::BAD_REQUEST);
                Some(Self::new(status, code, message))
            }
            _ => None,
        }
    }

    pub(super) fn render(&self) -> Response {
        let body = json!({"errors": [{"code": self.code, "message": self.message}]});
        let mut response = respond(
            self.status,
            "application/json; charset=utf-8",
            body.to_string(),
        );
        if let Some(challenge) = &self.challenge {
            set(&mut response, "www-authenticate", challenge);
        }
        response
    }
}

//! Answers, and the one table of how each service words the same refusal.

use axum::body::{Body, Bytes};
use axum::http::header::CONTENT_TYPE;
use axum::response::Response;
use http::StatusCode;
use serde_json::json;

use super::query::escape;
use crate::faults::Harm;

/// What a service answers when it refuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    /// HTTP status.
    pub status: u16,
    /// The error code that clients decide on.
    pub code: String,
    /// The text for people.
    pub message: String,
}

impl ApiError {
    pub(crate) fn new(status: u16, code: &str, message: impl Into<String>) -> Self {
        Self {
            status,
            code: code.to_owned(),
            message: message.into(),
        }
    }

    /// The caller's mistake: 400.
    pub(crate) fn bad(code: &str, message: impl Into<String>) -> Self {
        Self::new(400, code, message)
    }

    /// As `service` writes it on the wire.
    pub(super) fn render(&self, service: &str) -> Response {
        let Self { code, message, .. } = self;
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::BAD_REQUEST);
        let (code_text, text) = (escape(code), escape(message));
        let (kind, body) = match service {
            "ec2" => (
                "text/xml;charset=UTF-8",
                format!(
                    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Response><Errors><Error>\
                 <Code>{code_text}</Code><Message>{text}</Message></Error></Errors>\
                 <RequestID>sandbox</RequestID></Response>"
                ),
            ),
            "ecr" => (
                "application/x-amz-json-1.1",
                json!({"__type": code, "message": message}).to_string(),
            ),
            "eks" => ("application/json", json!({"message": message}).to_string()),
            _ => (
                "text/xml",
                format!(
                    "<ErrorResponse><Error><Type>Sender</Type><Code>{code_text}</Code>\
                 <Message>{text}</Message></Error><RequestId>sandbox</RequestId></ErrorResponse>"
                ),
            ),
        };
        let mut response = respond(status, kind, body);
        if let Ok(code) = code.parse() {
            response.headers_mut().insert("x-amzn-errortype", code);
        }
        response
    }

    /// The refusal that `harm` means to `service`, when it is one.
    pub(super) fn from_harm(harm: &Harm, service: &str, action: &str) -> Option<Self> {
        match harm {
            Harm::Throttle => Some(throttled(service)),
            Harm::Deny => Some(denied(service, action)),
            Harm::Expired => Some(expired(service)),
            Harm::Error {
                status,
                code,
                message,
            } => Some(Self::new(*status, code, message)),
            _ => None,
        }
    }

    /// An access key that AWS does not know.
    pub(super) fn unknown_key(service: &str) -> Self {
        let message = "The security token included in the request is invalid.";
        match service {
            "ec2" => Self::new(
                401,
                "AuthFailure",
                "AWS was not able to validate the provided access credentials",
            ),
            "ecr" => Self::bad("UnrecognizedClientException", message),
            "eks" => Self::new(403, "UnrecognizedClientException", message),
            _ => Self::new(403, "InvalidClientTokenId", message),
        }
    }
}

fn throttled(service: &str) -> ApiError {
    match service {
        "ec2" => ApiError::new(503, "RequestLimitExceeded", "Request limit exceeded."),
        "eks" => ApiError::new(429, "ThrottlingException", "Rate exceeded"),
        "ecr" => ApiError::bad("ThrottlingException", "Rate exceeded"),
        _ => ApiError::bad("Throttling", "Rate exceeded"),
    }
}

fn denied(service: &str, action: &str) -> ApiError {
    let caller = "User: arn:aws:iam::123456789012:user/sandbox";
    let message = format!("{caller} is not authorized to perform: {service}:{action}");
    match service {
        "ec2" => ApiError::new(
            403,
            "UnauthorizedOperation",
            format!("You are not authorized to perform this operation. {message}"),
        ),
        "ecr" => ApiError::bad("AccessDeniedException", message),
        "eks" => ApiError::new(403, "AccessDeniedException", message),
        _ => ApiError::new(403, "AccessDenied", message),
    }
}

fn expired(service: &str) -> ApiError {
    let message = "The security token included in the request is expired";
    match service {
        "ec2" => ApiError::bad("RequestExpired", "Request has expired."),
        "ecr" => ApiError::bad("ExpiredTokenException", message),
        "eks" => ApiError::new(403, "ExpiredTokenException", message),
        _ => ApiError::new(403, "ExpiredToken", message),
    }
}

/// A whole answer of one content type.
pub(crate) fn respond(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response {
    let mut response = Response::new(Body::from(body.into()));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, http::HeaderValue::from_static(kind));
    response
}

/// A connection that closes without an answer: the server meets an error in the body
/// before it has sent anything.
pub(crate) fn cut() -> Response {
    let broken = futures::stream::iter([Err::<Bytes, _>(std::io::Error::other("cut"))]);
    Response::new(Body::from_stream(broken))
}

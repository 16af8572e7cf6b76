//! What the emulator's subnets do not show: tags that become visible late, and owners of
//! shared subnets. Its answers are passed on with that changed.

use std::sync::{Mutex, PoisonError};

use axum::body::{Bytes, to_bytes};
use axum::response::Response;
use http::request::Parts;

use super::MAX_BODY;
use super::answer::{ApiError, respond};
use super::ec2::Call;

/// Tag keys that are not shown yet, and how many more looks will not show them.
#[derive(Default)]
pub(super) struct Unseen(Mutex<(u32, Vec<String>)>);

impl Unseen {
    /// Notes that these keys were set just now.
    pub(super) fn note(&self, keys: Vec<String>, looks: u32) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = (looks, keys);
    }

    /// The keys that this look does not show.
    fn look(&self) -> Vec<String> {
        let mut unseen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match unseen.0.checked_sub(1) {
            Some(left) => {
                unseen.0 = left;
                unseen.1.clone()
            }
            None => Vec::new(),
        }
    }
}

/// DescribeSubnets.
pub(super) async fn describe(
    call: &Call<'_>,
    parts: &Parts,
    body: Bytes,
) -> Result<Response, ApiError> {
    let answer = call.moto.forward(parts, body).await?;
    let status = answer.status();
    let bytes = to_bytes(answer.into_body(), MAX_BODY)
        .await
        .map_err(|error| ApiError::new(500, "InternalError", error.to_string()))?;
    let mut xml = String::from_utf8_lossy(&bytes).into_owned();
    for key in call.ec2.unseen_tags.look() {
        xml = without_tag(&xml, &key);
    }
    for (subnet, owner) in &call.knobs.shared_subnets {
        xml = owned_by(&xml, subnet, owner);
    }
    Ok(respond(status, "text/xml;charset=UTF-8", xml))
}

/// The answer without the tags of this key, whatever the emulator puts between elements.
fn without_tag(xml: &str, key: &str) -> String {
    let mark = format!("<key>{key}</key>");
    let mut rest = xml.to_owned();
    while let Some(at) = rest.find(&mark) {
        let (start, end) = (rest[..at].rfind("<item>"), rest[at..].find("</item>"));
        let (Some(start), Some(end)) = (start, end) else {
            break;
        };
        rest.replace_range(start..at + end + "</item>".len(), "");
    }
    rest
}

/// The emulator writes an item's owner before its id.
fn owned_by(xml: &str, subnet: &str, owner: &str) -> String {
    const START: &str = "<ownerId>";
    let id = xml.find(&format!("<subnetId>{subnet}</subnetId>"));
    let start = id.and_then(|id| Some(xml[..id].rfind(START)? + START.len()));
    let end = start.and_then(|start| Some(start + xml[start..].find('<')?));
    match start.zip(end) {
        Some((start, end)) => format!("{}{owner}{}", &xml[..start], &xml[end..]),
        None => xml.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_hidden_and_owners_replaced() {
        let xml = "<item><ownerId>1</ownerId><subnetId>s-1</subnetId><tagSet>\
            <item><key>a</key><value>x</value></item><item><key>b</key><value>y</value></item>\
            </tagSet></item><item><ownerId>1</ownerId><subnetId>s-2</subnetId></item>";
        let hidden = without_tag(xml, "a");
        assert!(!hidden.contains("<key>a</key>") && hidden.contains("<key>b</key>"));
        let shared = owned_by(xml, "s-2", "999");
        assert_eq!(shared.matches("<ownerId>1<").count(), 1, "{shared}");
        assert!(
            shared.contains("<ownerId>999</ownerId><subnetId>s-2<"),
            "{shared}"
        );
    }
}

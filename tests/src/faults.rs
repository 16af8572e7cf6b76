//! Faults on demand: which request is to fail next, and how.
//!
//! A fault names requests by service, action and a piece of their resource, and says what
//! happens in words that every service renders with its own code and status. What those
//! are is decided by the gates, not here.

use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

/// What happens to a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Harm {
    /// Too many requests, in the service's words.
    Throttle,
    /// The caller may not do this, in the service's words.
    Deny,
    /// The caller's credentials have expired, in the service's words.
    Expired,
    /// Exactly this error.
    Error {
        /// HTTP status.
        status: u16,
        /// Error code.
        code: String,
        /// Error message.
        message: String,
    },
    /// The request is carried out, then its answer is withheld: the connection breaks.
    Lost,
    /// The request is carried out, and its answer never comes: the moment to kill the client.
    Hold,
    /// The request waits before it is carried out, until [`Faults::release`]: the moment
    /// for somebody else to write (Kubernetes only).
    Wait,
    /// The connection breaks before anything is carried out.
    Reset,
    /// No answer, ever.
    Hang,
    /// The answer waits this long.
    Slow {
        /// Milliseconds.
        millis: u64,
    },
    /// A blob's body ends after this many bytes (data plane only).
    Truncate {
        /// Bytes that still get through.
        bytes: u64,
    },
    /// A blob's body has its first byte changed (data plane only).
    Corrupt,
}

/// Which requests, and how many of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Service as in the journal; any when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Action as in the journal; any when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// Must occur in the resource or the parameters; any when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contains: Option<String>,
    /// How many matching requests pass unharmed first.
    #[serde(default)]
    pub after: u32,
    /// How many are harmed then; all when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u32>,
    /// What happens to them.
    pub harm: Harm,
}

impl Fault {
    /// Harms every request of one action.
    #[must_use]
    pub fn on(service: &str, action: &str, harm: Harm) -> Self {
        let (service, action) = (Some(service.to_owned()), Some(action.to_owned()));
        Self {
            service,
            action,
            contains: None,
            after: 0,
            times: None,
            harm,
        }
    }

    /// Only the first `times` of them.
    #[must_use]
    pub fn times(mut self, times: u32) -> Self {
        self.times = Some(times);
        self
    }

    /// Only after `after` of them went through.
    #[must_use]
    pub fn after(mut self, after: u32) -> Self {
        self.after = after;
        self
    }

    /// Only those about something with `text` in its name.
    #[must_use]
    pub fn containing(mut self, text: &str) -> Self {
        self.contains = Some(text.to_owned());
        self
    }

    fn matches(&self, service: &str, action: &str, subject: &str) -> bool {
        self.service.as_deref().is_none_or(|name| name == service)
            && self.action.as_deref().is_none_or(|name| name == action)
            && self
                .contains
                .as_deref()
                .is_none_or(|text| subject.contains(text))
            && self.times != Some(0)
    }
}

/// The faults in force, shared by the gates.
#[derive(Default)]
pub struct Faults {
    list: Mutex<Vec<Fault>>,
    held: Notify,
    released: Notify,
}

impl Faults {
    /// Adds one.
    pub fn add(&self, fault: Fault) {
        self.guard().push(fault);
    }

    /// Removes all.
    pub fn clear(&self) {
        self.guard().clear();
    }

    /// What is still in force.
    #[must_use]
    pub fn list(&self) -> Vec<Fault> {
        self.guard()
            .iter()
            .filter(|fault| fault.times != Some(0))
            .cloned()
            .collect()
    }

    /// What happens to this request; counts it against the first fault that matches.
    pub fn take(&self, service: &str, action: &str, subject: &str) -> Option<Harm> {
        let mut list = self.guard();
        let fault = list
            .iter_mut()
            .find(|fault| fault.matches(service, action, subject))?;
        if fault.after > 0 {
            fault.after -= 1;
            return None;
        }
        fault.times = fault.times.map(|times| times - 1);
        Some(fault.harm.clone())
    }

    /// Says that a request has been carried out and is held.
    pub fn hold(&self) {
        self.held.notify_one();
    }

    /// Says that a request waits, and waits with it.
    pub async fn wait(&self) {
        self.held.notify_one();
        self.released.notified().await;
    }

    /// Lets one waiting request go.
    pub fn release(&self) {
        self.released.notify_one();
    }

    /// Waits until a request is held, or waits; for ever when the client ends before.
    pub async fn held(&self) {
        self.held.notified().await;
    }

    fn guard(&self) -> MutexGuard<'_, Vec<Fault>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_spares_the_first_and_ends_after_its_count() {
        let faults = Faults::default();
        faults.add(
            Fault::on("ec2", "CreateVpcEndpoint", Harm::Deny)
                .after(1)
                .times(1),
        );
        let take = |action| faults.take("ec2", action, "");
        assert_eq!(take("DescribeVpcs"), None);
        assert_eq!(take("CreateVpcEndpoint"), None);
        assert_eq!(take("CreateVpcEndpoint"), Some(Harm::Deny));
        assert_eq!(take("CreateVpcEndpoint"), None);
        assert_eq!(faults.list(), []);
    }

    #[test]
    fn faults_are_readable_as_json() {
        let text = r#"{"service": "registry", "harm": {"truncate": {"bytes": 10}}}"#;
        let fault: Fault = serde_json::from_str(text).unwrap();
        assert_eq!(fault.harm, Harm::Truncate { bytes: 10 });
        assert_eq!(
            serde_json::from_str::<Fault>(r#"{"harm": "deny"}"#)
                .unwrap()
                .harm,
            Harm::Deny
        );
    }
}

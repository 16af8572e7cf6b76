//! Decides which subnets are tagged. Pure: no calls, no output.

use castlink_core::Exit;

use crate::observe::Candidate;

/// The tag CAST AI looks for.
pub(crate) const KEY: &str = "cast.ai/routable";
/// Its value.
pub(crate) const VALUE: &str = "true";

/// What the subnets are to have afterwards.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Goal {
    /// The tag.
    #[default]
    Tagged,
    /// No such tag.
    Untagged,
}

/// What the planner may do.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Policy {
    pub(crate) goal: Goal,
    /// Tag subnets that route to an internet gateway.
    pub(crate) include_public: bool,
    /// Replace another value of the tag.
    pub(crate) overwrite: bool,
}

/// What is to be done with one subnet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Set the tag.
    Tag,
    /// Set the tag over another value.
    Replace(String),
    /// It has the tag.
    Tagged,
    /// It has another value, and nobody allowed to replace it.
    Conflict(String),
    /// It routes to this internet gateway, and nobody asked for it by name.
    Public(String),
    /// Take the tag off.
    Remove,
    /// It has no such tag, and is not to have one.
    Untagged,
    /// It has another value, which is not castlink's to take off.
    Foreign(String),
}

/// A subnet and its verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) candidate: Candidate,
    pub(crate) verdict: Verdict,
}

/// All subnets, in the order they are shown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) goal: Goal,
    pub(crate) items: Vec<Item>,
}

/// Decides for every subnet.
pub(crate) fn plan(found: Vec<Candidate>, policy: Policy) -> Plan {
    let verdict = match policy.goal {
        Goal::Tagged => tagging,
        Goal::Untagged => removal,
    };
    let items = found.into_iter().map(|candidate| Item {
        verdict: verdict(&candidate, policy),
        candidate,
    });
    Plan {
        goal: policy.goal,
        items: items.collect(),
    }
}

/// A subnet with the tag is left as it is, also a public one: taking tags away is not
/// what was asked for.
fn tagging(candidate: &Candidate, policy: Policy) -> Verdict {
    let public = candidate
        .gateway
        .clone()
        .filter(|_| !candidate.named && !policy.include_public);
    match (candidate.subnet.tags.get(KEY), public) {
        (Some(value), _) if value == VALUE => Verdict::Tagged,
        (_, Some(gateway)) => Verdict::Public(gateway),
        (Some(value), None) if policy.overwrite => Verdict::Replace(value.clone()),
        (Some(value), None) => Verdict::Conflict(value.clone()),
        (None, None) => Verdict::Tag,
    }
}

/// Another value was set by somebody else, and says something else.
fn removal(candidate: &Candidate, _: Policy) -> Verdict {
    match candidate.subnet.tags.get(KEY) {
        Some(value) if value == VALUE => Verdict::Remove,
        Some(value) => Verdict::Foreign(value.clone()),
        None => Verdict::Untagged,
    }
}

impl Item {
    pub(crate) fn id(&self) -> &str {
        &self.candidate.subnet.id
    }

    /// True when something is to be done.
    pub(crate) fn is_step(&self) -> bool {
        matches!(
            self.verdict,
            Verdict::Tag | Verdict::Replace(_) | Verdict::Remove
        )
    }

    /// The value before.
    pub(crate) fn from(&self) -> Option<&str> {
        match &self.verdict {
            Verdict::Replace(value) | Verdict::Conflict(value) | Verdict::Foreign(value) => {
                Some(value)
            }
            Verdict::Tagged | Verdict::Remove => Some(VALUE),
            Verdict::Tag | Verdict::Public(_) | Verdict::Untagged => None,
        }
    }
}

impl Plan {
    /// The subnets to tag, or to take the tag off.
    pub(crate) fn steps(&self) -> impl Iterator<Item = &Item> {
        self.items.iter().filter(|item| item.is_step())
    }

    /// How many items satisfy `test`.
    pub(crate) fn count(&self, test: impl Fn(&Verdict) -> bool) -> usize {
        self.items.iter().filter(|item| test(&item.verdict)).count()
    }

    /// How a run ends that does all steps: with a conflict where one is left.
    pub(crate) fn exit(&self) -> Exit {
        match self.count(|verdict| matches!(verdict, Verdict::Conflict(_))) {
            0 => Exit::Done,
            _ => Exit::Conflict,
        }
    }
}

#[cfg(test)]
mod tests {
    use castlink_ec2::{Subnet, Tags};

    use super::*;

    fn candidate(value: Option<&str>, gateway: Option<&str>, named: bool) -> Candidate {
        Candidate {
            subnet: Subnet {
                id: "subnet-1".into(),
                tags: value
                    .map(|value| (KEY.to_owned(), value.to_owned()))
                    .into_iter()
                    .collect::<Tags>(),
                ..Subnet::default()
            },
            gateway: gateway.map(Into::into),
            named,
            ..Candidate::default()
        }
    }

    #[test]
    fn verdicts() {
        let plain = Policy::default();
        let overwrite = Policy {
            overwrite: true,
            ..plain
        };
        let public = Policy {
            include_public: true,
            ..plain
        };
        for (value, gateway, named, policy, want) in [
            (None, None, false, plain, Verdict::Tag),
            (Some("true"), None, false, plain, Verdict::Tagged),
            (
                Some("false"),
                None,
                false,
                plain,
                Verdict::Conflict("false".into()),
            ),
            (
                Some("false"),
                None,
                false,
                overwrite,
                Verdict::Replace("false".into()),
            ),
            (
                Some(""),
                None,
                true,
                plain,
                Verdict::Conflict(String::new()),
            ),
            (
                None,
                Some("igw-1"),
                false,
                plain,
                Verdict::Public("igw-1".into()),
            ),
            (
                None,
                Some("igw-1"),
                false,
                overwrite,
                Verdict::Public("igw-1".into()),
            ),
            (None, Some("igw-1"), true, plain, Verdict::Tag),
            (None, Some("igw-1"), false, public, Verdict::Tag),
            (Some("true"), Some("igw-1"), false, plain, Verdict::Tagged),
            (
                Some("no"),
                Some("igw-1"),
                false,
                plain,
                Verdict::Public("igw-1".into()),
            ),
        ] {
            let got = tagging(&candidate(value, gateway, named), policy);
            assert_eq!(got, want, "{value:?} {gateway:?} named {named} {policy:?}");
        }
    }

    #[test]
    fn only_the_tag_as_castlink_sets_it_is_taken_off() {
        let policy = Policy {
            goal: Goal::Untagged,
            ..Policy::default()
        };
        for (value, want) in [
            (Some("true"), Verdict::Remove),
            (Some("false"), Verdict::Foreign("false".into())),
            (None, Verdict::Untagged),
        ] {
            let got = plan(vec![candidate(value, Some("igw-1"), false)], policy);
            assert_eq!(got.items[0].verdict, want, "{value:?}");
            assert_eq!(got.exit(), Exit::Done);
        }
    }

    #[test]
    fn a_conflict_decides_the_exit_and_is_no_step() {
        let found = vec![
            candidate(None, None, false),
            candidate(Some("x"), None, false),
        ];
        let plan = plan(found, Policy::default());
        assert_eq!(plan.steps().count(), 1);
        assert_eq!(plan.exit(), Exit::Conflict);
    }
}

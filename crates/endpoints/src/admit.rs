//! Does a security group let the nodes in? Pure.

use std::net::IpAddr;

use castlink_ec2::{Group, Rule};

pub(crate) use castlink_ec2::RULE_TEXT;

/// The port of every CAST AI service.
pub(crate) const HTTPS: i32 = 443;

/// The CIDRs of `cidrs` that no rule of `groups` lets in on 443, each by itself.
///
/// A rule that names another security group or a prefix list counts as letting everyone
/// in: somebody has decided who may, and castlink does not widen that.
pub(crate) fn missing<'a>(groups: &[&Group], cidrs: &'a [String]) -> Vec<&'a str> {
    let rules: Vec<&Rule> = groups
        .iter()
        .flat_map(|group| &group.ingress)
        .filter(|rule| opens(rule))
        .collect();
    if rules.iter().any(|rule| !rule.references.is_empty()) {
        return Vec::new();
    }
    let sources: Vec<&String> = rules.iter().flat_map(|rule| &rule.cidrs).collect();
    cidrs
        .iter()
        .map(String::as_str)
        .filter(|cidr| !sources.iter().any(|source| contains(source, cidr)))
        .collect()
}

fn opens(rule: &Rule) -> bool {
    match (rule.protocol.as_str(), rule.ports) {
        ("-1", _) | ("tcp" | "6", None) => true,
        ("tcp" | "6", Some((first, last))) => (first..=last).contains(&HTTPS),
        _ => false,
    }
}

/// True when every address of `inner` is in `outer`. What is no CIDR contains nothing.
fn contains(outer: &str, inner: &str) -> bool {
    let (Some((outer, outer_length, bits)), Some((inner, inner_length, inner_bits))) =
        (parse(outer), parse(inner))
    else {
        return false;
    };
    let drop = bits - outer_length;
    bits == inner_bits && outer_length <= inner_length && shift(outer, drop) == shift(inner, drop)
}

/// Address, prefix length, and how many bits the family has.
fn parse(cidr: &str) -> Option<(u128, u32, u32)> {
    let (address, length) = cidr.split_once('/')?;
    let (value, bits) = match address.parse().ok()? {
        IpAddr::V4(address) => (u128::from(address.to_bits()), 32),
        IpAddr::V6(address) => (address.to_bits(), 128),
    };
    let length = length.parse().ok().filter(|length| *length <= bits)?;
    Some((value, length, bits))
}

fn shift(value: u128, by: u32) -> u128 {
    value.checked_shr(by).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containment() {
        for (outer, inner, want) in [
            ("10.0.0.0/8", "10.1.0.0/16", true),
            ("10.1.0.0/16", "10.0.0.0/8", false),
            ("10.0.0.0/16", "10.0.0.0/16", true),
            ("0.0.0.0/0", "192.168.0.0/16", true),
            ("0.0.0.0/0", "2600::/56", false),
            ("::/0", "2600::/56", true),
            ("10.0.0.0/16", "10.1.0.0/24", false),
            ("nonsense", "10.0.0.0/8", false),
            ("10.0.0.0/33", "10.0.0.0/33", false),
        ] {
            assert_eq!(contains(outer, inner), want, "{outer} {inner}");
        }
    }

    fn group(
        protocol: &str,
        ports: Option<(i32, i32)>,
        cidrs: &[&str],
        references: &[&str],
    ) -> Group {
        let own = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
        Group {
            ingress: vec![Rule {
                protocol: protocol.into(),
                ports,
                cidrs: own(cidrs),
                references: own(references),
            }],
            ..Group::default()
        }
    }

    #[test]
    fn what_is_let_in() {
        let cidrs = ["10.0.0.0/16".to_owned(), "100.64.0.0/16".to_owned()];
        for (group, want) in [
            (
                group("tcp", Some((443, 443)), &["10.0.0.0/16"], &[]),
                vec!["100.64.0.0/16"],
            ),
            (
                group(
                    "tcp",
                    Some((0, 65535)),
                    &["10.0.0.0/8", "100.64.0.0/10"],
                    &[],
                ),
                vec![],
            ),
            (group("-1", None, &["0.0.0.0/0"], &[]), vec![]),
            (group("-1", None, &[], &["sg-cluster"]), vec![]),
            (
                group("tcp", Some((80, 80)), &["0.0.0.0/0"], &["sg-1"]),
                vec!["10.0.0.0/16", "100.64.0.0/16"],
            ),
            (
                group("udp", Some((443, 443)), &["0.0.0.0/0"], &[]),
                vec!["10.0.0.0/16", "100.64.0.0/16"],
            ),
        ] {
            assert_eq!(missing(&[&group], &cidrs), want, "{group:?}");
        }
        assert_eq!(missing(&[], &cidrs).len(), 2);
    }
}

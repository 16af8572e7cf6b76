//! The host names of Amazon ECR registries, in every partition and form.

/// The parts of an Amazon ECR registry host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EcrHost {
    /// The twelve-digit account.
    pub account: String,
    /// The region.
    pub region: String,
    /// True for the FIPS form.
    pub fips: bool,
    /// True for the dual-stack form (IPv4 and IPv6).
    pub dual_stack: bool,
}

/// Regions begin so in all partitions but `aws`.
const PARTITIONS: [(&str, &str); 7] = [
    ("cn-", "aws-cn"),
    ("us-gov-", "aws-us-gov"),
    ("us-isob-", "aws-iso-b"),
    ("us-isof-", "aws-iso-f"),
    ("us-iso-", "aws-iso"),
    ("eu-isoe-", "aws-iso-e"),
    ("eusc-", "aws-eusc"),
];

/// What follows the region: the names of the partitions, and those of dual-stack hosts.
const SUFFIXES: [&str; 8] = [
    "amazonaws.com",
    "amazonaws.com.cn",
    "amazonaws.eu",
    "c2s.ic.gov",
    "sc2s.sgov.gov",
    "csp.hci.ic.gov",
    "cloud.adc-e.uk",
    "amazonaws.scloud",
];
const DUAL_STACK_SUFFIXES: [&str; 2] = ["on.aws", "on.amazonwebservices.com.cn"];

impl EcrHost {
    /// Recognises `<account>.dkr.ecr[-fips].<region>.<suffix>` and the dual-stack
    /// `<account>.dkr-ecr[-fips].<region>.<suffix>`, in every partition (the pattern of
    /// amazon-ecr-credential-helper). `host` may have a path behind it.
    #[must_use]
    pub fn parse(host: &str) -> Option<Self> {
        let host = host.split('/').next()?;
        let (account, rest) = host.split_once('.')?;
        if account.len() != 12 || !account.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let (rest, dual_stack) = match rest.strip_prefix("dkr-") {
            Some(rest) => (rest, true),
            None => (rest.strip_prefix("dkr.")?, false),
        };
        let (service, rest) = rest.split_once('.')?;
        let fips = match service {
            "ecr" => false,
            "ecr-fips" => true,
            _ => return None,
        };
        let (region, suffix) = rest.split_once('.')?;
        let known = match dual_stack {
            true => DUAL_STACK_SUFFIXES.contains(&suffix),
            false => SUFFIXES.contains(&suffix),
        };
        (is_region(region) && known).then(|| Self {
            account: account.into(),
            region: region.into(),
            fips,
            dual_stack,
        })
    }

    /// The partition its ARNs are in: `aws`, `aws-cn`, `aws-us-gov`.
    #[must_use]
    pub fn partition(&self) -> &'static str {
        let found = PARTITIONS
            .iter()
            .find(|(start, _)| self.region.starts_with(start));
        found.map_or("aws", |(_, partition)| partition)
    }
}

/// `us-gov-west-1`: words of small letters and a number.
fn is_region(text: &str) -> bool {
    let word = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
    };
    text.contains('-') && text.split('-').all(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_of_every_form() {
        for (rest, region, fips, dual_stack, partition) in [
            (
                "dkr.ecr.us-east-1.amazonaws.com",
                "us-east-1",
                false,
                false,
                "aws",
            ),
            (
                "dkr.ecr-fips.us-east-2.amazonaws.com",
                "us-east-2",
                true,
                false,
                "aws",
            ),
            (
                "dkr.ecr.us-gov-west-1.amazonaws.com",
                "us-gov-west-1",
                false,
                false,
                "aws-us-gov",
            ),
            (
                "dkr.ecr-fips.us-gov-east-1.amazonaws.com",
                "us-gov-east-1",
                true,
                false,
                "aws-us-gov",
            ),
            ("dkr-ecr.eu-west-1.on.aws", "eu-west-1", false, true, "aws"),
            (
                "dkr-ecr-fips.us-west-2.on.aws",
                "us-west-2",
                true,
                true,
                "aws",
            ),
            (
                "dkr.ecr.cn-north-1.amazonaws.com.cn",
                "cn-north-1",
                false,
                false,
                "aws-cn",
            ),
            (
                "dkr.ecr.cn-north-1.amazonaws.com.cn/team",
                "cn-north-1",
                false,
                false,
                "aws-cn",
            ),
            (
                "dkr-ecr.cn-northwest-1.on.amazonwebservices.com.cn",
                "cn-northwest-1",
                false,
                true,
                "aws-cn",
            ),
            (
                "dkr.ecr.eusc-de-east-1.amazonaws.eu",
                "eusc-de-east-1",
                false,
                false,
                "aws-eusc",
            ),
            (
                "dkr.ecr.us-iso-east-1.c2s.ic.gov",
                "us-iso-east-1",
                false,
                false,
                "aws-iso",
            ),
            (
                "dkr.ecr.us-isob-east-1.sc2s.sgov.gov",
                "us-isob-east-1",
                false,
                false,
                "aws-iso-b",
            ),
            (
                "dkr.ecr.us-isof-south-1.csp.hci.ic.gov",
                "us-isof-south-1",
                false,
                false,
                "aws-iso-f",
            ),
            (
                "dkr.ecr.eu-isoe-west-1.cloud.adc-e.uk",
                "eu-isoe-west-1",
                false,
                false,
                "aws-iso-e",
            ),
        ] {
            let host = EcrHost::parse(&format!("123456789012.{rest}")).expect(rest);
            let want = EcrHost {
                account: "123456789012".into(),
                region: region.into(),
                fips,
                dual_stack,
            };
            assert_eq!(host, want, "{rest}");
            assert_eq!(host.partition(), partition, "{rest}");
        }
    }

    #[test]
    fn what_only_looks_like_one() {
        for host in [
            "ghcr.io",
            "public.ecr.aws",
            "12345.dkr.ecr.us-east-1.amazonaws.com",
            "12345678901x.dkr.ecr.us-east-1.amazonaws.com",
            "123456789012.dkr.ecr.x",
            "123456789012.dkr.ecr.amazonaws.com",
            "123456789012.dkr.ecr-x.us-east-1.amazonaws.com",
            "123456789012.dkr.ecr.us-east-1.amazonaws.com.evil.example",
            "123456789012.dkr-ecr.us-east-1.amazonaws.com",
            "123456789012.dkr.ecr.us-east-1.on.aws",
            "api.ecr.us-east-1.amazonaws.com",
        ] {
            assert_eq!(EcrHost::parse(host), None, "{host}");
        }
    }
}

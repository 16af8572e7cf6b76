//! AWS's own services that a cluster without internet needs, and the report about their
//! endpoints. Pure but for the printing.
//!
//! Never here: CAST AI's services, which the catalogue of `castlink-core` has.

use std::collections::BTreeMap;

use castlink_core::{
    Exit, Failure, Printer, Result,
    catalogue::Service as Wanted,
    config::nearest,
    printer::{count, symbol, table},
    record::{Check, CheckStatus, Record},
};
use castlink_ec2::{Endpoint, Service, State};

use crate::{observe::World, plan::adopted};

/// The last part of the service's name, and what a cluster needs it for.
const SERVICES: [(&str, &str); 13] = [
    ("ecr.api", "image pulls: permission"),
    ("ecr.dkr", "image pulls: manifests"),
    (GATEWAY, "image pulls: layers"),
    ("sts", "roles of service accounts"),
    ("ec2", "nodes joining, pod addresses, CAST AI's agent"),
    ("eks", "cluster description"),
    ("eks-auth", "pod identities"),
    ("logs", "CloudWatch Logs"),
    ("elasticloadbalancing", "load balancers"),
    ("autoscaling", "Cluster Autoscaler"),
    ("ssm", "shells on nodes, parameters"),
    ("ssmmessages", "shells on nodes"),
    ("ec2messages", "shells on nodes"),
];

/// The one that comes as a gateway: routes, no interfaces, free of charge.
const GATEWAY: &str = "s3";

/// What the user wants of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Choice {
    /// Last parts of the names, in the order of the table.
    services: Vec<&'static str>,
    /// They are only looked for.
    check: bool,
    /// A region that lacks one of them is no mistake of the user's.
    all: bool,
    region: String,
}

impl Choice {
    /// Reads `check`, `all`, or names.
    ///
    /// # Errors
    /// Exit 2 for a name that is not in the table.
    pub(crate) fn read(words: &[String], region: &str) -> Result<Self> {
        let region = region.to_owned();
        let known = SERVICES.map(|(name, _)| name);
        let one = |word: &String| -> Result<&'static str> {
            let found = known.iter().find(|name| *name == word);
            found.copied().ok_or_else(|| unknown(word, &known))
        };
        match words {
            [] => Ok(Self::default()),
            [word] if word == "all" || word == "check" => Ok(Self {
                services: known.to_vec(),
                check: word == "check",
                all: true,
                region,
            }),
            words => {
                let named: Vec<&str> = words.iter().map(one).collect::<Result<_>>()?;
                Ok(Self {
                    services: known.into_iter().filter(|s| named.contains(s)).collect(),
                    check: false,
                    all: false,
                    region,
                })
            }
        }
    }

    /// True when they are to be looked for and nothing else.
    pub(crate) fn is_check(&self) -> bool {
        self.check
    }

    /// True when a gateway is among them.
    pub(crate) fn needs_routes(&self) -> bool {
        self.services.contains(&GATEWAY)
    }

    /// All names that they may have here.
    pub(crate) fn names(&self) -> Vec<String> {
        let names = self.services.iter().flat_map(|one| self.candidates(one));
        names.collect()
    }

    /// China has most services under names that begin with `cn.`, and some under the
    /// names of everywhere else; GovCloud has them all under the latter.
    fn candidates(&self, service: &str) -> Vec<String> {
        let name = format!("com.amazonaws.{}.{service}", self.region);
        if self.region.starts_with("cn-") {
            vec![format!("cn.{name}"), name]
        } else {
            vec![name]
        }
    }

    /// The services as the region has them. With `all`, those that it lacks are left out.
    pub(crate) fn resolve(&self, known: &BTreeMap<String, Service>) -> Vec<Wanted> {
        let resolved = self.services.iter().filter_map(|service| {
            let mut names = self.candidates(service);
            let there = names.iter().position(|name| known.contains_key(name));
            if there.is_none() && self.all {
                return None;
            }
            Some(Wanted {
                role: (*service).to_owned(),
                name: names.swap_remove(there.unwrap_or(0)),
                title: purpose(service).to_owned(),
            })
        });
        resolved.collect()
    }

    /// The same without asking EC2 what it has: for those that have an endpoint, its name.
    pub(crate) fn guess(&self, endpoints: &[Endpoint]) -> Vec<Wanted> {
        let known = endpoints
            .iter()
            .map(|one| (one.service.clone(), Service::default()));
        let known: BTreeMap<String, Service> = known.collect();
        let every = Self {
            all: false,
            ..self.clone()
        };
        every.resolve(&known)
    }
}

fn purpose(service: &str) -> &'static str {
    let row = SERVICES.iter().find(|(name, _)| *name == service);
    row.map_or("", |(_, purpose)| purpose)
}

fn unknown(word: &str, known: &[&str]) -> Failure {
    let failure = Failure::usage(format!("`{word}` is not an AWS service castlink knows"));
    match nearest(word, known) {
        Some(near) => failure.hint(format!("did you mean `{near}`?")),
        None => failure.hint(format!("give check, all, or some of {}", known.join(", "))),
    }
}

/// True for the service that comes as a gateway. It may have interface endpoints besides,
/// of the same name: those are nobody's business here.
pub(crate) fn is_gateway(service: &str) -> bool {
    service
        .strip_suffix(GATEWAY)
        .is_some_and(|rest| rest.ends_with('.'))
}

/// One check per service: does the VPC have an endpoint that serves?
pub(crate) fn checks(choice: &Choice, world: &World) -> Vec<Check> {
    let services = choice.resolve(&world.services);
    services.iter().map(|one| check(one, world)).collect()
}

fn check(wanted: &Wanted, world: &World) -> Check {
    let (status, detail) = verdict(wanted, world);
    let hint = format!("give --aws-services {} to apply", wanted.role);
    Check {
        id: "endpoints.aws_service".into(),
        status,
        subject: format!("endpoint/{}", wanted.role),
        detail,
        hint: (status != CheckStatus::Ok).then_some(hint),
    }
}

fn verdict(wanted: &Wanted, world: &World) -> (CheckStatus, String) {
    let Some(endpoint) = adopted(&world.endpoints, &wanted.name) else {
        return (CheckStatus::Fail, format!("no endpoint: {}", wanted.title));
    };
    let said = format!("{} is {}", endpoint.id, endpoint.state);
    if endpoint.state != State::Available {
        return (CheckStatus::Fail, said);
    }
    let without = world.without_route(endpoint);
    match (endpoint.gateway, without.as_slice()) {
        (true, []) => (CheckStatus::Ok, said),
        (true, tables) => (
            CheckStatus::Fail,
            format!("{said}, without a route in {}", tables.join(", ")),
        ),
        (false, _) if endpoint.private_dns => (CheckStatus::Ok, said),
        (false, _) => (CheckStatus::Warn, format!("{said}, private DNS is off")),
    }
}

/// Prints the checks; exit 3 when a service has no endpoint that serves.
pub(crate) fn report(printer: &Printer, checks: &[Check]) -> Exit {
    let sign = |status| match status {
        CheckStatus::Ok => '=',
        CheckStatus::Warn => '~',
        CheckStatus::Fail => '!',
    };
    let row = |check: &Check| {
        let role = check.subject.trim_start_matches("endpoint/");
        let sign = symbol(sign(check.status)).to_string();
        vec![sign, role.to_owned(), check.detail.clone()]
    };
    let rows: Vec<Vec<String>> = checks.iter().map(row).collect();
    for line in table(&rows) {
        printer.line(line);
    }
    for check in checks {
        printer.record(&Record::Check(check.clone()));
    }
    let served = checks
        .iter()
        .filter(|check| check.status != CheckStatus::Fail);
    let served = served.count();
    let all = count(checks.len(), "AWS service");
    printer.line(format!("{served} of {all} have an endpoint"));
    if served == checks.len() {
        Exit::Done
    } else {
        Exit::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice(words: &[&str], region: &str) -> Result<Choice> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        Choice::read(&words, region)
    }

    #[test]
    fn names_of_each_partition() {
        for (region, want) in [
            ("us-east-1", vec!["com.amazonaws.us-east-1.sts"]),
            ("us-gov-west-1", vec!["com.amazonaws.us-gov-west-1.sts"]),
            (
                "cn-north-1",
                vec![
                    "cn.com.amazonaws.cn-north-1.sts",
                    "com.amazonaws.cn-north-1.sts",
                ],
            ),
        ] {
            assert_eq!(choice(&["sts"], region).unwrap().names(), want);
        }
    }

    #[test]
    fn the_name_that_the_region_has_is_taken() {
        let choice = choice(&["s3", "sts", "eks-auth"], "cn-north-1").unwrap();
        let known = [
            "com.amazonaws.cn-north-1.s3",
            "cn.com.amazonaws.cn-north-1.sts",
        ];
        let known = known.map(|name| (name.to_owned(), Service::default()));
        let names = |choice: &Choice| -> Vec<String> {
            let services = choice.resolve(&known.clone().into());
            services.into_iter().map(|service| service.name).collect()
        };
        assert_eq!(
            names(&choice),
            [
                known[0].0.as_str(),
                &known[1].0,
                "cn.com.amazonaws.cn-north-1.eks-auth"
            ]
        );
        let all = Choice {
            all: true,
            ..choice
        };
        assert_eq!(names(&all).len(), 2, "what the region lacks is left out");
    }

    #[test]
    fn a_gateway_is_known_by_its_name() {
        for (name, want) in [
            ("com.amazonaws.us-east-1.s3", true),
            ("com.amazonaws.us-east-1.ecr.dkr", false),
            ("com.amazonaws.us-east-1.xs3", false),
            ("com.amazonaws.vpce.us-east-1.vpce-svc-0123", false),
        ] {
            assert_eq!(is_gateway(name), want, "{name}");
        }
    }

    #[test]
    fn a_name_that_is_none_is_a_usage_error() {
        let err = choice(&["ecr.dkr", "ecr.apis"], "us-east-1").unwrap_err();
        assert_eq!(err.exit(), Exit::Usage);
        assert_eq!(err.hint_text(), Some("did you mean `ecr.api`?"));
        assert!(choice(&["all", "sts"], "us-east-1").is_err());
    }
}

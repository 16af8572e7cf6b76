//! What is wanted, resolved once from configuration and catalogue: no option is left
//! open after this.

use std::time::Duration;

use castlink_core::{
    Failure, Result,
    catalogue::{Catalogue, Service},
    config::{Config, Endpoints},
};
use castlink_ec2::Tags;

use crate::aws::Choice;

/// The tag that says what castlink may change and delete again.
pub(crate) const MANAGED: (&str, &str) = ("castlink:managed-by", "castlink");
/// The tag that finds the security group.
pub(crate) const ROLE: (&str, &str) = ("castlink:role", "endpoints");

/// What is wanted.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// Services to connect, in the order they are shown.
    pub(crate) services: Vec<Service>,
    /// The services' own names resolve to the endpoints.
    pub(crate) private_dns: bool,
    /// Security groups to use; empty = one that castlink makes.
    pub(crate) groups: Vec<String>,
    /// The user's tags for what is made.
    pub(crate) tags: Tags,
    /// How long to wait for EC2.
    pub(crate) deadline: Duration,
    /// The region of the VPC.
    pub(crate) region: String,
    /// The region of CAST AI's services, when it is another.
    pub(crate) service_region: Option<String>,
    /// IPv6 addresses as well, where possible.
    pub(crate) dual_stack: bool,
    /// AWS's own services.
    pub(crate) aws: Choice,
    /// Switch DNS attributes of the VPC on that private DNS needs.
    pub(crate) enable_vpc_dns: bool,
    /// Wait for the provider's acceptance as for everything else.
    pub(crate) wait_acceptance: bool,
}

impl Settings {
    /// Reads the catalogue and picks the services of `region`.
    ///
    /// # Errors
    /// Exit 2: the catalogue file is none, or has nothing for the region or a role.
    pub(crate) fn resolve(config: &Config, region: &str) -> Result<Self> {
        let wanted = &config.endpoints;
        checked(&wanted.tags)?;
        let home = wanted.service_region.as_deref().unwrap_or(region);
        Ok(Self {
            services: catalogue(wanted)?.services(home, &wanted.services)?,
            private_dns: wanted.private_dns,
            groups: wanted.security_groups.clone(),
            tags: wanted.tags.clone(),
            deadline: wanted.deadline(),
            region: region.to_owned(),
            service_region: (home != region).then(|| home.to_owned()),
            dual_stack: wanted.dual_stack,
            aws: Choice::read(&wanted.aws_services, region)?,
            enable_vpc_dns: wanted.enable_vpc_dns,
            wait_acceptance: wanted.wait_acceptance,
        })
    }

    /// The full names of CAST AI's services.
    pub(crate) fn castai_names(&self) -> Vec<String> {
        self.services
            .iter()
            .map(|service| service.name.clone())
            .collect()
    }

    /// The full names of all services, those of AWS in each form they may have.
    pub(crate) fn names(&self) -> Vec<String> {
        let mut names = self.castai_names();
        names.extend(self.aws.names());
        names
    }

    /// The tags of something that is made: the user's, a name for the console, and ours,
    /// which the user cannot take away.
    pub(crate) fn tags_for(&self, name: &str) -> Tags {
        let mut tags = Tags::from([("Name".to_owned(), name.to_owned())]);
        tags.extend(self.tags.clone());
        tags.extend([MANAGED, ROLE].map(|(key, value)| (key.to_owned(), value.to_owned())));
        tags
    }
}

/// The built-in catalogue with the user's file laid over it.
///
/// # Errors
/// Exit 2: the file cannot be read, or is none.
pub(crate) fn catalogue(wanted: &Endpoints) -> Result<Catalogue> {
    let catalogue = Catalogue::built_in();
    let Some(file) = &wanted.catalogue else {
        return Ok(catalogue);
    };
    let name = file.display().to_string();
    let text = std::fs::read_to_string(file)
        .map_err(|err| Failure::usage(format!("catalogue {name}")).because(err))?;
    catalogue.overlay(&name, &text)
}

/// EC2's limits, told before the first call instead of in the middle.
fn checked(tags: &Tags) -> Result<()> {
    let bad = |(key, value): &(&String, &String)| {
        key.is_empty()
            || key.starts_with("aws:")
            || key.chars().count() > 128
            || value.chars().count() > 256
    };
    match tags.iter().find(bad) {
        None => Ok(()),
        Some((key, _)) => Err(Failure::usage(format!(
            "`{key}` in endpoints.tags is not a tag that EC2 takes"
        ))
        .hint(
            "a key has 1 to 128 characters and does not begin with aws:, a value has at most 256",
        )),
    }
}

/// True for what castlink made.
pub(crate) fn is_managed(tags: &Tags) -> bool {
    tags.get(MANAGED.0).is_some_and(|value| value == MANAGED.1)
}

#[cfg(test)]
mod tests {
    use castlink_core::Exit;

    use super::*;

    #[test]
    fn our_tags_win_and_the_name_can_be_replaced() {
        let mut config = Config::default();
        config.endpoints.tags = Tags::from([
            ("Name".into(), "mine".into()),
            (MANAGED.0.into(), "somebody".into()),
            ("team".into(), "platform".into()),
        ]);
        let settings = Settings::resolve(&config, "us-east-1").unwrap();
        let tags = settings.tags_for("castlink-rest-api");
        assert_eq!(tags["Name"], "mine");
        assert_eq!(tags["team"], "platform");
        assert!(is_managed(&tags));
    }

    #[test]
    fn tags_that_ec2_would_refuse_are_usage_errors() {
        for (key, value) in [("aws:x", ""), ("", "x"), ("k", &"v".repeat(257))] {
            let mut config = Config::default();
            config.endpoints.tags = Tags::from([(key.into(), value.into())]);
            assert_eq!(
                Settings::resolve(&config, "us-east-1").unwrap_err().exit(),
                Exit::Usage,
                "{key:?}"
            );
        }
    }

    #[test]
    fn a_region_without_services_is_a_usage_error() {
        let err = Settings::resolve(&Config::default(), "eu-central-1").unwrap_err();
        assert_eq!(err.exit(), Exit::Usage);
        assert!(err.hint_text().unwrap().contains("us-east-1"));
    }
}

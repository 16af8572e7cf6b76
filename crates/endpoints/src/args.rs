//! The command line of `castlink-endpoints`, and how its flags lay over the configuration.

use std::{path::PathBuf, time::Duration};

use castlink_core::{
    app::Command,
    cli::{self, AwsArgs, NetworkArgs, OutputArgs},
    config::Config,
};
use clap::{Args, Parser, Subcommand};

use crate::{export::Format, iam::For, picture};

/// PrivateLink endpoints to CAST AI, one per service, in every zone where nodes may be
///
/// The VPC is given with --vpc, or found by --cluster or --subnet; without any of these the
/// [network] section of castlink.toml decides. With --subnet only these subnets are used. Otherwise
/// castlink takes one subnet in each zone: zones of subnets tagged cast.ai/routable=true if there are
/// any, else of the cluster's subnets, else of all private ones. Endpoints of a service that exist
/// already are adopted, whoever made them; only what castlink made is ever destroyed.
#[derive(Debug, Parser)]
#[command(name = "castlink-endpoints", version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) verb: Verb,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Show what would be made or changed, and what stands in the way
    #[command(after_help = "\
        Examples:\n\
        \x20 castlink-endpoints plan --cluster prod --region us-east-1\n\
        \x20 castlink-endpoints plan --vpc vpc-0a1b2c3d4e5f60718 --exit-code\n\
        \x20 castlink-endpoints plan --cluster prod --aws-services check")]
    Plan(PlanArgs),
    /// Make it so, and wait until every endpoint is available
    #[command(after_help = "\
        Examples:\n\
        \x20 castlink-endpoints apply --cluster prod\n\
        \x20 castlink-endpoints apply --cluster prod --service rest-api,api-grpc\n\
        \x20 castlink-endpoints apply --cluster prod --aws-services ecr.api,ecr.dkr,s3,sts")]
    Apply(ApplyArgs),
    /// Show state, zones and DNS names of every endpoint (exit 3 when not all are available)
    #[command(after_help = "\
        Examples:\n\
        \x20 castlink-endpoints status --cluster prod -o json\n\
        \x20 castlink-endpoints status --cluster prod --picture svg")]
    Status(StatusArgs),
    /// Write the plan for another tool: Terraform, the AWS CLI or CloudFormation
    #[command(after_help = "\
        Examples:\n\
        \x20 castlink-endpoints export terraform --cluster prod --region us-east-1\n\
        \x20 castlink-endpoints export aws-cli --vpc vpc-0a1b2c3d4e5f60718 --region us-east-1")]
    Export(ExportArgs),
    /// Show the endpoint services that castlink knows, by region
    #[command(after_help = "\
        Examples:\n\
        \x20 castlink-endpoints catalogue\n\
        \x20 castlink-endpoints catalogue --region us-east-1 -o json")]
    Catalogue(CatalogueArgs),
    /// Print the IAM policy that a verb needs, and no more than that
    #[command(after_help = "\
        Examples:\n\
        \x20 castlink-endpoints iam-policy --for apply --cluster prod --region us-east-1")]
    IamPolicy(IamPolicyArgs),
    /// Delete the endpoints and the security group that castlink made in the VPC
    #[command(after_help = "\
        Examples:\n\
        \x20 castlink-endpoints destroy --vpc vpc-0a1b2c3d4e5f60718")]
    Destroy(DestroyArgs),
}

#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    /// Exit 3 when there is something to change
    #[arg(long)]
    pub(crate) exit_code: bool,
    #[command(flatten)]
    what: What,
    #[command(flatten)]
    how: How,
}

#[derive(Debug, Args)]
pub(crate) struct ApplyArgs {
    #[command(flatten)]
    what: What,
    #[command(flatten)]
    how: How,
    #[command(flatten)]
    wait: Wait,
    /// Wait until CAST AI accepts the endpoints, instead of ending with exit 8
    #[arg(long, help_heading = "Endpoint options")]
    wait_acceptance: bool,
}

#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// Draw it: zones, subnets, endpoints, and in red what is missing
    #[arg(long, value_name = "FORMAT")]
    pub(crate) picture: Option<picture::Format>,
    #[command(flatten)]
    what: What,
}

#[derive(Debug, Args)]
pub(crate) struct DestroyArgs {
    /// Do not ask
    #[arg(long)]
    pub(crate) yes: bool,
    #[command(flatten)]
    what: What,
    #[command(flatten)]
    wait: Wait,
}

#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// The tool
    pub(crate) format: Format,
    #[command(flatten)]
    what: What,
    #[command(flatten)]
    how: How,
    #[command(flatten)]
    wait: Wait,
}

#[derive(Debug, Args)]
pub(crate) struct CatalogueArgs {
    /// Only this region
    #[arg(long, value_name = "REGION")]
    pub(crate) region: Option<String>,
    /// File with more regions or services, laid over the built-in catalogue
    #[arg(long, value_name = "FILE")]
    catalogue: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct IamPolicyArgs {
    /// What the policy is to allow
    #[arg(long = "for", value_name = "VERB", default_value = "apply")]
    pub(crate) verb: For,
    #[command(flatten)]
    what: What,
}

/// Which endpoints, and how to reach AWS.
#[derive(Debug, Args)]
struct What {
    /// File with more regions or services, laid over the built-in catalogue
    #[arg(long, value_name = "FILE")]
    catalogue: Option<PathBuf>,
    /// Service by role: rest-api, kvisor, … (repeat, or separate with commas) [default: all]
    #[arg(long = "service", value_name = "ROLE", value_delimiter = ',')]
    services: Vec<String>,
    /// AWS's own services that a closed cluster needs, as well: ecr.api, ecr.dkr, s3, sts, …
    /// or `all`; `check` only reports which endpoints are missing (exit 3)
    #[arg(long, value_name = "check|all|NAMES", value_delimiter = ',')]
    aws_services: Vec<String>,
    /// Region of CAST AI's services [default: the VPC's]
    #[arg(long, value_name = "REGION")]
    service_region: Option<String>,
    #[command(flatten)]
    network: NetworkArgs,
    #[command(flatten)]
    aws: AwsArgs,
}

/// How endpoints are made.
#[derive(Debug, Args)]
#[command(next_help_heading = "Endpoint options")]
struct How {
    /// Security group to use instead of making one (repeat, or separate with commas)
    #[arg(long = "security-group", value_name = "ID", value_delimiter = ',')]
    groups: Vec<String>,
    /// Do not make the services' own names resolve to the endpoints
    #[arg(long)]
    no_private_dns: bool,
    /// IPv6 addresses as well, where the service and the subnets have them
    #[arg(long)]
    dual_stack: bool,
    /// Switch the VPC's DNS attributes on when private DNS needs them
    #[arg(long)]
    enable_vpc_dns: bool,
}

/// How long to wait.
#[derive(Debug, Args)]
#[command(next_help_heading = "Endpoint options")]
struct Wait {
    /// How long to wait for EC2 in all [default: 10m]
    #[arg(long, value_parser = cli::duration, value_name = "DURATION")]
    timeout: Option<Duration>,
}

impl What {
    fn apply(&self, config: &mut Config) {
        self.network.apply(config);
        self.aws.apply(config);
        if self.catalogue.is_some() {
            config.endpoints.catalogue.clone_from(&self.catalogue);
        }
        if !self.services.is_empty() {
            config.endpoints.services.clone_from(&self.services);
        }
        if !self.aws_services.is_empty() {
            config.endpoints.aws_services.clone_from(&self.aws_services);
        }
        if self.service_region.is_some() {
            config
                .endpoints
                .service_region
                .clone_from(&self.service_region);
        }
    }
}

impl How {
    fn apply(&self, config: &mut Config) {
        if !self.groups.is_empty() {
            config.endpoints.security_groups.clone_from(&self.groups);
        }
        if self.no_private_dns {
            config.endpoints.private_dns = false;
        }
        if self.dual_stack {
            config.endpoints.dual_stack = true;
        }
        if self.enable_vpc_dns {
            config.endpoints.enable_vpc_dns = true;
        }
    }
}

impl Wait {
    fn apply(&self, config: &mut Config) {
        if let Some(timeout) = self.timeout {
            config.endpoints.timeout = timeout.as_secs();
        }
    }
}

impl Command for Cli {
    fn output(&self) -> &OutputArgs {
        &self.output
    }

    fn verb(&self) -> &'static str {
        match self.verb {
            Verb::Plan(_) => "plan",
            Verb::Apply(_) => "apply",
            Verb::Status(_) => "status",
            Verb::Destroy(_) => "destroy",
            Verb::Export(_) => "export",
            Verb::Catalogue(_) => "catalogue",
            Verb::IamPolicy(_) => "iam-policy",
        }
    }

    fn apply(&self, config: &mut Config) {
        let (what, how, wait) = match &self.verb {
            Verb::Plan(verb) => (&verb.what, Some(&verb.how), None),
            Verb::Apply(verb) => (&verb.what, Some(&verb.how), Some(&verb.wait)),
            Verb::Status(verb) => (&verb.what, None, None),
            Verb::Destroy(verb) => (&verb.what, None, Some(&verb.wait)),
            Verb::Export(verb) => (&verb.what, Some(&verb.how), Some(&verb.wait)),
            Verb::IamPolicy(verb) => (&verb.what, None, None),
            Verb::Catalogue(verb) => {
                if verb.catalogue.is_some() {
                    config.endpoints.catalogue.clone_from(&verb.catalogue);
                }
                return;
            }
        };
        if matches!(&self.verb, Verb::Apply(verb) if verb.wait_acceptance) {
            config.endpoints.wait_acceptance = true;
        }
        what.apply(config);
        if let Some(how) = how {
            how.apply(config);
        }
        if let Some(wait) = wait {
            wait.apply(config);
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}

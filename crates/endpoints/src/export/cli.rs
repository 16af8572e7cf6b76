//! The design as a bash script of AWS CLI calls.
//!
//! Works with bash 3.2 (macOS) and both majors of the CLI. All data is single-quoted;
//! what has structure is JSON, which the CLI takes literally. Running it again leaves what
//! exists as it is.

use castlink_ec2::Tags;
use serde_json::{Value, json};

use super::design::{Design, Group, GroupRef, Planned};
use crate::admit::{HTTPS, RULE_TEXT};

/// The whole script.
pub(super) fn render(design: &Design) -> String {
    let mut script = head(design);
    script.push_str(&vpc_dns(design));
    if let Some(group) = &design.group {
        script.push_str(&security_group(group));
    }
    for endpoint in &design.endpoints {
        script.push_str(&one(endpoint));
    }
    script.push_str(TAIL);
    script
}

fn head(design: &Design) -> String {
    let mut text = format!(
        "#!/usr/bin/env bash
# CAST AI endpoints of {vpc} in {region}, as castlink-endpoints plans them: the same steps
# as calls of the AWS CLI. It may be run again: what is there is not made a second time.
",
        vpc = plain(&design.vpc),
        region = plain(&design.region),
    );
    for (role, why) in &design.left_out {
        text.push_str(&format!("# {} is left out: {}\n", plain(role), plain(why)));
    }
    text.push_str(&format!(
        "set -euo pipefail

export AWS_PAGER=''
region={region}
vpc={vpc}
deadline=$((SECONDS + {timeout}))
# Tells EC2 a repeated call from a second one.
run=\"castlink-$(date +%s)-$$\"
{FUNCTIONS}",
        region = quote(&design.region),
        vpc = quote(&design.vpc),
        timeout = design.timeout,
    ));
    text
}

const FUNCTIONS: &str = r#"made=''
later=''
unaccepted=''

ec2() {
  aws ec2 --region "$region" --output text "$@"
}

die() {
  printf 'error: %s\n' "$1" >&2
  exit "$2"
}

pause() {
  ((SECONDS < deadline)) || die "$1" 8
  sleep 2
}

# admit PERMISSIONS: lets them in through our group, which may let them in already.
admit() {
  local said
  if ! said=$(ec2 authorize-security-group-ingress --group-id "$group" --ip-permissions "$1" 2>&1); then
    case $said in
      *InvalidPermission.Duplicate*) ;;
      *) die "$said" 1 ;;
    esac
  fi
}

# lookup TYPE SERVICE: the id of the endpoint that serves, or None.
lookup() {
  ec2 describe-vpc-endpoints --filters "Name=vpc-id,Values=$vpc" "Name=service-name,Values=$2" \
    "Name=vpc-endpoint-type,Values=$1" 'Name=vpc-endpoint-state,Values=pendingAcceptance,pending,available' \
    --query 'VpcEndpoints[0].VpcEndpointId'
}

# make TYPE SERVICE ARGUMENT...: makes the endpoint unless there is one; its id.
make() {
  local type=$1 service=$2 id
  shift 2
  id=$(lookup "$type" "$service") || return
  if [[ $id == None ]]; then
    id=$(ec2 create-vpc-endpoint --vpc-endpoint-type "$type" --vpc-id "$vpc" --service-name "$service" \
      --client-token "$run-${service##*.}" "$@" --query 'VpcEndpoint.VpcEndpointId') || return
  fi
  printf '%s\n' "$id"
}

# ask ID FIELD: one field of an endpoint; "gone" when there is none of that id.
ask() {
  local said
  if said=$(ec2 describe-vpc-endpoints --vpc-endpoint-ids "$1" --query "VpcEndpoints[0].$2" 2>&1); then
    printf '%s\n' "$said"
  else
    case $said in
      *InvalidVpcEndpointId.NotFound*) echo gone ;;
      *) die "$said" 1 ;;
    esac
  fi
}

# settle ID: waits until it is available, or waits for its provider.
settle() {
  local state
  while true; do
    state=$(ask "$1" State)
    case $state in
      available | pendingAcceptance) break ;;
      pending | gone) pause "$1 is still $state" ;;
      *) die "$1 is $state" 1 ;;
    esac
  done
  if [[ $state == pendingAcceptance ]]; then
    unaccepted="$unaccepted $1"
  fi
  printf '%s %s\n' "$1" "$state"
}

# resolve ID: private DNS, once the provider has accepted the endpoint.
resolve() {
  if [[ $(ask "$1" State) == available && $(ask "$1" PrivateDnsEnabled) != True ]]; then
    ec2 modify-vpc-endpoint --vpc-endpoint-id "$1" --private-dns-enabled >/dev/null
    settle "$1"
  fi
}

# leave ID: waits until it is gone.
leave() {
  local state
  while true; do
    state=$(ask "$1" State)
    case $state in
      gone | deleted | None) break ;;
      *) pause "$1 is still $state" ;;
    esac
  done
}
"#;

/// First everything is asked for, then it is waited for: so nothing waits in line.
const TAIL: &str = r#"
# Wait for all of them.
for id in $made; do
  settle "$id"
done
for id in $later; do
  resolve "$id"
done
if [[ -n $unaccepted ]]; then
  die "CAST AI has to accept$unaccepted; then run this again" 8
fi
"#;

/// One attribute a call is all that EC2 takes.
fn vpc_dns(design: &Design) -> String {
    if design.dns.is_empty() {
        return String::new();
    }
    let call = |flag: &&str| format!("ec2 modify-vpc-attribute --vpc-id \"$vpc\" {flag}\n");
    let calls: String = design.dns.iter().map(call).collect();
    format!("\n# What private DNS needs of the VPC.\n{calls}")
}

fn security_group(group: &Group) -> String {
    let mut text = String::from("\n# The security group.\n");
    match &group.id {
        Some(id) => text.push_str(&format!("group={}\n", quote(id))),
        None => text.push_str(&make_group(group)),
    }
    for cidr in &group.admit {
        text.push_str(&format!("admit {}\n", quote_json(&permission(cidr))));
    }
    text
}

fn make_group(group: &Group) -> String {
    format!(
        r#"group=$(ec2 describe-security-groups --filters "Name=vpc-id,Values=$vpc" {filter} \
  --query 'SecurityGroups[0].GroupId')
if [[ $group == None ]]; then
  group=$(ec2 create-security-group --vpc-id "$vpc" --group-name {name} --description {text} \
    --tag-specifications {tags} --query GroupId)
  ec2 wait security-group-exists --group-ids "$group"
fi
"#,
        filter = quote(&format!("Name=group-name,Values={}", group.name)),
        name = quote(&group.name),
        text = quote(&group.text),
        tags = quote_json(&specification("security-group", &group.tags)),
    )
}

fn permission(cidr: &str) -> Value {
    let (family, field) = if cidr.contains(':') {
        ("Ipv6Ranges", "CidrIpv6")
    } else {
        ("IpRanges", "CidrIp")
    };
    json!([{
        "IpProtocol": "tcp",
        "FromPort": HTTPS,
        "ToPort": HTTPS,
        family: [{field: cidr, "Description": RULE_TEXT}],
    }])
}

fn specification(resource: &str, tags: &Tags) -> Value {
    let tags = tags.iter();
    let tags: Vec<Value> = tags
        .map(|(key, value)| json!({"Key": key, "Value": value}))
        .collect();
    json!([{"ResourceType": resource, "Tags": tags}])
}

/// One endpoint: made, changed, or only waited for.
fn one(endpoint: &Planned) -> String {
    let mut text = format!("\n# {}\n", plain(&endpoint.role));
    if let Some(id) = &endpoint.after {
        text.push_str(&format!("leave {}\n", quote(id)));
    }
    match &endpoint.id {
        Some(id) => text.push_str(&format!("id={}\n", quote(id))),
        None => text.push_str(&create(endpoint)),
    }
    text.push_str(&modify(endpoint));
    text.push_str("made=\"$made $id\"\n");
    if endpoint.after_acceptance {
        text.push_str("later=\"$later $id\"\n");
    }
    text
}

fn create(endpoint: &Planned) -> String {
    let kind = if endpoint.gateway {
        "Gateway"
    } else {
        "Interface"
    };
    let mut arguments = Vec::new();
    if let Some(region) = &endpoint.service_region {
        arguments.push(format!("--service-region {}", quote(region)));
    }
    if endpoint.gateway {
        arguments.push(format!(
            "--route-table-ids {}",
            quoted(&endpoint.route_tables)
        ));
    } else {
        let groups: Vec<String> = endpoint.groups.iter().map(group_ref).collect();
        arguments.push(format!("--subnet-ids {}", quoted(&endpoint.subnets)));
        arguments.push(format!("--security-group-ids {}", groups.join(" ")));
        arguments.push(private_dns(endpoint.private_dns).to_owned());
        if endpoint.dual_stack {
            arguments.push("--ip-address-type dualstack".to_owned());
        }
    }
    let tags = specification("vpc-endpoint", &endpoint.tags);
    arguments.push(format!("--tag-specifications {}", quote_json(&tags)));
    let arguments = arguments.join(" \\\n  ");
    let service = quote(&endpoint.service);
    format!("id=$(make {kind} {service} \\\n  {arguments})\n")
}

fn private_dns(on: bool) -> &'static str {
    if on {
        "--private-dns-enabled"
    } else {
        "--no-private-dns-enabled"
    }
}

fn modify(endpoint: &Planned) -> String {
    let Some(change) = &endpoint.change else {
        return String::new();
    };
    let mut add_groups: Vec<String> = change.add_groups.iter().map(|id| quote(id)).collect();
    add_groups.extend(endpoint.own_group.then(|| group_ref(&GroupRef::Own)));
    let list = |ids: &[String]| ids.iter().map(|id| quote(id)).collect();
    let lists: [(&str, Vec<String>); 5] = [
        ("--add-subnet-ids", list(&change.add_subnets)),
        ("--remove-subnet-ids", list(&change.remove_subnets)),
        ("--add-security-group-ids", add_groups),
        ("--remove-security-group-ids", list(&change.remove_groups)),
        ("--add-route-table-ids", list(&change.add_route_tables)),
    ];
    let mut call = String::from("ec2 modify-vpc-endpoint --vpc-endpoint-id \"$id\"");
    for (flag, ids) in lists.iter().filter(|(_, ids)| !ids.is_empty()) {
        call.push_str(&format!(" \\\n  {flag} {}", ids.join(" ")));
    }
    if let Some(on) = change.private_dns {
        call.push_str(&format!(" \\\n  {}", private_dns(on)));
    }
    if let Some(both) = change.dual_stack {
        let kind = if both { "dualstack" } else { "ipv4" };
        call.push_str(&format!(" \\\n  --ip-address-type {kind}"));
    }
    call.push_str(" >/dev/null\n");
    call
}

fn group_ref(group: &GroupRef) -> String {
    match group {
        GroupRef::Own => "\"$group\"".to_owned(),
        GroupRef::Id(id) => quote(id),
    }
}

fn quoted(ids: &[String]) -> String {
    let ids: Vec<String> = ids.iter().map(|id| quote(id)).collect();
    ids.join(" ")
}

fn quote_json(value: &Value) -> String {
    quote(&value.to_string())
}

/// One word for the shell, whatever is in it.
fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Text for a comment: one line.
fn plain(text: &str) -> String {
    text.replace(char::is_control, " ")
}

#[cfg(test)]
mod tests {
    use super::{plain, quote};

    #[test]
    fn one_word_and_one_line_whatever_is_in_it() {
        assert_eq!(quote("a b$(x)`y`\"z"), "'a b$(x)`y`\"z'");
        assert_eq!(quote("it's"), r"'it'\''s'");
        assert_eq!(plain("a\nrm -rf /\r"), "a rm -rf / ");
    }
}

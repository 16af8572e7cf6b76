//! The plan, for people and as records.

use castlink_core::{
    Exit, Failure, Printer, Result,
    app::Outcome,
    printer::{count, symbol, table},
    record::{Change, ChangeStatus, Record},
};
use castlink_ec2::{DnsAttribute, EndpointChange, Network};

use crate::{
    aws, cost,
    observe::{self, Scope, World},
    plan::{GroupStep, Item, Plan, Verdict},
    planner,
    settings::Settings,
};

/// `plan`: shows it, and says by the exit code what `apply` would meet.
pub(crate) async fn plan_only(
    printer: &Printer,
    network: &Network,
    scope: &Scope,
    settings: &Settings,
    exit_code: bool,
) -> Result<Outcome> {
    let world = observe::observe(network, scope, settings).await?;
    let plan = planner::plan(settings, &world);
    show(printer, &plan);
    record(printer, &plan, ChangeStatus::Planned);
    stop(printer, &plan)?;
    for failure in plan.blocked() {
        printer.failure(failure);
    }
    let checked = check_aws(printer, settings, &world);
    let exit = match plan.blocked().next() {
        Some(failure) => failure.exit(),
        None if checked != Exit::Done => checked,
        None if exit_code && !plan.is_empty() => Exit::Pending,
        None => Exit::Done,
    };
    Ok(counted(exit.into(), &plan))
}

/// `--aws-services check`: exit 3 when one is missing.
fn check_aws(printer: &Printer, settings: &Settings, world: &World) -> Exit {
    if settings.aws.is_check() {
        aws::report(printer, &aws::checks(&settings.aws, world))
    } else {
        Exit::Done
    }
}

/// Ends the command when something about the VPC is in the way: all of it is said,
/// before anything is changed.
///
/// # Errors
/// The last problem; the others are printed.
pub(crate) fn stop(printer: &Printer, plan: &Plan) -> Result<()> {
    let Some((last, others)) = plan.problems.split_last() else {
        return Ok(());
    };
    for failure in others {
        printer.failure(failure);
    }
    let again = Failure::new(last.exit(), last.to_string());
    Err(match last.hint_text() {
        Some(hint) => again.hint(hint),
        None => again,
    })
}

/// The plan as lines of text.
pub(crate) fn show(printer: &Printer, plan: &Plan) {
    for attribute in &plan.dns {
        printer.line(format!("{} VPC attribute {attribute} on", symbol('~')));
    }
    if let Some(group) = &plan.group {
        printer.line(group_line(group));
    }
    let rows: Vec<Vec<String>> = plan.items.iter().map(row).collect();
    for line in table(&rows) {
        printer.line(line);
    }
    printer.line(summary(plan));
    if plan.paid_zones > 0 {
        printer.line(cost::line(plan.paid_zones, &plan.region));
    }
    for warning in &plan.warnings {
        printer.warn(warning);
    }
}

fn group_line(group: &GroupStep) -> String {
    let sign = match (&group.id, group.admit.as_slice()) {
        (None, _) => '+',
        (Some(_), []) => '=',
        (Some(_), _) => '~',
    };
    let rules = match group.admit.as_slice() {
        [] => "443 from the VPC".to_owned(),
        cidrs => format!("443 from {}", cidrs.join(", ")),
    };
    let id = group
        .id
        .as_deref()
        .map(|id| format!(" {id}"))
        .unwrap_or_default();
    format!(
        "{} security group {}{id}: {rules}",
        symbol(sign),
        group.name
    )
}

fn row(item: &Item) -> Vec<String> {
    let id = item
        .endpoint
        .as_ref()
        .map(|endpoint| endpoint.id.clone())
        .unwrap_or_default();
    let (sign, text) = match &item.verdict {
        Verdict::Create { spec, .. } if spec.is_gateway() => {
            ('+', format!("routes in {}", spec.route_tables.join(" ")))
        }
        Verdict::Create { spec, .. } => ('+', names(item, spec.private_dns)),
        Verdict::Modify { change, own_group } => ('~', change_text(change, *own_group)),
        Verdict::Present => ('=', "available".to_owned()),
        Verdict::Pending(state) => ('=', state.to_string()),
        Verdict::Blocked(failure) => ('!', failure.to_string()),
    };
    vec![
        symbol(sign).to_string(),
        item.service.role.clone(),
        id,
        item.zones.join(" "),
        text,
    ]
}

fn names(item: &Item, private_dns: bool) -> String {
    match (private_dns, item.names.as_slice()) {
        (true, names) => names.join(" "),
        (false, _) => "without private DNS".to_owned(),
    }
}

fn change_text(change: &EndpointChange, own_group: bool) -> String {
    let mut parts = Vec::new();
    parts.extend(change.add_subnets.iter().map(|id| format!("+{id}")));
    parts.extend(change.remove_subnets.iter().map(|id| format!("-{id}")));
    parts.extend(change.add_groups.iter().map(|id| format!("+{id}")));
    parts.extend(change.remove_groups.iter().map(|id| format!("-{id}")));
    parts.extend(change.add_route_tables.iter().map(|id| format!("+{id}")));
    parts.extend(own_group.then(|| "+security group".to_owned()));
    parts.extend(change.dual_stack.map(|_| "+IPv6".to_owned()));
    parts.extend(
        change
            .private_dns
            .map(|on| format!("private DNS {}", if on { "on" } else { "off" })),
    );
    parts.join(" ")
}

fn summary(plan: &Plan) -> String {
    let number =
        |test: fn(&Verdict) -> bool| plan.items.iter().filter(|item| test(&item.verdict)).count();
    let mut parts = Vec::new();
    if !plan.dns.is_empty() {
        parts.push(format!(
            "{} to switch on",
            count(plan.dns.len(), "VPC attribute")
        ));
    }
    if plan.group.as_ref().is_some_and(|group| group.id.is_none()) {
        parts.push("1 security group to create".to_owned());
    }
    for (n, text) in [
        (
            number(|verdict| matches!(verdict, Verdict::Create { .. })),
            "to create",
        ),
        (
            number(|verdict| matches!(verdict, Verdict::Modify { .. })),
            "to change",
        ),
        (
            number(|verdict| matches!(verdict, Verdict::Pending(_))),
            "pending",
        ),
        (
            number(|verdict| matches!(verdict, Verdict::Blocked(_))),
            "that cannot be made",
        ),
    ] {
        if n > 0 {
            parts.push(format!("{} {text}", count(n, "endpoint")));
        }
    }
    match parts.as_slice() {
        [] if plan.is_empty() => format!(
            "no changes: {} as wanted",
            count(plan.items.len(), "endpoint")
        ),
        [] => "1 security group to change".to_owned(),
        parts => parts.join(", "),
    }
}

/// The records of the whole plan, all steps with the same status.
fn record(printer: &Printer, plan: &Plan, step: ChangeStatus) {
    for attribute in &plan.dns {
        printer.record(&Record::Change(dns_change(*attribute, step)));
    }
    if let Some(group) = &plan.group {
        printer.record(&Record::Change(group_change(group, step)));
    }
    for item in &plan.items {
        for change in changes(item, step, None, None) {
            printer.record(&Record::Change(change));
        }
    }
}

/// The record of an attribute of the VPC.
pub(crate) fn dns_change(attribute: DnsAttribute, status: ChangeStatus) -> Change {
    Change {
        resource: "vpc".into(),
        field: attribute.name().into(),
        from: Some("false".into()),
        to: Some("true".into()),
        owner: None,
        status,
        error: None,
    }
}

/// The record of the security group. `step` is what became of it, if there was anything to do.
pub(crate) fn group_change(group: &GroupStep, step: ChangeStatus) -> Change {
    Change {
        resource: format!("security-group/{}", group.name),
        field: "ingress tcp 443".into(),
        from: None,
        to: (!group.admit.is_empty()).then(|| group.admit.join(",")),
        owner: None,
        status: if group.is_step() {
            step
        } else {
            ChangeStatus::Unchanged
        },
        error: None,
    }
}

/// The records of one service: one for an endpoint that is made or as it is, one per
/// field for a change. `id` is the endpoint that was made.
pub(crate) fn changes(
    item: &Item,
    step: ChangeStatus,
    id: Option<&str>,
    failure: Option<&Failure>,
) -> Vec<Change> {
    let there = item.endpoint.as_ref().map(|endpoint| endpoint.id.clone());
    let record =
        |field: &str, from: Option<String>, to: Option<String>, status, error: Option<&Failure>| {
            Change {
                resource: format!("endpoint/{}", item.service.role),
                field: field.to_owned(),
                from,
                to,
                owner: None,
                status,
                error: error.map(Failure::info),
            }
        };
    let name = || Some(item.service.name.clone());
    match &item.verdict {
        Verdict::Create { .. } => vec![record(
            "endpoint",
            None,
            id.map(Into::into).or_else(name),
            step,
            failure,
        )],
        Verdict::Modify { change, own_group } => fields(item, change, *own_group)
            .into_iter()
            .map(|(field, from, to)| record(field, Some(from), Some(to), step, failure))
            .collect(),
        Verdict::Present | Verdict::Pending(_) => {
            vec![record(
                "endpoint",
                there.clone(),
                there,
                ChangeStatus::Unchanged,
                failure,
            )]
        }
        Verdict::Blocked(failure) => vec![record(
            "endpoint",
            there,
            name(),
            ChangeStatus::Failed,
            Some(failure),
        )],
    }
}

/// Field, value before, value after.
fn fields(
    item: &Item,
    change: &EndpointChange,
    own_group: bool,
) -> Vec<(&'static str, String, String)> {
    let (subnets, groups, private_dns) =
        item.endpoint
            .as_ref()
            .map_or((&[][..], &[][..], false), |endpoint| {
                (
                    endpoint.subnets.as_slice(),
                    endpoint.groups.as_slice(),
                    endpoint.private_dns,
                )
            });
    let mut more_groups = change.add_groups.clone();
    more_groups.extend(own_group.then(|| "castlink's".to_owned()));
    let mut fields = Vec::new();
    for (field, before, more, less) in [
        (
            "subnets",
            subnets,
            &change.add_subnets,
            &change.remove_subnets,
        ),
        (
            "security groups",
            groups,
            &more_groups,
            &change.remove_groups,
        ),
    ] {
        if !more.is_empty() || !less.is_empty() {
            let mut after = [before, more].concat();
            after.retain(|id| !less.contains(id));
            fields.push((field, before.join(","), after.join(",")));
        }
    }
    if let (false, Some(endpoint)) = (change.add_route_tables.is_empty(), &item.endpoint) {
        let before = endpoint.route_tables.as_slice();
        let after = [before, &change.add_route_tables].concat();
        fields.push(("route tables", before.join(","), after.join(",")));
    }
    fields.extend(
        change
            .dual_stack
            .map(|_| ("address type", "ipv4".to_owned(), "dualstack".to_owned())),
    );
    fields.extend(
        change
            .private_dns
            .map(|on| ("private dns", private_dns.to_string(), on.to_string())),
    );
    fields
}

/// The counters of the summary record.
pub(crate) fn counted(outcome: Outcome, plan: &Plan) -> Outcome {
    let number = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    let steps = plan.items.iter().filter(|item| item.is_step()).count();
    outcome
        .count("services", number(plan.items.len()))
        .count("pending", number(steps))
        .count("blocked", number(plan.blocked().count()))
        .count("endpoint_zones", number(plan.paid_zones))
}

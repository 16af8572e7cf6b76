//! Prints the catalogue of endpoint services. Asks nobody.

use castlink_core::{
    Exit, Printer, Result,
    app::Outcome,
    catalogue::{Catalogue, Service},
    printer::{count, table},
    record::{self, Record},
};

/// Where the built-in entries are from.
const SOURCE: &str = "github.com/castai/privatelink-aws";

/// All services, or those of one region.
///
/// # Errors
/// Exit 2 when the region is not in the catalogue.
pub(crate) fn run(printer: &Printer, all: &Catalogue, region: Option<&str>) -> Result<Outcome> {
    let regions: Vec<&str> = match region {
        Some(region) => vec![region],
        None => all.regions().collect(),
    };
    let mut rows = vec![
        ["REGION", "ROLE", "SERVICE", "PURPOSE", "FROM"]
            .map(String::from)
            .into(),
    ];
    for region in &regions {
        for service in all.services(region, &[])? {
            let record = entry(all, region, service);
            rows.push(row(&record));
            printer.record(&Record::Service(record));
        }
    }
    let services = rows.len() - 1;
    for line in table(&rows) {
        printer.line(line.trim_end());
    }
    printer.line(format!(
        "{} in {}; built in: {SOURCE}, {}",
        count(services, "service"),
        count(regions.len(), "region"),
        all.date
    ));
    printer.line("more: a file with [regions.NAME] and lines role = \"vpce-svc-…\", given with --catalogue or as endpoints.catalogue in castlink.toml");
    let services = u64::try_from(services).unwrap_or(u64::MAX);
    Ok(Outcome::from(Exit::Done).count("services", services))
}

fn entry(all: &Catalogue, region: &str, service: Service) -> record::Service {
    let origin = match all.origin(region, &service.role) {
        "built-in" => format!("built-in {}", all.date),
        file => file.to_owned(),
    };
    record::Service {
        region: region.to_owned(),
        role: service.role,
        service: service.name,
        title: service.title,
        origin,
    }
}

fn row(entry: &record::Service) -> Vec<String> {
    [
        &entry.region,
        &entry.role,
        &entry.service,
        &entry.title,
        &entry.origin,
    ]
    .map(Clone::clone)
    .into()
}

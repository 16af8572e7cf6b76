//! Images as records and as a table: with their owners, or with their newest releases.

use std::collections::BTreeSet;

use castlink_core::{
    ImageRef, Printer,
    printer::table,
    record::{Available, Image, Record},
};

/// The images as records, or as a table.
pub(crate) fn show(images: &[Image], printer: &Printer) {
    for image in images {
        printer.record(&Record::Image(image.clone()));
    }
    if !images.is_empty() {
        table(&rows(images))
            .iter()
            .for_each(|line| printer.line(line));
    }
}

fn rows(images: &[Image]) -> Vec<Vec<String>> {
    let looked_up = images.iter().any(|image| image.available.is_some());
    let header: &[&str] = match looked_up {
        true => &["IMAGE", "CURRENT", "AVAILABLE", "USED BY"],
        false => &["IMAGE", "OWNER", "USED BY"],
    };
    let row = |image: &Image| match looked_up {
        true => with_release(image),
        false => with_owners(image),
    };
    let header = header.iter().map(ToString::to_string).collect();
    std::iter::once(header)
        .chain(images.iter().map(row))
        .collect()
}

fn with_owners(image: &Image) -> Vec<String> {
    let owners: BTreeSet<&str> = image.owners.values().map(String::as_str).collect();
    let owners: Vec<&str> = owners.into_iter().collect();
    vec![
        image.source.clone(),
        owners.join(", "),
        image.used_by.join(", "),
    ]
}

fn with_release(image: &Image) -> Vec<String> {
    let parsed = image.source.parse::<ImageRef>();
    let name = parsed
        .as_ref()
        .map_or(image.source.as_str(), ImageRef::literal_name);
    let current = image.source[name.len()..].trim_start_matches([':', '@']);
    let offered = image.available.as_deref().map(offered);
    vec![
        name.to_owned(),
        current.to_owned(),
        offered.unwrap_or_default(),
        image.used_by.join(", "),
    ]
}

/// `v0.162.0 (chart castai-agent 0.162.0)`, or why there is nothing to say.
fn offered(available: &Available) -> String {
    let tag = available.image.as_deref();
    let tag = tag.and_then(|image| image.rsplit(':').next());
    let note = available.note.as_deref().unwrap_or("not known");
    match (tag, available.newer, &available.error) {
        (_, _, Some(error)) => format!("? ({})", error.message),
        (None, _, None) => format!("- ({note})"),
        (Some(_), Some(false), None) => "=".into(),
        (Some(tag), Some(true), None) => match available.by.as_deref() {
            Some(by) if by.starts_with("chart ") => format!("{tag} ({by})"),
            _ => tag.to_owned(),
        },
        (Some(tag), None, None) => format!("{tag}? ({note})"),
    }
}

#[cfg(test)]
mod tests {
    use castlink_core::Failure;

    use super::*;

    fn image(source: &str, available: Option<Available>) -> Image {
        Image {
            source: source.into(),
            used_by: vec!["Deployment/x container x".into()],
            owners: [("Deployment/x".to_owned(), "helm:x".to_owned())].into(),
            available: available.map(Box::new),
            ..Image::default()
        }
    }

    #[test]
    fn owners_stand_beside_users() {
        let rows = rows(&[image("r.example/a:v1", None)]);
        assert_eq!(
            rows[1],
            ["r.example/a:v1", "helm:x", "Deployment/x container x"]
        );
    }

    #[test]
    fn releases_stand_beside_what_runs() {
        let newer = Available {
            image: Some("r.example/a:v2".into()),
            newer: Some(true),
            by: Some("chart castai-agent 0.2.0".into()),
            ..Available::default()
        };
        let same = Available {
            newer: Some(false),
            ..newer.clone()
        };
        let unordered = Available {
            newer: None,
            note: Some("a commit has no order".into()),
            ..newer.clone()
        };
        let failed = Available {
            error: Some(Failure::unreachable("r.example: no success").info()),
            ..Available::default()
        };
        for (available, want) in [
            (newer, "v2 (chart castai-agent 0.2.0)"),
            (same, "="),
            (unordered, "v2? (a commit has no order)"),
            (failed, "? (r.example: no success)"),
            (Available::default(), "- (not known)"),
        ] {
            let rows = rows(&[image("r.example/a:v1", Some(available))]);
            assert_eq!(rows[1][..3], ["r.example/a", "v1", want]);
        }
    }
}

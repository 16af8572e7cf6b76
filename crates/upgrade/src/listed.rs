//! `images` from manifests and Helm values instead of a cluster: the same records, whose
//! users are files, documents and objects.
//!
//! Never here: the cluster, and what a reference should become.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use castlink_core::{
    Context, Failure, ImageRef, Printer, Result, app::Outcome, printer::count, record::Image,
};
use castlink_manifest::{
    self as manifest, Mistake,
    stream::{self, Part, Piece, Pieces, lines, parts},
    tree::{Id, Tree},
};
use castlink_rewrite::{
    embedded,
    object::{self, Object},
    places::text_at,
    values,
};
use tokio::task::spawn_blocking;

use crate::{args::ImagesArgs, images};

/// Lists the images of the files that are named.
///
/// # Errors
/// Exit 2 when a file cannot be read, or is neither manifests nor values.
pub(crate) async fn run(args: ImagesArgs, context: Context) -> Result<Outcome> {
    let available = args.available.clone();
    let printer = context.printer.clone();
    // A blocked stdin must not keep Ctrl-C waiting.
    let images = spawn_blocking(move || list(&args, &printer))
        .await
        .map_err(|error| Failure::failed("listing ended early").because(error))??;
    let number = images.len();
    let outcome = images::finish(images, &available, &context).await?;
    let printer = &context.printer;
    printer.note(format!("{} in the files", count(number, "image")));
    Ok(outcome)
}

fn list(args: &ImagesArgs, printer: &Printer) -> Result<Vec<Image>> {
    let mut found = Found {
        printer,
        configmaps: args.configmaps,
        users: BTreeMap::new(),
    };
    if !args.files.is_empty() {
        found.manifests(Pieces::new(stream::open(&args.files)?))?;
    }
    for piece in Pieces::new(match args.values.is_empty() {
        true => Vec::new(),
        false => stream::open(&args.values)?,
    }) {
        found.values(&piece?)?;
    }
    Ok(found.images())
}

struct Found<'p> {
    printer: &'p Printer,
    configmaps: bool,
    users: BTreeMap<String, BTreeSet<String>>,
}

/// A document of a file.
struct Spot<'s> {
    name: &'s Arc<str>,
    document: usize,
}

impl Found<'_> {
    fn manifests(&mut self, pieces: Pieces) -> Result<()> {
        let mut document = 0;
        for piece in pieces {
            let piece = piece?;
            if piece.first {
                document = 0;
            }
            for part in parts(&piece.text) {
                let tree = read(&piece, &part)?;
                for root in tree.roots() {
                    document += 1;
                    let name = &piece.name;
                    self.document(&piece, &tree, *root, &Spot { name, document })?;
                }
            }
        }
        match document {
            0 => Err(Failure::usage("there is no Kubernetes object in the input")
                .hint("did the command before this one fail? `set -o pipefail` shows it")),
            _ => Ok(()),
        }
    }

    fn document(
        &mut self,
        piece: &Piece,
        tree: &Tree<'_>,
        root: Id,
        spot: &Spot<'_>,
    ) -> Result<()> {
        let objects = object::objects(tree, root).map_err(|id| {
            let at = tree.span(id).start;
            let why = "this is no Kubernetes object: it has no `kind` or no `apiVersion`".into();
            wrong(piece, &Mistake { at, why })
        })?;
        for object in &objects {
            let name = format!("{} document {} {object}", spot.name, spot.document);
            self.object(tree, object, &name);
            self.component(tree, object, &name);
            if self.configmaps && object.kind == "ConfigMap" {
                self.configmap(tree, object, &name);
            }
        }
        Ok(())
    }

    fn object(&mut self, tree: &Tree<'_>, object: &Object<'_, '_>, name: &str) {
        for place in object.places(tree) {
            if let Some(literal) = tree.text(place.node.id()) {
                self.used(literal.trim(), format!("{name} {}", place.slot));
            }
        }
    }

    /// Values that are manifests themselves; any other text is nobody's business.
    fn configmap(&mut self, tree: &Tree<'_>, object: &Object<'_, '_>, name: &str) {
        let pairs = object
            .root
            .under("data")
            .flat_map(|data| tree.pairs(data.id()));
        for (key, value) in pairs {
            let texts = (tree.text(key), tree.text(value));
            let (Some(key), Some(text)) = texts else {
                continue;
            };
            let trees = embedded::manifests(text).unwrap_or_default();
            for tree in &trees {
                self.inner(tree, &format!("{name} {key}"));
            }
        }
    }

    fn inner(&mut self, tree: &Tree<'_>, name: &str) {
        for root in tree.roots() {
            for object in object::objects(tree, *root).into_iter().flatten() {
                self.object(tree, &object, &format!("{name}, {object}"));
            }
        }
    }

    /// What the operator renders a chart with.
    fn component(&mut self, tree: &Tree<'_>, object: &Object<'_, '_>, name: &str) {
        for root in object.component_values() {
            for setting in values::settings(tree, root.id()) {
                self.set(&setting, &format!("{name} values {}", setting.path));
            }
        }
    }

    fn values(&mut self, piece: &Piece) -> Result<()> {
        for part in parts(&piece.text) {
            let tree = read(piece, &part)?;
            for root in tree.roots() {
                for setting in values::settings(&tree, *root) {
                    let line = piece.line + lines(&piece.text.as_bytes()[..setting.at]);
                    self.set(&setting, &format!("{}:{line} {}", piece.name, setting.path));
                }
                if let Some(registry) = text_at(tree.cursor(*root), "/global/registry") {
                    self.printer.warn(format!(
                        "{}: global.registry is {registry}: charts put it in front of the whole \
                         repository, and not all charts do; images are listed without it",
                        piece.name
                    ));
                }
            }
        }
        Ok(())
    }

    fn set(&mut self, setting: &values::Setting, user: &str) {
        if setting.images.is_empty() {
            self.printer.warn(format!(
                "{user}: {} has no tag here, the chart has one: list what is rendered instead \
                 (helm template … | castlink-upgrade images -f -)",
                setting.repository
            ));
        }
        for image in &setting.images {
            self.used(image, user.to_owned());
        }
    }

    fn used(&mut self, literal: &str, user: String) {
        if literal.is_empty() {
            return;
        }
        if literal.parse::<ImageRef>().is_err() {
            self.printer
                .warn(format!("{user}: `{literal}` is not an image reference"));
            return;
        }
        self.users
            .entry(literal.to_owned())
            .or_default()
            .insert(user);
    }

    fn images(self) -> Vec<Image> {
        let users = self.users.into_iter();
        users
            .map(|(source, used_by)| Image {
                source,
                used_by: used_by.into_iter().collect(),
                ..Image::default()
            })
            .collect()
    }
}

fn read<'a>(piece: &'a Piece, part: &Part) -> Result<Tree<'a>> {
    manifest::parse(&piece.text, part).map_err(|mistake| wrong(piece, &mistake))
}

fn wrong(piece: &Piece, mistake: &Mistake) -> Failure {
    let line = piece.line + lines(&piece.text.as_bytes()[..mistake.at]);
    Failure::usage(format!("{}:{line}: {}", piece.name, mistake.why))
}

/// True when files are named, and no cluster is asked.
pub(crate) fn wanted(args: &ImagesArgs) -> bool {
    !args.files.is_empty() || !args.values.is_empty()
}

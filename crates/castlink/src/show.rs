//! `castlink config show` and `castlink exit-codes`.

use castlink_core::{
    Context, Exit,
    app::Outcome,
    printer::{Output, table},
};
use serde_json::Value;

use crate::args::ConfigVerb;

/// Every value of the configuration and where it came from. There are no secrets in it,
/// only the names of files and variables that hold them.
pub(crate) fn config(verb: ConfigVerb, context: &Context) -> Outcome {
    let ConfigVerb::Show = verb;
    let tree = serde_json::to_value(&context.config).expect("the configuration is plain data");
    if context.printer.output() == Output::Json {
        context.printer.raw(tree);
        return Exit::Done.into();
    }
    let mut rows = Vec::new();
    flatten(&tree, &mut Vec::new(), &mut |path, value| {
        let key = path.join(".");
        rows.push(vec![
            key.clone(),
            value.to_string(),
            context.loaded.origin(path).to_owned(),
        ]);
    });
    for line in table(&rows) {
        context.printer.line(line);
    }
    Exit::Done.into()
}

/// The exit code table as Markdown: `docs/exit-codes.md` holds it.
pub(crate) fn exit_codes(context: &Context) {
    context
        .printer
        .raw("| code | name | meaning |\n|---|---|---|");
    for exit in Exit::ALL {
        context.printer.raw(format!(
            "| {} | `{}` | {} |",
            exit.code(),
            exit.name(),
            exit.meaning()
        ));
    }
}

fn flatten<'a>(value: &'a Value, path: &mut Vec<&'a str>, leaf: &mut impl FnMut(&[&str], &Value)) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                path.push(key);
                flatten(value, path, leaf);
                path.pop();
            }
        }
        Value::Null | Value::Object(_) => {}
        value => leaf(path, value),
    }
}

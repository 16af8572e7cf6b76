//! Reading fields of objects whose type is only known at run time.

use serde_json::Value;

/// The string at `path` (a JSON pointer), when there is one.
pub(crate) fn text<'a>(value: &'a Value, path: &str) -> Option<&'a str> {
    value.pointer(path)?.as_str()
}

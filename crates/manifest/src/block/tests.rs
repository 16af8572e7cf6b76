//! What is read here is what the parser of all of YAML reads.

use proptest::prelude::*;

use super::*;
use crate::{
    tree::{Id, Value},
    yaml,
};

/// The tree as text, with the bytes of everything that an edit could be made at.
fn shown(tree: &Tree<'_>) -> String {
    fn show(tree: &Tree<'_>, id: Id, out: &mut String) {
        let span = tree.span(id);
        match tree.value(id) {
            Value::Scalar { text, style, .. } => match span.is_empty() || text.is_empty() {
                true => out.push_str(&format!("{style:?} {text:?};")),
                false => out.push_str(&format!("{style:?} {text:?} {span:?};")),
            },
            Value::List { flow } => {
                let start = if flow { span.start } else { 0 };
                out.push_str(&format!("[{start} {flow} "));
                tree.items(id).for_each(|item| show(tree, item, out));
                out.push(']');
            }
            Value::Map { flow } => {
                out.push_str(&format!("{{{} {flow} ", span.start));
                for (key, value) in tree.pairs(id) {
                    show(tree, key, out);
                    show(tree, value, out);
                }
                out.push('}');
            }
            Value::Alias(id) => out.push_str(&format!("*{id};")),
        }
    }
    let mut out = String::new();
    for root in tree.roots() {
        show(tree, *root, &mut out);
        out.push('\n');
    }
    // Nothing at all is a document for one and none for the other.
    out.replace("Plain \"\";\n", "")
}

/// Both agree, or this reader leaves it to the other.
fn check(text: &str) -> bool {
    let Some(tree) = parse(text, 0) else {
        return false;
    };
    let judge = yaml::parse(text, 0).unwrap_or_else(|error| panic!("{error:?}\n{text}"));
    assert_eq!(shown(&tree), shown(&judge), "{text}");
    true
}

#[test]
fn the_style_of_charts_is_read() {
    for text in [
        "",
        "# only\n\n# comments\n",
        "---\n",
        "--- # x\na: 1\n",
        "a: b\nc:\n  d: e # f\n  g: \"h: # i\"   # j\n  k: 'it''s'\n",
        "a:\n- b\n- c: d\n  e: f\n-\n  g: h\n- - i\n  - j\nk: l\n",
        "a:\n  - b\n  -\n  - c\nd:\ne: null\nf: ~\n",
        "a:\n    b:\n        c: d\n    e: f\ng: h\n",
        "a: |\n  b\n\n   c\n  # d\n\n\ne: |-\n    f\n\ng: |+\n  h\n\ni: j\n",
        "- a: b\n",
        "a: []\nb: {}\nc: [a, \"b\", 'c', {d: e, \"f\": [g]}, 1:2]\nd: { e: f }\n",
        "a: --b\nc: -1\nd: b:c\ne: x#y\nf: a, b] }\n",
        "a: \"b\\n\\\"c\\\\\"\n\"d\": e\n'f': g\na.b/c-d_e: h\n",
        "a: b\r\nc:\r\n  - d\r\n  - |\r\n    e\r\n    f\r\n",
        "a: ünïcödé 😀\nb: \"ü\"\n# ü\n",
        "a:\n  {}\nb:\n  - c\n  -\n    []\nd:\n  e  # f\ng:\n  \"h\"\n",
        "a: |\nb: |-\n\nc: |\n\n",
        "a:\n# b\n  c: d\n   # e\n  f: g\n",
        "a b: c\nd:e: f\ng#h: i:j\nü'k: l\n-m: n\n",
        "a: b\n  c\nd: e f\n   g, [h] \"i\n\n\n  - 'j\nk:\n- l\n m\n-  n\n   o # p\n",
        "a: 'b\n  c'\nd: 'it''s\n\n  so ' # e\nf: \"g\n\n\n  h\"\ni:\n- 'j\n  k'\n-\n  \"l\n  m\n  \"\n",
        "a: \"b\\n\n  \\ c\\\"\n  # d: e\"\nf: \"\n  g\"\n",
        "a: >\n  b\nc: >-\n  d\n  e\n\n  f\n\n\n  # g\n\nh: >+\n\n  i\n  j\n\nk: l\n",
        "a:\n  b\n c\nd: e\r\n  f\r\ng: 'h\r\n  i'\r\nj: >\r\n  k\r\n  l\r\n",
    ] {
        let root_list = text.starts_with("- ");
        assert_eq!(check(text), !root_list, "{text}");
    }
}

#[test]
fn everything_else_is_left_alone() {
    for text in [
        "a: b: c\n",
        "a: \"\\x41\"\n",
        "a: &b c\n",
        "a: *b\n",
        "a: !!str b\n",
        "? a\n: b\n",
        "a:\tb\n",
        "a:\n\tb: c\n",
        "a: |2\n  b\n",
        "---# x\na: b\n",
        "a:\n|\n b\n",
        "a:\n  |\n   b\n",
        "a: |+\n\n",
        "a: {b:\n c}\n",
        "a: b\n  c: d\n",
        "a: b\n  # c\n  d\n",
        "a: b # c\n  d\n",
        "a: [b]\n  c\n",
        "a: 'b'\n  c\n",
        "a: 'b\nc'\n",
        "a: 'b\n",
        "a: 'b\n  c' d\n",
        "'a\n  b': c\n",
        "a: \"b\\\n  c\"\n",
        "a: \"b\\ \n  c\"\n",
        "a: \"b\n\n  c\\n\"\n",
        "a: >2\n  b\n",
        "a: >\n  b\n   c\n",
        "a: >\n  b\n   \n  c\n",
        "a\n",
        "a: b\n...\n",
        "a: b\n---\nc: d\n",
        "%YAML 1.2\n---\na: b\n",
        "a:\n  b: c\n d: e\n",
        "  a: b\nc: d\n",
        "a: b\rc: d\n",
        "a: \u{85}\n",
        "\u{feff}a: b\n",
        "{a: b}\n",
        "a: [b, c: d]\n",
        "a: {b : c}\n",
        "a: @b\n",
        "a : c\n",
        "a: - b\n",
        "a: |\n  b",
    ] {
        assert!(!check(text), "{text}");
    }
}

proptest! {
    #[test]
    fn no_text_is_read_otherwise_than_yaml(words in prop::collection::vec(word(), 0..40)) {
        check(&words.concat());
    }

    #[test]
    fn no_lines_are_read_otherwise_than_yaml(lines in prop::collection::vec(line(), 0..14)) {
        check(&lines.concat());
    }

    #[test]
    fn no_scalar_over_lines_is_read_otherwise_than_yaml(
        begins in prop::sample::select(vec!["a: ", "- ", "a:\n    ", "- a: "]),
        quotes in prop::sample::select(vec![("", ""), ("'", "'"), ("\"", "\""), (">\n   ", ""), ("|-\n   ", "")]),
        pieces in prop::collection::vec(piece(), 0..10),
        ends in prop::sample::select(vec!["\n", " # b\n", "\n\n", "\r\n", " c\n"]),
    ) {
        let (open, close) = quotes;
        check(&format!("x:\n  {begins}{open}{}{close}{ends}y: z\n", pieces.concat()));
    }
}

fn piece() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "b", "c d", "é", " ", "\n   ", "\n   ", "\n   ", "\n    ", "\n  ", "\n\n   ", "\n \n   ",
        "\n", "\r\n   ", "''", "\\n", "\\\\", "\\ ", "\\\"", "#", " #", ":", ": ", "- ", "[", "'",
        "\"", "|", "-", "...",
    ])
}

fn word() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "a", "b", "a: ", "a:", "b:\n", "- ", "-", "\n", "\n", "\n  ", "\n    ", " ", "  ", "\"",
        "'", "\\n", "|", "|-\n", "|\n  ", ">-\n", "#", " #", "{", "}", "[", "]", ", ", ": ", ":",
        "---", "...", "&x ", "*x", "!!str ", "?", "%", "\t", "\r\n", "ü", "0", "~", "null", "<<: ",
        "@", "`", "=", "x:y", "''", "a b: ", "b#", "c:d: ", "'\n ", "\"\n ", "b\n  ", ">\n  ",
        "\\", "\\ ", " \n",
    ])
}

fn line() -> impl Strategy<Value = String> {
    let ends = [
        "",
        "a",
        "a: b",
        "a:",
        "- a",
        "- a: b",
        "-",
        "- - a",
        "- a:",
        "# a",
        "a: |",
        "a: |-",
        "- |+",
        "\"a\": 'b' # c",
        "a: \"b\"",
        "a: {}",
        "- []",
        "- {a: [b, \"c\"], d: e}",
        "a: b # c",
        "a: b #",
        "a b: c",
        "a:b: c:d",
        "a#b: c#d",
        "a #b: c",
        "b'c\": d",
        "longer.than/eight-bytes: and so is this value, which has: blanks",
        "longer.than/eight-bytes: and so is this value, which has #no comment",
        "  ",
        "text more",
        "a: b ",
        "- a b",
        "a: 'b",
        "a: \"b",
        "- 'it''s ",
        "- \"a\\nb",
        "b' # c",
        "b\"",
        "\\ b",
        "a: >",
        "- >-",
        "a: >+",
    ];
    (0..6_usize, prop::sample::select(ends.to_vec()))
        .prop_map(|(indent, end)| format!("{}{end}\n", " ".repeat(indent)))
}

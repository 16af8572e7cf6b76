//! Just enough of a writer for HCL: blocks, attributes, and the layout of
//! `terraform fmt`. Values are escaped here and nowhere else.

/// The body of a block.
#[derive(Debug, Default)]
pub(super) struct Body(Vec<Line>);

#[derive(Debug)]
enum Line {
    Attribute(String, String),
    Map(String, Vec<(String, String)>),
    Block(String, Body),
    Comment(String),
    Gap,
}

impl Body {
    /// `name = value`; the value is HCL already, from one of the functions below.
    pub(super) fn set(mut self, name: &str, value: impl Into<String>) -> Self {
        self.0.push(Line::Attribute(name.into(), value.into()));
        self
    }

    /// The same, if there is a value.
    pub(super) fn set_if(self, name: &str, value: Option<String>) -> Self {
        match value {
            Some(value) => self.set(name, value),
            None => self,
        }
    }

    /// `name = { "key" = "value" … }` after an empty line.
    pub(super) fn map<'a>(
        mut self,
        name: &str,
        all: impl IntoIterator<Item = (&'a String, &'a String)>,
    ) -> Self {
        let all = all.into_iter().map(|(key, value)| (text(key), text(value)));
        self.0.push(Line::Gap);
        self.0.push(Line::Map(name.into(), all.collect()));
        self
    }

    /// `head { … }`; an empty line sets it off from what is before.
    pub(super) fn block(mut self, head: impl Into<String>, body: Self) -> Self {
        if self
            .0
            .last()
            .is_some_and(|line| !matches!(line, Line::Comment(_)))
        {
            self.0.push(Line::Gap);
        }
        self.0.push(Line::Block(head.into(), body));
        self
    }

    /// Comment lines, after an empty line.
    pub(super) fn comment(mut self, text: &str) -> Self {
        if self
            .0
            .last()
            .is_some_and(|line| !matches!(line, Line::Comment(_)))
        {
            self.0.push(Line::Gap);
        }
        let clean = text.replace(char::is_control, " ");
        self.0.push(Line::Comment(clean));
        self
    }

    /// The text, with everything indented by `depth` steps.
    pub(super) fn render(&self, depth: usize) -> String {
        let pad = "  ".repeat(depth);
        let mut out = String::new();
        for (index, line) in self.0.iter().enumerate() {
            match line {
                Line::Gap => out.push('\n'),
                Line::Comment(text) => out.push_str(&format!("{pad}# {text}\n")),
                Line::Attribute(name, value) => {
                    let width = self.width(index);
                    out.push_str(&format!("{pad}{name:width$} = {value}\n"));
                }
                Line::Map(name, all) => {
                    let width = all.iter().map(|(key, _)| key.chars().count()).max();
                    let width = width.unwrap_or(0);
                    out.push_str(&format!("{pad}{name} = {{\n"));
                    for (key, value) in all {
                        out.push_str(&format!("{pad}  {key:width$} = {value}\n"));
                    }
                    out.push_str(&format!("{pad}}}\n"));
                }
                Line::Block(head, body) => {
                    let inner = body.render(depth + 1);
                    out.push_str(&format!("{pad}{head} {{\n{inner}{pad}}}\n"));
                }
            }
        }
        out
    }

    /// The longest name of the run of attributes around `index`.
    fn width(&self, index: usize) -> usize {
        let name = |line: &Line| match line {
            Line::Attribute(name, _) => Some(name.chars().count()),
            _ => None,
        };
        let before = self.0[..index].iter().rev().map_while(name);
        let after = self.0[index..].iter().map_while(name);
        before.chain(after).max().unwrap_or(0)
    }
}

/// A quoted string. Quotes, backslashes, line ends and template marks are data.
pub(super) fn text(value: &str) -> String {
    let mut out = String::from("\"");
    let mut rest = value.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '$' | '%' if rest.peek() == Some(&'{') => out.extend([c, c]),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// A list on one line.
pub(super) fn list(values: impl IntoIterator<Item = String>) -> String {
    let values: Vec<String> = values.into_iter().collect();
    format!("[{}]", values.join(", "))
}

/// A list of quoted strings.
pub(super) fn texts(values: &[String]) -> String {
    list(values.iter().map(|value| text(value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_name_holds_stays_data() {
        for (value, want) in [
            ("plain", r#""plain""#),
            (r#"a"b\c"#, r#""a\"b\\c""#),
            ("${path.module}", r#""$${path.module}""#),
            ("%{ if x }", r#""%%{ if x }""#),
            ("5% of $5", r#""5% of $5""#),
            ("two\nlines\u{7}", r#""two\nlines\u0007""#),
        ] {
            assert_eq!(text(value), want);
        }
    }

    #[test]
    fn names_are_lined_up_within_a_run() {
        let inner = Body::default().set("a", "1");
        let body = Body::default()
            .set("a", "1")
            .set("long", "2")
            .block("inner", inner)
            .comment("last")
            .set("b", "3");
        assert_eq!(
            body.render(0),
            "a    = 1\nlong = 2\n\ninner {\n  a = 1\n}\n\n# last\nb = 3\n"
        );
    }
}

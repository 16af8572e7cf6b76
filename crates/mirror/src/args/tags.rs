//! The flags of `tags`, and how ranges and patterns are read.

use castlink_core::cli::AwsArgs;
use clap::Args;
use regex::bytes::{Regex, RegexBuilder};
use regex_syntax::ast::parse::Parser;
use semver::VersionReq;

/// `tags`.
#[derive(Debug, Args)]
pub(crate) struct TagsArgs {
    /// Repositories, without tag or digest
    #[arg(required = true, value_name = "REPOSITORY")]
    pub(crate) repositories: Vec<String>,
    /// Only versions in this range, as Cargo writes it: `^1.2`, `~1.2.3`, `>=1.2, <2`
    #[arg(long, value_name = "RANGE", value_parser = range)]
    pub(crate) semver: Option<VersionReq>,
    /// Only tags in which this regular expression is found
    #[arg(long = "match", value_name = "REGEX", value_parser = pattern)]
    pub(crate) pattern: Option<Regex>,
    /// Only the newest N of each repository
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) newest: Option<u32>,
    /// Also pre-releases (`1.2.0-rc.1`); without it they are left out
    #[arg(long)]
    pub(crate) prerelease: bool,
    #[command(flatten)]
    pub(crate) aws: AwsArgs,
}

/// Reads a range; the error quotes the condition that is wrong and says where it is.
fn range(text: &str) -> Result<VersionReq, String> {
    let err = match text.parse() {
        Ok(range) => return Ok(range),
        Err(err) => err,
    };
    let mut start = 0;
    for condition in text.split(',') {
        let written = condition.trim();
        // A wildcard is right by itself, and wrong beside others.
        let cause = match written {
            "*" | "x" | "X" => Some(err.to_string()),
            _ => condition
                .parse::<VersionReq>()
                .err()
                .map(|err| err.to_string()),
        };
        if let Some(cause) = cause {
            let at = start + condition.len() - condition.trim_start().len() + 1;
            return Err(format!("`{written}` at character {at}: {cause}"));
        }
        start += condition.len() + 1;
    }
    Err(err.to_string())
}

/// Reads a pattern. Tags are of ASCII, so it is matched byte by byte.
fn pattern(text: &str) -> Result<Regex, String> {
    if let Err(err) = Parser::new().parse(text) {
        let at = err.span().start.column;
        return Err(format!("{} at character {at}", err.kind()));
    }
    RegexBuilder::new(text)
        .unicode(false)
        .build()
        .map_err(|err| err.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_say_where() {
        for (text, want) in [
            (">=1.2, <x", "`<x` at character 8: "),
            (">=1.2 <2", "`>=1.2 <2` at character 1: "),
            ("latest", "`latest` at character 1: "),
            ("^1, x", "`x` at character 5: "),
        ] {
            let err = range(text).unwrap_err();
            assert!(err.starts_with(want), "{err}");
        }
        for (text, want) in [
            ("v1(", "unclosed group at character 3"),
            ("ab[c", "unclosed character class at character 3"),
            ("*", "repetition operator missing expression at character 1"),
        ] {
            assert_eq!(pattern(text).unwrap_err(), want);
        }
        assert!(pattern(r"(?i)^V\d+-\w$").is_ok_and(|regex| regex.is_match(b"v12-x")));
    }
}

//! Flags of `images` about newer releases.

use castlink_core::{cli::AwsArgs, config::Config};
use clap::Args;

/// Whether, and by what, newer releases are looked up.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Release options")]
pub(crate) struct AvailableArgs {
    /// Look up the newest release of each image
    #[arg(long)]
    pub(crate) available: bool,
    /// The index of the Helm repository that says which release a chart installs; a file for
    /// hosts without internet, `none` to go by the registries' tags alone [default: CAST AI's
    /// chart repository]
    #[arg(long, value_name = "URL|FILE|none", requires = "available", default_value = "",
        hide_default_value = true, value_parser = place)]
    pub(crate) index: IndexFrom,
    #[command(flatten)]
    aws: AwsArgs,
}

/// Where the index of the Helm repository is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum IndexFrom {
    /// Where CAST AI publishes its charts.
    #[default]
    Usual,
    /// An address or a file.
    Place(String),
    /// Nowhere.
    None,
}

impl AvailableArgs {
    pub(crate) fn apply(&self, config: &mut Config) {
        self.aws.apply(config);
    }
}

#[expect(clippy::unnecessary_wraps, reason = "the type of value parsers")]
fn place(text: &str) -> Result<IndexFrom, String> {
    Ok(match text {
        "" => IndexFrom::Usual,
        "none" => IndexFrom::None,
        place => IndexFrom::Place(place.to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Cli, Verb};

    fn index(words: &[&str]) -> Option<IndexFrom> {
        let words = ["castlink-upgrade", "images"].iter().chain(words);
        match Cli::try_parse_from(words).ok()?.verb {
            Verb::Images(images) => Some(images.available.index),
            _ => None,
        }
    }

    #[test]
    fn the_index_is_an_address_a_file_or_none() {
        let file = IndexFrom::Place("./index.yaml".into());
        assert_eq!(
            index(&["--available", "--index", "./index.yaml"]),
            Some(file)
        );
        assert_eq!(
            index(&["--available", "--index", "none"]),
            Some(IndexFrom::None)
        );
        assert_eq!(index(&["--available"]), Some(IndexFrom::Usual));
        assert_eq!(index(&[]), Some(IndexFrom::Usual));
        assert_eq!(index(&["--index", "none"]), None, "it needs --available");
    }
}

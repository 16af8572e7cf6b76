//! What manifests mean: the objects in their documents, and the images in them.
//!
//! Never here: syntax, which is castlink-manifest's; what a reference should become.

pub(crate) mod object;
pub(crate) mod values;

pub(crate) use castlink_manifest::{Mistake, parse, stream, tree};

use crate::places::Node;

impl<'t> Node<'t> for tree::Cursor<'t, '_> {
    fn under(self, key: &str) -> Vec<Self> {
        tree::Cursor::under(self, key)
    }

    fn items(self) -> Vec<Self> {
        tree::Cursor::items(self)
    }

    fn text(self) -> Option<&'t str> {
        tree::Cursor::text(self)
    }
}

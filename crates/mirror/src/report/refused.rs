//! What cannot even be planned: an entry of a store that nobody can name.

use castlink_core::record::{MirrorStatus, Mirrored, Record};

use super::{Report, Row, sentence};
use crate::observe::{Destination, Shared};

impl Report {
    /// Says what cannot be copied because nothing says what it is. Returns a line for people.
    pub(crate) fn refuse(&mut self, to: &Destination, source: &str, failure: &Shared) -> String {
        let target = to.name().to_owned();
        let mut record = Mirrored::new(source.to_owned(), target, MirrorStatus::Failed);
        record.error = Some(failure.info());
        self.printer.record(&Record::Mirrored(record.clone()));
        let line = sentence(&record);
        self.rows.push(Row {
            // Behind the images of the plan.
            index: usize::MAX,
            record,
            exit: failure.exit(),
            optional: false,
        });
        line
    }
}

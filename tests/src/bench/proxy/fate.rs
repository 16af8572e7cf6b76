//! Which connections of a broken network break, and how: decided by a seed and the
//! connection's number alone, so that a run can be had again.
//!
//! The share is exact in every block of connections: a tool that opens few of them is
//! neither spared nor hit by luck.

use std::time::Duration;

use sha2::{Digest, Sha256};

/// What is wrong with a network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Trouble {
    /// Nothing.
    #[default]
    None,
    /// Some connections are cut after some bytes.
    Cuts,
    /// The same, within so many bytes: for content that is small.
    CutsWithin(u64),
    /// Some new connections are answered 503 with `Retry-After: 1` and closed.
    Refusals,
}

/// So many of how many connections are cut.
const CUT: (u64, u64) = (3, 10);
/// Where they are cut, at most.
const CUT_BYTES: u64 = 20_000_000;
/// So many of how many new connections are refused.
const REFUSED: (u64, u64) = (3, 20);
/// What a refusal asks to wait.
pub(super) const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What becomes of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Lives,
    /// Ends after this many bytes, counted in both directions; by a reset or as if it had
    /// been closed.
    Cut {
        after: u64,
        reset: bool,
    },
    Refused,
}

/// The fate of connection number `number`.
pub(super) fn fate(trouble: Trouble, seed: u64, number: u64) -> Fate {
    let draw = |what| draw(seed, number, what);
    match trouble {
        Trouble::Cuts => fate(Trouble::CutsWithin(CUT_BYTES), seed, number),
        Trouble::CutsWithin(bytes) if chosen(CUT, seed, number) => Fate::Cut {
            after: draw(1) % bytes,
            reset: draw(2) % 2 == 0,
        },
        Trouble::Refusals if chosen(REFUSED, seed, number) => Fate::Refused,
        _ => Fate::Lives,
    }
}

/// Whether a connection is among the `some` of its block of `all` that draw the least.
fn chosen((some, all): (u64, u64), seed: u64, number: u64) -> bool {
    let own = draw(seed, number, 0);
    let first = number - number % all;
    let smaller = (first..first + all).filter(|other| draw(seed, *other, 0) < own);
    (smaller.count() as u64) < some
}

fn draw(seed: u64, number: u64, what: u8) -> u64 {
    let mut hash = Sha256::new();
    hash.update(seed.to_le_bytes());
    hash.update(number.to_le_bytes());
    hash.update([what]);
    let bytes: [u8; 32] = hash.finalize().into();
    u64::from_le_bytes(std::array::from_fn(|index| bytes[index]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fates(trouble: Trouble, seed: u64) -> Vec<Fate> {
        (0..10_000)
            .map(|number| fate(trouble, seed, number))
            .collect()
    }

    #[test]
    fn as_many_break_as_should() {
        for (trouble, some, all) in [(Trouble::Cuts, 3, 10), (Trouble::Refusals, 3, 20)] {
            for block in fates(trouble, 1).chunks(all) {
                let broken = block.iter().filter(|fate| **fate != Fate::Lives);
                assert_eq!(broken.count(), some, "{block:?}");
            }
        }
        assert!(
            fates(Trouble::None, 1)
                .iter()
                .all(|fate| *fate == Fate::Lives)
        );
    }

    #[test]
    fn cuts_are_spread_over_their_range_and_of_both_kinds() {
        let (mut small, mut resets, mut all) = (0, 0, 0);
        for fate in fates(Trouble::Cuts, 2) {
            if let Fate::Cut { after, reset } = fate {
                assert!(after < CUT_BYTES);
                small += u32::from(after < CUT_BYTES / 2);
                resets += u32::from(reset);
                all += 1;
            }
        }
        assert!(
            (all * 4 / 10..all * 6 / 10).contains(&small),
            "{small} of {all}"
        );
        assert!(
            (all * 4 / 10..all * 6 / 10).contains(&resets),
            "{resets} of {all}"
        );
    }

    #[test]
    fn the_seed_decides_and_nothing_else() {
        assert_eq!(fates(Trouble::Cuts, 3), fates(Trouble::Cuts, 3));
        assert_ne!(fates(Trouble::Cuts, 3), fates(Trouble::Cuts, 4));
    }
}

//! Which connections of a broken network break, and how: decided by a seed and the
//! connection's number alone, so that a run can be had again.

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
    /// Some new connections are answered 503 with `Retry-After: 1` and closed.
    Refusals,
}

/// Of a hundred connections, how many are cut.
const CUT_PERCENT: u64 = 30;
/// Where they are cut, at most.
const CUT_BYTES: u64 = 20_000_000;
/// Of a hundred new connections, how many are refused.
const REFUSED_PERCENT: u64 = 15;
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
    let draw = |what: u8, below: u64| {
        let mut hash = Sha256::new();
        hash.update(seed.to_le_bytes());
        hash.update(number.to_le_bytes());
        hash.update([what]);
        let bytes: [u8; 32] = hash.finalize().into();
        u64::from_le_bytes(std::array::from_fn(|index| bytes[index])) % below
    };
    match trouble {
        Trouble::Cuts if draw(0, 100) < CUT_PERCENT => Fate::Cut {
            after: draw(1, CUT_BYTES),
            reset: draw(2, 2) == 0,
        },
        Trouble::Refusals if draw(0, 100) < REFUSED_PERCENT => Fate::Refused,
        _ => Fate::Lives,
    }
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
        let cut = |fate: &Fate| matches!(fate, Fate::Cut { .. });
        let cuts = fates(Trouble::Cuts, 1).into_iter().filter(cut).count();
        assert!((2_800..3_200).contains(&cuts), "{cuts}");
        let refused = |fate: &&Fate| **fate == Fate::Refused;
        let refusals = fates(Trouble::Refusals, 1).iter().filter(refused).count();
        assert!((1_350..1_650).contains(&refusals), "{refusals}");
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

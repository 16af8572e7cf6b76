//! How a rollout ends, as a sequence of looks with a clock of our own.

use super::{cause::Cause, *};

const LIMITS: Limits = Limits {
    timeout: Duration::from_secs(60),
    soak: Duration::from_secs(10),
};

/// Plays looks, as (second, verdict, restarts of the one pod), and tells how it ends.
fn play(looks: &[(u64, Verdict, i32)]) -> Option<End> {
    let mut rollout = Rollout::new(LIMITS, NotReadyNodes::Ignore);
    let start = rollout.start;
    looks.iter().find_map(|(second, verdict, restarts)| {
        let restarts = [("p".to_owned(), *restarts)].into();
        match rollout.step(
            verdict.clone(),
            &restarts,
            start + Duration::from_secs(*second),
        ) {
            Step::End(end) => Some(end),
            Step::Wait(..) => None,
        }
    })
}

fn failing(certain: bool) -> Verdict {
    Verdict::Failing(Cause {
        text: "why".into(),
        certain,
    })
}

fn progress(blame: Blame) -> Verdict {
    Verdict::Progress {
        missing: "1 of 2".into(),
        blame,
    }
}

#[test]
fn a_failure_counts_when_it_lasts() {
    assert_eq!(
        play(&[(0, failing(true), 0)]),
        Some(End::Failed("why".into()))
    );
    assert_eq!(
        play(&[(0, failing(false), 0), (4, failing(false), 0)]),
        None
    );
    assert_eq!(
        play(&[(0, failing(false), 0), (5, failing(false), 0)]),
        Some(End::Failed("why".into()))
    );
    let hiccup = [
        (0, failing(false), 0),
        (3, progress(Blame::Rollout), 0),
        (6, failing(false), 0),
    ];
    assert_eq!(play(&hiccup), None);
}

#[test]
fn the_end_of_time_blames_the_right_one() {
    let at_end = |blame| play(&[(0, progress(blame), 0), (60, progress(blame), 0)]);
    assert!(
        matches!(at_end(Blame::Rollout), Some(End::Failed(text)) if text.contains("60 s: 1 of 2"))
    );
    assert!(matches!(
        at_end(Blame::Node { stuck: false }),
        Some(End::Unfinished(_))
    ));
}

#[test]
fn a_crash_after_completion_is_a_failure() {
    let done = || Verdict::Done(None);
    assert_eq!(
        play(&[(1, done(), 0), (11, done(), 0)]),
        Some(End::Done(None))
    );
    assert_eq!(
        play(&[(1, done(), 3), (11, done(), 3)]),
        Some(End::Done(None)),
        "restarts before do not count"
    );
    assert!(matches!(
        play(&[(1, done(), 0), (5, done(), 1)]),
        Some(End::Failed(_))
    ));
    assert!(matches!(
        play(&[(1, done(), 0), (5, progress(Blame::Rollout), 1)]),
        Some(End::Failed(_))
    ));
}

#[test]
fn old_pods_that_do_not_end_are_not_waited_for_until_the_end_of_time() {
    let ending = || progress(Blame::Ending);
    assert_eq!(play(&[(5, ending(), 0), (34, ending(), 0)]), None);
    assert_eq!(
        play(&[(5, ending(), 0), (35, ending(), 0)]),
        Some(End::Done(Some("1 of 2".into())))
    );
    assert_eq!(
        play(&[(50, ending(), 0), (60, ending(), 0)]),
        Some(End::Done(Some("1 of 2".into())))
    );
    assert!(matches!(
        play(&[(5, ending(), 0), (10, ending(), 1)]),
        Some(End::Failed(_))
    ));
}

//! Words of endings, and failures that CronJobs share.

use castlink_core::Failure;

use super::{
    back::{shared_failure, unverified},
    *,
};
use crate::{
    plan::{Action, Replacement},
    workload::Slot,
};

fn ended(id: &str, direction: Direction) -> Ended {
    let step = Step {
        id: id.parse().unwrap(),
        owner: None,
        ordered: false,
        action: Action::Patch(vec![Replacement {
            slot: Slot::Container("app".into()),
            from: "a:1".into(),
            to: "r/a:1".into(),
        }]),
    };
    let mut ended = Ended::refused(step, &Failure::failed("x"), direction);
    (ended.status, ended.exit, ended.note) = (ChangeStatus::Applied, Exit::Done, String::new());
    ended
}

#[test]
fn a_cron_job_shares_the_failure_of_its_image() {
    let cron = ended("CronJob/pause", Direction::Forward);
    assert!(unverified(&cron));
    assert!(!unverified(&ended("Deployment/web", Direction::Forward)));
    let failed = |image: &str| {
        let by = "Deployment/web".parse().unwrap();
        shared_failure(&cron.step, &BTreeMap::from([(image.to_owned(), by)]))
    };
    let why = "Deployment/web could not pull r/a:1";
    assert_eq!(failed("r/a:1").as_deref(), Some(why));
    assert_eq!(failed("r/b:1"), None);
}

#[test]
fn endings_have_their_words() {
    let back = ended("CronJob/pause", Direction::Back);
    assert_eq!(back.word(), "put back");
    let mut watched = ended("Deployment/web", Direction::Forward);
    assert_eq!(watched.word(), "rolled out");
    watched.status = ChangeStatus::Unchanged;
    assert_eq!(watched.word(), "unchanged");
    watched.step.action = Action::Watch {
        fields: Vec::new(),
        missing: String::new(),
    };
    assert_eq!(watched.word(), "rolled out");
}

//! Journals, as cases: what counts, what has no ending, which run was the last.

use super::*;
use crate::journal::{Journal, unfinished};

fn change(field: &str, from: &str, to: &str, status: ChangeStatus) -> Change {
    Change {
        resource: "Deployment/web".into(),
        field: field.into(),
        from: Some(from.into()),
        to: Some(to.into()),
        owner: None,
        status,
        error: None,
    }
}

fn header() -> Header {
    Header {
        castlink: 1,
        run: "20260101T000000Z-castai-agent-1".into(),
        by: "ann@laptop".into(),
        verb: "apply".into(),
        namespace: "castai-agent".into(),
        context: "prod".into(),
        server: "https://x".into(),
        started: "2026-01-01 00:00:00".into(),
    }
}

#[test]
fn a_journal_reads_back_even_when_cut_short() {
    let dir = std::env::temp_dir().join(format!("castlink-journal-{}", std::process::id()));
    let mut journal = Journal::create(Some(&dir), &header()).unwrap();
    journal
        .write([change("a", "1", "2", ChangeStatus::Planned)])
        .unwrap();
    journal
        .write([change("a", "1", "2", ChangeStatus::Applied)])
        .unwrap();
    journal
        .write([change("a", "2", "3", ChangeStatus::Planned)])
        .unwrap();
    let path = dir.join(JOURNAL);
    let cut = fs::read_to_string(&path).unwrap() + "{\"castlink\":1,\"kind\":\"cha";
    fs::write(&path, cut).unwrap();
    let run = Run::read(&dir).unwrap();
    fs::remove_dir_all(&dir).unwrap();
    assert_eq!(run.header, header());
    assert_eq!((run.count(ChangeStatus::Applied), run.unfinished()), (0, 1));
    assert_eq!(
        run.intended(),
        [change("a", "1", "3", ChangeStatus::Planned)]
    );
}

fn run(name: &str, changes: Vec<Change>) -> Run {
    Run::read_back(name.into(), header(), changes)
}

#[test]
fn what_has_no_ending_is_unfinished() {
    let one = |field: &str, status| change(field, "1", "2", status);
    let patched = |field: &str| Change {
        error: Some(unfinished()),
        ..one(field, ChangeStatus::Applied)
    };
    let run = run(
        "x",
        vec![
            one("never reached", ChangeStatus::Planned),
            one("interrupted", ChangeStatus::Planned),
            one("complete", ChangeStatus::Planned),
            one("put back", ChangeStatus::Planned),
            patched("interrupted"),
            patched("complete"),
            patched("put back"),
            one("complete", ChangeStatus::Applied),
            one("put back", ChangeStatus::RolledBack),
        ],
    );
    assert_eq!(run.count(ChangeStatus::Applied), 2);
    assert_eq!(run.count(ChangeStatus::RolledBack), 1);
    assert_eq!(run.unfinished(), 2);
}

#[test]
fn the_last_run_is_the_latest_of_this_cluster_and_namespace() {
    let started = |name: &str, started: &str, namespace: &str, server: &str| {
        let mut run = run(name, Vec::new());
        run.header.started = started.into();
        run.header.namespace = namespace.into();
        run.header.server = server.into();
        run
    };
    let mut all = [
        started("20261121-035808-1", "2026-11-21 03:55:08.5", "a", "s"),
        started("20261121T035710Z-a-1", "2026-11-21 03:57:10.25", "a", "s"),
        started("20261121T035710Z-a-0", "2026-11-21 03:57:10.75", "a", "s"),
        started("20261121T035711Z-b-1", "2026-11-21 03:57:11", "b", "s"),
        started("20261121T035712Z-a-1", "2026-11-21 03:57:12", "a", "t"),
    ];
    all.sort_by(|a, b| b.name.cmp(&a.name));
    all.sort_by(|a, b| a.key().cmp(&b.key()));
    let name = |namespace, server| Some(last(&all, server, namespace)?.name.as_str());
    assert_eq!(name("a", "s"), Some("20261121T035710Z-a-0"));
    assert_eq!(name("b", "s"), Some("20261121T035711Z-b-1"));
    assert_eq!(name("b", "t"), None);
}

#[test]
fn a_missing_run_is_a_usage_error() {
    assert_eq!(
        Run::read(Path::new("/nowhere/at/all")).unwrap_err().exit(),
        castlink_core::Exit::Usage
    );
}

#[test]
fn runs_of_the_host_and_of_the_cluster_are_one_list() {
    let mut here = run(
        "a-directory",
        vec![change("a", "1", "2", ChangeStatus::Planned)],
    );
    here.header.run = "first".into();
    let noted = |name: &str, started: &str| {
        let header = Header {
            run: name.into(),
            server: "https://through-a-tunnel".into(),
            started: started.into(),
            ..header()
        };
        let change = change("b", "1", "2", ChangeStatus::Applied);
        Run::noted(Entry {
            header,
            ended: true,
            changes: vec![change],
        })
    };
    let cluster = vec![
        noted("first", "2026-01-01 00:00:00"),
        noted("second", "2026-01-02"),
    ];
    let all = Run::merged(vec![here], cluster);
    let found: Vec<_> = all
        .iter()
        .map(|run| (run.name.as_str(), run.place))
        .collect();
    assert_eq!(
        found,
        [("a-directory", Place::Both), ("second", Place::Cluster)]
    );
    assert!(all[0].is_called("first") && all[0].is_called("a-directory"));
    // It ended, and can be put back all the same.
    assert_eq!(all[1].intended().len(), 1);
    let last = last(&all, "https://x", "castai-agent").unwrap();
    assert_eq!(last.name, "second", "whatever the server is called");
}

#[test]
fn the_newest_runs_of_each_namespace_stay() {
    let named = |name: &str, namespace: &str| {
        let mut run = run(name, Vec::new());
        (run.header.run, run.header.namespace) = (name.into(), namespace.into());
        run
    };
    let mut all = vec![
        named("1", "a"),
        named("2", "b"),
        named("3", "a"),
        named("4", "a"),
    ];
    // A directory that somebody else has named is not ours to remove.
    all.insert(0, run("chosen", Vec::new()));
    let gone: Vec<_> = surplus(&all, 2)
        .iter()
        .map(|run| run.name.as_str())
        .collect();
    assert_eq!(gone, ["1"]);
}

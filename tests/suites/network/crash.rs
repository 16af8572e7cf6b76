//! `kill -9` between any two calls: the next run completes what was begun, and nothing is
//! there twice. Each round kills the command after one more of its calls was carried out.

use std::pin::pin;

use castlink_tests::faults::{Fault, Harm};
use castlink_tests::knobs::Knobs;
use castlink_tests::process::signal;
use castlink_tests::products::Product;
use futures::StreamExt;
use rustix::process::Signal;

use crate::fixture::{World, run, texts, writes};

/// More calls than any of these commands makes.
const MOST: u32 = 80;
/// Rounds under way at once.
const AT_ONCE: usize = 3;

fn fast() -> Knobs {
    Knobs {
        endpoint_pending_ms: 100,
        endpoint_modify_ms: 50,
        endpoint_delete_ms: 50,
        endpoint_listed_ms: 50,
        ..Knobs::default()
    }
}

impl World {
    fn command(&self, args: &[&str]) -> Product {
        self.product("castlink-endpoints", args)
            .args(["--vpc", self.vpc.as_str()])
    }

    /// Runs `product` until call number `n` (from 0) has been carried out, then kills it.
    /// False when it came to its end before that, which must be a good one.
    async fn killed_after(&self, product: Product, n: u32) -> bool {
        let hold = Fault {
            service: None,
            action: None,
            contains: None,
            after: n,
            times: Some(1),
            harm: Harm::Hold,
        };
        self.fault(hold);
        let running = product.start().unwrap();
        let pid = running.pid().unwrap();
        let mut end = pin!(running.end());
        let killed = tokio::select! {
            () = self.shared.faults.held() => {
                signal(pid, Signal::KILL).unwrap();
                end.await.unwrap();
                true
            }
            ended = &mut end => {
                ended.unwrap().expect_code(0).unwrap();
                false
            }
        };
        self.shared.faults.clear();
        killed
    }

    /// Six endpoints that serve, one group that lets in both ranges once each.
    async fn assert_complete(&self, n: u32) {
        let live = self.live().await;
        assert_eq!(live.len(), 6, "after call {n}: {live:#?}");
        for endpoint in &live {
            assert!(
                endpoint.state == "available" && endpoint.private_dns && endpoint.managed,
                "after call {n}: {endpoint:?}"
            );
            assert_eq!(endpoint.subnets.len(), 3, "after call {n}");
        }
        let filter = [
            ("Filter.1.Name", "vpc-id"),
            ("Filter.1.Value.1", self.vpc.as_str()),
            ("Filter.2.Name", "tag:castlink:managed-by"),
            ("Filter.2.Value.1", "castlink"),
        ];
        let xml = self.ec2("DescribeSecurityGroups", &filter).await;
        assert_eq!(texts(&xml, "groupName").len(), 1, "after call {n}");
        let place = |mark: &str| xml.find(mark).unwrap();
        let ingress = &xml[place("<ipPermissions>")..place("</ipPermissions>")];
        let mut ranges = texts(ingress, "cidrIp");
        ranges.sort();
        assert_eq!(ranges, ["10.0.0.0/16", "100.64.0.0/16"], "after call {n}");
    }

    async fn assert_nothing_left(&self, n: u32) {
        assert!(self.live().await.is_empty(), "after call {n}");
        let filter = [
            ("Filter.1.Name", "vpc-id"),
            ("Filter.1.Value.1", self.vpc.as_str()),
        ];
        let xml = self.ec2("DescribeSecurityGroups", &filter).await;
        let names = texts(&xml, "groupName");
        assert!(
            names.iter().all(|name| !name.starts_with("castlink-")),
            "after call {n}: {names:?}"
        );
    }
}

/// Rounds with 0, 1, 2, … calls before the end, until a round comes to its end unkilled;
/// how many were killed.
fn every_call(round: impl AsyncFn(u32) -> bool) -> usize {
    run(async {
        let mut rounds = futures::stream::iter(0..MOST)
            .map(|n| round(n))
            .buffered(AT_ONCE);
        let mut killed = 0;
        while let Some(was_killed) = rounds.next().await {
            if !was_killed {
                return killed;
            }
            killed += 1;
        }
        panic!("still killed at call {MOST}");
    })
}

#[test]
fn an_apply_that_is_killed_after_any_call_is_completed_by_the_next() {
    let killed = every_call(async |n| {
        let world = World::make(fast()).await;
        let killed = world.killed_after(world.command(&["apply"]), n).await;
        world.castlink(0, &["apply"]).await;
        world.assert_complete(n).await;
        let (_, asked) = world.watched(world.castlink(0, &["apply"])).await;
        assert_eq!(writes(&asked), [""; 0], "after call {n}");
        killed
    });
    // 9 reads, the group and its rules, six endpoints, a look at them, 8 reads again.
    assert!(killed >= 26, "{killed} calls");
}

#[test]
fn a_destroy_that_is_killed_after_any_call_is_completed_by_the_next() {
    let killed = every_call(async |n| {
        let world = World::make(fast()).await;
        world.castlink(0, &["apply"]).await;
        let destroy = ["destroy", "--yes"];
        let killed = world.killed_after(world.command(&destroy), n).await;
        world.castlink(0, &destroy).await;
        world.assert_nothing_left(n).await;
        killed
    });
    // 5 reads, the endpoints, a look at them, the group.
    assert!(killed >= 8, "{killed} calls");
}

#[test]
fn the_second_step_of_private_dns_survives_a_kill_after_any_call() {
    let killed = every_call(async |n| {
        let knobs = Knobs {
            acceptance_required: ["03281b4e5730a84b6".to_owned()].into(),
            ..fast()
        };
        let world = World::make(knobs).await;
        world.castlink(8, &["apply"]).await;
        let waiting = world.live().await;
        let waiting = waiting.iter().find(|one| one.state == "pendingAcceptance");
        assert!(world.gate.decide(&waiting.unwrap().id, true));
        let killed = world.killed_after(world.command(&["apply"]), n).await;
        world.castlink(0, &["apply"]).await;
        world.assert_complete(n).await;
        killed
    });
    assert!(killed >= 18, "{killed} calls");
}

#[test]
fn tagging_that_is_killed_after_any_call_is_completed_by_the_next() {
    let killed = every_call(async |n| {
        let world = World::make(fast()).await;
        let apply = ["apply", "--cluster", &world.cluster];
        let killed = world
            .killed_after(world.product("castlink-tag", &apply), n)
            .await;
        world.tag(0, &apply).await;
        assert_eq!(
            world.tagged().await,
            ["a", "a2", "b", "c", "d"],
            "after call {n}"
        );
        killed
    });
    assert!(killed >= 9, "{killed} calls");
}

//! What the cluster says of a check, and which node sees otherwise.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use super::support::{Cluster, Manner, Target, stays, until};

#[test]
fn one_node_whose_probes_fail_alone_is_shown_and_outvoted() {
    let cluster = Cluster::of("lying", 3);
    let target = Target::start();
    let first = &cluster.nodes[0];
    first.ok(&["check", "add", "http", "web", &target.url(), "--interval", "1s"]);
    first.verdict("web", "up");
    let liar = &cluster.nodes[cluster.follower()];
    target.behave(Manner::BadFor(liar.pid()));
    let shown = until("two of three see it up", || first.check("web").filter(|c| c["ok"] == 2));
    assert_eq!((&shown["state"], &shown["total"]), (&"up".into(), &3.into()));
    assert_eq!(shown["detail"], "status 503");
    assert_eq!(shown["detail_node"], liar.id.as_str());
    stays(Duration::from_secs(3), "the verdict is up", || {
        first.check("web").is_none_or(|c| c["state"] == "up")
    });
    let text = first.ok(&["status"]);
    assert!(
        text.lines().any(|l| l.contains(" web ") && l.contains("2/3") && l.contains("status 503")),
        "{text}"
    );
    assert_eq!(first.ok(&["incident", "list", "--json"]).trim(), "[]");
}

#[test]
fn all_three_types_are_probed_on_both_families() {
    let cluster = Cluster::of("types", 1);
    let node = &cluster.nodes[0];
    let (v4, v6) = (Target::start(), Target::start_on(IpAddr::V6(Ipv6Addr::LOCALHOST)));
    let add = |words: &[&str]| {
        node.ok(&[&["check", "add"], words, &["--interval", "1s"]].concat());
    };
    let silent = format!("127.0.0.1:{}", super::support::free_port());
    let (at4, at6) = (v4.addr.to_string(), v6.addr.to_string());
    add(&["http", "http4", &v4.url(), "--body-match", "hello"]);
    add(&["http", "http6", &v6.url()]);
    add(&["http", "other", &v4.url(), "--body-match", "goodbye"]);
    add(&["http", "picky", &v4.url(), "--expect", "204"]);
    add(&["tcp", "tcp4", &at4]);
    add(&["tcp", "tcp6", &at6]);
    add(&["tcp", "closed", &silent]);
    add(&["icmp", "icmp4", "127.0.0.1"]);
    add(&["icmp", "icmp6", "::1"]);
    for name in ["http4", "http6", "tcp4", "tcp6"] {
        node.verdict(name, "up");
    }
    for (name, why) in [("other", "goodbye"), ("picky", "status 200"), ("closed", "connection refused")] {
        let shown = node.verdict(name, "down");
        assert!(shown["detail"].as_str().is_some_and(|d| d.contains(why)), "{shown}");
    }
    for name in ["icmp4", "icmp6"] {
        let shown = until("a verdict", || node.check(name).filter(|c| c["state"] != "unknown"));
        let detail = shown["detail"].as_str().unwrap_or_default();
        if detail.contains("ping_group_range") || detail.contains("CAP_NET_RAW") {
            eprintln!("skipped: {name} cannot be probed on this host: {detail}");
        } else {
            assert_eq!(shown["state"], "up", "{shown}");
        }
    }
}

#[test]
fn a_check_that_is_switched_off_is_not_probed_and_starts_from_unknown_again() {
    let cluster = Cluster::of("off", 1);
    let (node, target) = (&cluster.nodes[0], Target::start());
    node.ok(&["check", "add", "http", "web", &target.url(), "--interval", "1s"]);
    node.verdict("web", "up");
    node.ok(&["check", "disable", "web"]);
    node.verdict("web", "unknown");
    node.ok(&["check", "enable", "web"]);
    node.verdict("web", "up");
    assert_eq!(node.ok(&["incident", "list", "--json"]).trim(), "[]");
}

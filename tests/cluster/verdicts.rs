//! What the cluster says of a check, and which node sees otherwise.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use quptime::deliver::sink::{SmtpOptions, SmtpSink};

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

/// Probes of a node that have ended.
fn probes(node: &super::support::Node) -> u64 {
    node.view().and_then(|v| v["probes"]["done"].as_u64()).unwrap_or_default()
}

#[test]
fn a_node_without_an_uplink_and_a_dead_one_page_nobody_and_are_shown() {
    let mut cluster = Cluster::of("uplink", 3);
    let mail = SmtpSink::start(SmtpOptions::default()).expect("a sink");
    super::alerts::mail_alert(&cluster.nodes[0], "mail", &mail);
    let mut targets: Vec<Target> = (0..3).map(|_| Target::start()).collect();
    let names = ["one", "two", "three"];
    for (name, target) in names.iter().zip(&targets) {
        cluster.nodes[0].ok(&["check", "add", "http", name, &target.url(), "--interval", "1s"]);
    }
    let everywhere = |cluster: &Cluster, what: &str, fits: &dyn Fn(&serde_json::Value) -> bool| {
        until(what, || {
            let mut running = cluster.nodes.iter().filter(|n| n.runs());
            running.all(|n| names.iter().all(|c| n.check(c).is_some_and(|c| fits(&c)))).then_some(())
        });
    };
    everywhere(&cluster, "all are up, and all see so", &|c| c["state"] == "up" && c["ok"] == 3);

    // The master, of all nodes, reaches nothing any more.
    let at = cluster.master();
    let (lost, other) = (&cluster.nodes[at], &cluster.nodes[(at + 1) % 3]);
    targets.iter().for_each(|target| target.behave(Manner::BadFor(lost.pid())));
    everywhere(&cluster, "every check is failed by that node alone", &|c| {
        c["ok"] == 2 && c["detail_node"] == lost.id.as_str()
    });
    let enough = probes(lost) + 15;
    until("it goes on probing", || (probes(lost) >= enough).then_some(()));
    let short = lost.id.split('-').next().expect("an id");
    let text = other.ok(&["status"]);
    for name in names {
        let line = text.lines().find(|l| l.contains(&format!(" {name} "))).expect("a line");
        for part in [" up ", "2/3", "status 503", &format!("({short})")] {
            assert!(line.contains(part), "{part}: {line}");
        }
    }
    let one = other.ok(&["status", "--check", "one"]);
    let failed: Vec<&str> = one.lines().filter(|l| l.contains(" failed ")).collect();
    assert!(
        failed.len() == 1 && failed[0].starts_with(&lost.id) && failed[0].contains("status 503"),
        "{one}"
    );
    let reports = other.check("one").map(|c| c["nodes"].clone()).unwrap_or_default();
    let says = |id: &str| reports.as_array().and_then(|r| r.iter().find(|r| r["node"] == id).cloned());
    assert_eq!(says(&lost.id).map(|r| r["ok"].clone()), Some(false.into()), "{reports}");
    assert_eq!(says(&other.id).map(|r| r["ok"].clone()), Some(true.into()), "{reports}");

    // It has its uplink again, and another node dies.
    targets.iter().for_each(|target| target.behave(Manner::Fine));
    everywhere(&cluster, "all see all again", &|c| c["ok"] == 3 && c["detail"].is_null());
    cluster.nodes[(at + 2) % 3].kill();
    let (here, dead) = (&cluster.nodes[(at + 1) % 3], cluster.nodes[(at + 2) % 3].id.clone());
    here.sees("the dead one is shown", |v| {
        let peers = v["peers"].as_array().cloned().unwrap_or_default();
        peers.iter().any(|p| p["node_id"] == dead.as_str() && p["live"] == false) && !v["master"].is_null()
    });
    let enough = probes(here) + 15;
    until("the others go on", || (probes(here) >= enough).then_some(()));
    everywhere(&cluster, "nothing has changed", &|c| c["state"] == "up");
    assert_eq!(here.ok(&["incident", "list", "--json"]).trim(), "[]");
    assert!(mail.mails().is_empty(), "{:#?}", mail.mails());

    // Two of three are enough for what is true.
    targets[0].down();
    let told = || mail.mails().into_iter().find_map(|m| m.header("Subject"));
    let subject = until("a real outage is told", told);
    assert!(subject.starts_with("[quptime] one DOWN"), "{subject}");
}

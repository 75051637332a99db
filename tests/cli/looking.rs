//! `qu doctor`, `qu status --mesh` and `--wait` against a daemon with a fixed picture.

use std::collections::BTreeMap;
use std::sync::Arc;

use quptime::config::node::NodeConfig;
use quptime::config::{Cluster, Peer, Secret};
use quptime::control::{Ask, Reply};
use quptime::doctor::{self, Daemon as Answered, Disk, Facts, FileFact, FileKind, KeyFacts, Port, Read};
use quptime::identity::{Known, Trust};
use quptime::view::View;

use super::fixture::{Daemon, answers, golden, picture, qu};

#[test]
fn the_mesh_is_a_matrix_and_part_of_the_json() {
    let daemon = Daemon::start("mesh", picture::three());
    let ran = daemon.qu(&["status", "--mesh"]);
    assert_eq!((ran.status, ran.err.as_str()), (0, ""));
    golden("status-mesh.txt", &ran.out);
    let json = daemon.qu(&["status", "--mesh", "--json"]);
    golden("status-mesh.json", &json.out);
    let refused = daemon.qu(&["status", "--mesh", "--check", "web"]);
    assert_eq!(refused.status, 2);
    assert!(refused.err.contains("--mesh shows nodes"), "{}", refused.err);
}

#[test]
fn a_wait_ends_at_once_when_all_is_there_and_says_what_is_missing_when_not() {
    let daemon = Daemon::start("wait", picture::three());
    for words in [
        &["status", "--wait"][..],
        &["status", "--wait", "quorum"],
        &["status", "--wait=quorum", "--json"],
        &["status", "--json", "--wait", "--timeout", "1ms"],
    ] {
        let ran = daemon.qu(words);
        assert_eq!((ran.status, ran.err.as_str()), (0, ""), "{words:?}");
        assert!(!ran.out.is_empty(), "{words:?}");
    }
    for level in ["live", "synced"] {
        let ran = daemon.qu(&["status", "--wait", level, "--timeout", "1ms"]);
        let want = format!("qu: not {level} within 1ms: not live: gamma.example.com:9901 (a7f3b2c3)\n");
        assert_eq!((ran.status, ran.err), (3, want));
        assert!(ran.out.starts_with("node "), "the picture is shown all the same: {}", ran.out);
    }
    let alone = Daemon::start("waitalone", picture::alone());
    let ran = alone.qu(&["status", "--wait", "--timeout", "1ms"]);
    let want = "qu: not in quorum within 1ms: no quorum (1 of 3 peers live, need 2)\n";
    assert_eq!((ran.status, ran.err.as_str()), (3, want));
    let nobody = qu(&["status", "--wait", "live", "--timeout", "1ms"]);
    assert_eq!((nobody.status, nobody.out.as_str()), (3, ""));
    assert!(nobody.err.contains("no daemon at /nonexistent"), "{}", nobody.err);
}

#[test]
fn synced_is_judged_by_the_masters_word() {
    let all_live = || {
        let view = picture::three();
        let peers = view.peers.iter().cloned().map(|p| quptime::view::PeerView { live: true, ..p });
        View { peers: Arc::new(peers.collect()), ..view }
    };
    let daemon = Daemon::start("synced", all_live());
    let ran = daemon.qu(&["status", "--wait", "synced"]);
    assert_eq!((ran.status, ran.err.as_str()), (0, ""));
    let behind = Daemon::answering("behind", all_live(), |ask| match (ask, answers::usual(ask)) {
        (Ask::Mesh, Reply::Mesh(mut mesh)) => {
            let own = mesh.rows.iter_mut().filter_map(|r| r.says.as_mut());
            own.for_each(|says| says.committed = says.committed.map(|_| 13));
            Reply::Mesh(mesh)
        }
        (_, other) => other,
    });
    let ran = behind.qu(&["status", "--wait", "synced", "--timeout", "1ms"]);
    let want = "qu: not synced within 1ms: this node has applied 12 of 13 entries of the log\n";
    assert_eq!((ran.status, ran.err.as_str()), (3, want));
}

#[test]
fn a_wait_that_means_nothing_is_wrong_usage() {
    for (words, why) in [
        (&["status", "--timeout", "1s"][..], "--timeout goes with --wait"),
        (&["status", "--wait=forever"], "is none of quorum, live, synced"),
        (&["status", "--wait", "--timeout", "0s"], "greater than zero"),
        (&["status", "--wait", "forever"], "one argument too many"),
    ] {
        let ran = qu(words);
        assert_eq!(ran.status, 2, "{words:?}");
        assert!(ran.err.contains(why), "{words:?}: {}", ran.err);
    }
}

/// A node with a bit of everything.
fn facts() -> Facts {
    let view = picture::three();
    let peers = view.peers.iter().map(|p| Peer {
        node_id: p.node_id,
        advertise: p.advertise.clone(),
        fingerprint: p.fingerprint,
        cert_pem: String::new(),
    });
    let peers: BTreeMap<_, _> = peers.map(|p| (p.node_id, p)).collect();
    let trust = peers.values().filter(|p| p.node_id == picture::node(2)).map(|p| Known {
        node_id: p.node_id,
        address: p.advertise.clone(),
        fingerprint: p.fingerprint,
        cert_pem: String::new(),
    });
    let file = |path: &str, kind, mode, uid| FileFact { path: path.to_owned(), kind, mode, uid };
    Facts {
        now: view.at,
        version: "0.1.0".to_owned(),
        dir: "/etc/quptime".to_owned(),
        files: Read::Good(vec![
            file("", FileKind::Directory, 0o750, 990),
            file("keys", FileKind::Directory, 0o755, 990),
            file("node.yaml", FileKind::File, 0o600, 0),
        ]),
        names: BTreeMap::from([(0, "root".to_owned()), (990, "quptime".to_owned())]),
        node: Read::Good(NodeConfig {
            node_id: picture::node(1),
            bind: "0.0.0.0".parse().expect("an address"),
            port: 9901,
            advertise: "alpha.example.com:9901".parse().expect("a host"),
            secret: Secret::new("a secret that is not shown"),
        }),
        keys: Ok(KeyFacts { fingerprint: picture::key(1), complaints: Vec::new() }),
        cluster: Read::Good(Cluster {
            id: view.cluster,
            version: view.config_version,
            updated_at: view.updated_at,
            updated_by: None,
            settings: view.settings,
            peers: peers.clone(),
            checks: quptime::config::Checks::new(),
            alerts: BTreeMap::new(),
        }),
        state: Read::Good(4),
        trust: Read::Good(Trust::new(trust).expect("one key")),
        disk: Ok(Disk { free: 100 << 20, free_files: None, read_only: false }),
        backup: Read::Missing,
        port: Port::Listening("0.0.0.0:9901".parse().expect("a place")),
        pings: picture::pings(),
        daemon: Ok(Answered {
            socket: "/run/quptime/quptime.sock".to_owned(),
            view: Arc::new(view),
            mesh: Ok(picture::mesh()),
        }),
    }
}

#[test]
fn the_doctor_says_one_line_for_each_finding() {
    let findings = doctor::judge(&facts());
    golden("doctor.txt", &doctor::lines(&findings));
    let well = Facts { daemon: Err("no daemon at x: no such socket".to_owned()), ..facts() };
    golden("doctor-alone.txt", &doctor::lines(&doctor::judge(&well)));
}

#[test]
fn the_doctor_without_a_directory_or_a_daemon_has_problems_and_exits_1() {
    let ran = qu(&["doctor", "--dir", "/nonexistent/quptime"]);
    assert_eq!((ran.status, ran.err.as_str()), (1, "qu: 2 problems, 0 warnings\n"));
    assert!(ran.out.contains("there is no directory /nonexistent/quptime"), "{}", ran.out);
    assert_eq!(ran.out.lines().count(), 2, "{}", ran.out);
    let json = qu(&["doctor", "--json", "--dir", "/nonexistent/quptime"]);
    let said: serde_json::Value = serde_json::from_str(&json.out).expect("json");
    assert_eq!((json.status, &said["problems"], &said["warnings"]), (1, &2.into(), &0.into()));
    assert_eq!(said["findings"][0]["about"], "files");
}

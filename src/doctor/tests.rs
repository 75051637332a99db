//! Each row spoils one thing of a healthy node and says which findings must follow, and that no
//! others do.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::*;
use crate::base::clock::Wall;
use crate::base::id::{CheckId, ClusterId, NodeId};
use crate::base::units::Span;
use crate::config::node::NodeConfig;
use crate::config::{Check, Cluster, Peer, Secret, Settings, Target};
use crate::identity::{Fingerprint, Known, Trust};
use crate::view::mesh::{Claim, Contact, Here, Mesh, MeshRow, PingRight, Pings, Strangers};
use crate::view::{Note, NoteLevel, PeerView, ProbeStats, Quorum, View};

const NOW: Wall = Wall(1_778_598_092_000);

fn node(n: u8) -> NodeId {
    NodeId::from_random(u128::from(n) << 120)
}

fn peer(n: u8) -> Peer {
    Peer {
        node_id: node(n),
        advertise: format!("n{n}.example.com:9901").parse().unwrap(),
        fingerprint: Fingerprint([n; 32]),
        cert_pem: String::new(),
    }
}

fn cluster(nodes: u8) -> Cluster {
    Cluster {
        id: ClusterId::from_random(7 << 96),
        version: 4,
        updated_at: NOW,
        updated_by: None,
        settings: Settings::default(),
        peers: (1..=nodes).map(|n| (node(n), peer(n))).collect(),
        checks: crate::config::Checks::new(),
        alerts: BTreeMap::new(),
    }
}

fn entry(path: &str, kind: FileKind, mode: u32) -> FileFact {
    FileFact { path: path.to_owned(), kind, mode, uid: 990 }
}

fn files() -> Vec<FileFact> {
    use FileKind::{Directory, File};
    [
        ("", Directory, 0o750),
        ("cluster.yaml", File, 0o600),
        ("cluster.yaml.rejected-20260512T150132Z", File, 0o600),
        ("keys", Directory, 0o700),
        ("keys/cert.pem", File, 0o644),
        ("keys/private.pem", File, 0o600),
        ("keys/public.pem", File, 0o644),
        ("last-backup", File, 0o600),
        ("node.yaml", File, 0o600),
        ("notes.txt", File, 0o644),
        ("state", Directory, 0o700),
        ("state/vote", File, 0o644),
        ("trust.yaml", File, 0o600),
    ]
    .map(|(path, kind, mode)| entry(path, kind, mode))
    .to_vec()
}

fn contact(n: u8) -> Contact {
    Contact {
        node_id: node(n),
        live: true,
        heard_ms: Some(400),
        address: peer(n).advertise,
        dialled: true,
        accepted: true,
        trouble: None,
        dropped: 0,
        nonsense: 0,
        last_nonsense: None,
        last_nonsense_at: None,
    }
}

fn row(n: u8, nodes: u8) -> MeshRow {
    MeshRow {
        node_id: node(n),
        advertise: peer(n).advertise,
        me: n == 1,
        says: Some(Claim {
            version: "0.1.0".into(),
            uptime_ms: 60_000,
            clock_ms: NOW.0,
            master: Some(node(1)),
            config_version: 4,
            applied: 9,
            committed: (n == 1).then_some(9),
            peers: (1..=nodes).filter(|m| *m != n).map(contact).collect(),
        }),
        silent: None,
        clock_offset_ms: Some(if n == 1 { 0 } else { i64::from(n) * 10 }),
        round_trip_ms: (n != 1).then_some(4),
    }
}

fn pings() -> Pings {
    Pings { v4: PingRight::Datagram, v6: PingRight::Absent, group: 990, range: "0 2147483647".into() }
}

fn mesh(nodes: u8) -> Mesh {
    let here = Here {
        dir: "/etc/quptime".into(),
        uid: 990,
        listens: "0.0.0.0:9901".parse().unwrap(),
        pings: pings(),
    };
    let rows = (1..=nodes).map(|n| row(n, nodes)).collect();
    Mesh { at: NOW, node: node(1), rows, strangers: Strangers::default(), here: Some(here) }
}

fn view(nodes: u8) -> View {
    let shown = |n| PeerView {
        node_id: node(n),
        advertise: peer(n).advertise,
        fingerprint: peer(n).fingerprint,
        me: n == 1,
        live: true,
        last_seen: Some(NOW),
        voter: true,
        version: Some("0.1.0".into()),
        clock_offset_ms: Some(0),
        trouble: None,
        hears: None,
    };
    View {
        node: node(1),
        version: "0.1.0".into(),
        at: NOW,
        uptime_ms: 60_000,
        cluster: ClusterId::from_random(7 << 96),
        term: 2,
        master: Some(node(1)),
        acts_for_ms: None,
        quorum: Quorum { ok: true, live: nodes.into(), need: u32::from(nodes) / 2 + 1, of: nodes.into() },
        config_version: 4,
        updated_at: NOW,
        updated_by: None,
        settings: Settings::default(),
        peers: Arc::new((1..=nodes).map(shown).collect()),
        checks: crate::view::CheckList::default(),
        table: String::new(),
        alerts: Arc::default(),
        probes: ProbeStats::default(),
        notes: Vec::new(),
    }
}

fn known(n: u8) -> Known {
    let p = peer(n);
    Known { node_id: p.node_id, address: p.advertise, fingerprint: p.fingerprint, cert_pem: String::new() }
}

fn healthy(nodes: u8) -> Facts {
    Facts {
        now: NOW,
        version: "0.1.0".into(),
        dir: "/etc/quptime".into(),
        files: Read::Good(files()),
        names: BTreeMap::from([(0, "root".to_owned()), (990, "quptime".to_owned())]),
        node: Read::Good(NodeConfig {
            node_id: node(1),
            bind: "0.0.0.0".parse().unwrap(),
            port: 9901,
            advertise: peer(1).advertise,
            secret: Secret::new("a secret that is not shown"),
        }),
        keys: Ok(KeyFacts { fingerprint: peer(1).fingerprint, complaints: Vec::new() }),
        cluster: Read::Good(cluster(nodes)),
        state: Read::Good(4),
        trust: Read::Good(Trust::new((2..=nodes).map(known)).unwrap()),
        disk: Ok(Disk { free: 1 << 40, free_files: Some(1 << 20), read_only: false }),
        backup: Read::Good(Wall(NOW.0 - 86_400_000)),
        port: Port::Listening("0.0.0.0:9901".parse().unwrap()),
        pings: pings(),
        daemon: Ok(Daemon {
            socket: "/run/quptime/quptime.sock".into(),
            view: Arc::new(view(nodes)),
            mesh: Ok(mesh(nodes)),
        }),
    }
}

fn spoiled(spoil: impl FnOnce(&mut Facts)) -> Facts {
    let mut facts = healthy(3);
    spoil(&mut facts);
    facts
}

fn with_view(spoil: impl FnOnce(&mut View)) -> Facts {
    spoiled(|f| spoil(Arc::make_mut(&mut f.daemon.as_mut().unwrap().view)))
}

fn with_mesh(spoil: impl FnOnce(&mut Mesh)) -> Facts {
    spoiled(|f| spoil(f.daemon.as_mut().unwrap().mesh.as_mut().unwrap()))
}

fn with_file(path: &str, spoil: impl FnOnce(&mut FileFact)) -> Facts {
    spoiled(|f| {
        let Read::Good(files) = &mut f.files else { unreachable!("good files") };
        spoil(files.iter_mut().find(|f| f.path == path).unwrap());
    })
}

fn says(mesh: &mut Mesh, n: u8) -> &mut Claim {
    mesh.rows.iter_mut().find(|r| r.node_id == node(n)).unwrap().says.as_mut().unwrap()
}

fn says_of(mesh: &mut Mesh, n: u8, m: u8) -> &mut Contact {
    says(mesh, n).peers.iter_mut().find(|c| c.node_id == node(m)).unwrap()
}

/// What is not good: level and subject, and the text for a look at words.
#[track_caller]
fn finds(facts: &Facts, wanted: &[(Level, &str, &str)]) {
    let all = judge(facts);
    let bad: Vec<&Finding> = all.iter().filter(|f| f.level != Level::Ok).collect();
    assert_eq!(bad.len(), wanted.len(), "{}", lines(&all));
    for (found, (level, about, word)) in bad.iter().zip(wanted) {
        assert_eq!((found.level, found.about), (*level, *about), "{}", lines(&all));
        let line = format!("{} {}", found.text, found.remedy.clone().unwrap_or_default());
        assert!(line.contains(word), "{word:?} is not in {line:?}");
    }
    assert!(!lines(&all).contains("not shown"), "the secret is shown");
}

use Level::{Problem, Warning};

#[test]
fn a_healthy_node_has_a_good_line_for_every_subject() {
    let all = judge(&healthy(3));
    finds(&healthy(3), &[]);
    let about: Vec<&str> = all.iter().map(|f| f.about).collect();
    let wanted = [
        "files", "node", "keys", "config", "trust", "port", "disk", "ping", "backup", "daemon", "quorum",
        "size", "peers", "reach", "mesh", "versions", "clock", "rules",
    ];
    assert_eq!(about, wanted);
    assert_eq!(lines(&all).lines().count(), wanted.len());
}

#[test]
fn owners_are_judged_by_the_owner_of_the_directory() {
    let accident = spoiled(|f| {
        let Read::Good(files) = &mut f.files else { unreachable!("good files") };
        files.iter_mut().filter(|f| !f.path.is_empty()).for_each(|f| f.uid = 0);
    });
    finds(&accident, &[(Problem, "files", "chown -R quptime: /etc/quptime")]);
    finds(&with_file("last-backup", |f| f.uid = 0), &[]);
    finds(&with_file("keys/private.pem", |f| f.uid = 4711), &[(Problem, "files", "user 4711")]);
    // Root may use everything; but here its daemon runs as somebody else.
    let roots = spoiled(|f| {
        let Read::Good(files) = &mut f.files else { unreachable!("good files") };
        files.iter_mut().for_each(|f| f.uid = 0);
    });
    finds(&roots, &[(Problem, "files", "the daemon runs as quptime")]);
    let by_root = spoiled(|f| {
        let Read::Good(files) = &mut f.files else { unreachable!("good files") };
        files.iter_mut().filter(|f| f.path != "node.yaml").for_each(|f| f.uid = 0);
        f.daemon = Err("no daemon at x".into());
    });
    finds(&by_root, &[(Warning, "files", "owned by quptime"), (Problem, "daemon", "no daemon")]);
}

#[test]
fn modes_that_let_others_in_or_the_owner_out_are_named_with_the_right_ones() {
    for (path, mode, level, word) in [
        (
            "keys/private.pem",
            0o644,
            Problem,
            "other users can read it chmod 0600 /etc/quptime/keys/private.pem",
        ),
        ("keys/private.pem", 0o640, Warning, "its group can read it"),
        ("keys/private.pem", 0o000, Problem, "its own user cannot use it"),
        ("keys", 0o755, Problem, "chmod 0700 /etc/quptime/keys"),
        ("keys/cert.pem", 0o664, Problem, "its group can change it"),
        ("keys/cert.pem", 0o646, Problem, "other users can change it"),
        ("node.yaml", 0o604, Problem, "other users can read it"),
        ("cluster.yaml.rejected-20260512T150132Z", 0o644, Problem, "chmod 0600"),
        ("trust.yaml", 0o660, Problem, "its group can change it"),
        ("state", 0o750, Warning, "chmod 0700 /etc/quptime/state"),
        ("state", 0o500, Problem, "its own user cannot use it"),
        ("", 0o777, Problem, "chmod 0755 /etc/quptime"),
    ] {
        finds(&with_file(path, |f| f.mode = mode), &[(level, "files", word)]);
    }
    // The directory is closed: what is in it need not be.
    finds(&with_file("state/vote", |f| f.mode = 0o666), &[]);
    finds(&with_file("notes.txt", |f| f.mode = 0o666), &[]);
    finds(&with_file("keys/private.pem", |f| f.mode = 0o400), &[]);
}

#[test]
fn a_directory_that_is_not_there_or_closed_is_one_finding() {
    finds(&spoiled(|f| f.files = Read::Missing), &[(Problem, "files", "qu init")]);
    let closed = spoiled(|f| f.files = Read::Bad("Permission denied".into()));
    finds(&closed, &[(Problem, "files", "sudo -u quptime qu doctor")]);
}

#[test]
fn files_that_are_missing_broken_or_contradict_each_other() {
    let stranger = |f: &mut Facts| {
        f.node = Read::Missing;
        f.keys = Err("no key".into());
        f.cluster = Read::Missing;
    };
    finds(&spoiled(stranger), &[(Problem, "node", "there is no node.yaml")]);
    finds(&spoiled(|f| f.node = Read::Bad("node.yaml:3:1: x".into())), &[(Problem, "node", "node.yaml:3:1")]);
    finds(
        &spoiled(|f| f.cluster = Read::Bad("cluster.yaml:3:1: x".into())),
        &[(Problem, "config", "correct it")],
    );
    finds(&spoiled(|f| f.trust = Read::Bad("x".into())), &[(Problem, "trust", "restart the daemon")]);
    let closed = || "read x: Permission denied".to_owned();
    finds(&spoiled(|f| f.node = Read::Closed(closed())), &[(Problem, "node", "give it back")]);
    finds(&spoiled(|f| f.cluster = Read::Closed(closed())), &[(Problem, "config", "give it back")]);
    finds(&spoiled(|f| f.trust = Read::Closed(closed())), &[(Problem, "trust", "give it back")]);
    finds(&spoiled(|f| f.cluster = Read::Missing), &[(Warning, "config", "state/")]);
    let gone = spoiled(|f| {
        f.cluster = Read::Missing;
        let Read::Good(files) = &mut f.files else { unreachable!("good files") };
        files.retain(|f| !f.path.starts_with("state"));
    });
    finds(&gone, &[(Problem, "config", "new cluster of one")]);
    finds(&with_view(|v| v.config_version = 5), &[(Warning, "config", "version 4, the daemon's of 5")]);
    let moved = spoiled(|f| {
        let Read::Good(node) = &mut f.node else { unreachable!("a good file") };
        node.advertise = "old.example.com:9901".parse().unwrap();
    });
    finds(&moved, &[(Warning, "node", "qu node edit")]);
}

#[test]
fn a_file_that_is_newer_than_the_state_is_told_before_the_start() {
    let down = |state: Read<u64>, version| {
        spoiled(|f| {
            f.daemon = Err("no daemon".into());
            f.state = state;
            let Read::Good(cluster) = &mut f.cluster else { unreachable!("a good file") };
            cluster.version = version;
            // What the file leaves out is still trusted.
            if version > 4 {
                cluster.peers.remove(&node(3));
            }
        })
    };
    let none = (Problem, "daemon", "no daemon");
    finds(&down(Read::Good(4), 4), &[none]);
    let newer = "cluster.yaml is newer than state/ (version 104, 4 there)";
    finds(&down(Read::Good(4), 104), &[(Warning, "config", newer), none]);
    finds(&down(Read::Missing, 4), &[(Warning, "config", "there is no state/"), none]);
    finds(&down(Read::Missing, 0), &[none]);
    finds(&down(Read::Closed("denied".into()), 4), &[(Warning, "config", "give it back"), none]);
    let entry = "entry 9 of the log is not understood";
    finds(&down(Read::Bad(entry.into()), 4), &[(Problem, "config", entry), none]);
    finds(&with_view(|v| v.config_version = 0), &[]);
}

#[test]
fn keys_must_be_those_that_the_cluster_knows_this_node_by() {
    finds(
        &spoiled(|f| f.keys = Err("files of two nodes".into())),
        &[(Problem, "keys", "files of two nodes")],
    );
    let other = spoiled(|f| f.keys.as_mut().unwrap().fingerprint = Fingerprint([9; 32]));
    finds(&other, &[(Problem, "keys", "the cluster knows this node by")]);
    let removed = spoiled(|f| {
        let Read::Good(cluster) = &mut f.cluster else { unreachable!("a good file") };
        cluster.peers.remove(&node(1));
    });
    finds(&removed, &[(Problem, "keys", "does not name this node")]);
    let odd = spoiled(|f| f.keys.as_mut().unwrap().complaints.push("public.pem is of another key".into()));
    finds(&odd, &[(Warning, "keys", "public.pem")]);
}

#[test]
fn the_trust_store_is_compared_with_the_configuration_key_by_key() {
    let trust = |nodes: &[Known]| Read::Good(Trust::new(nodes.iter().cloned()).unwrap());
    finds(&spoiled(|f| f.trust = trust(&[known(2)])), &[(Problem, "trust", "lacks the peer n3.example.com")]);
    let other = Known { fingerprint: Fingerprint([9; 32]), ..known(3) };
    finds(&spoiled(|f| f.trust = trust(&[known(2), other])), &[(Problem, "trust", "another key")]);
    let all = [known(2), known(3), known(4)];
    finds(&spoiled(|f| f.trust = trust(&all)), &[(Problem, "trust", "which is no peer")]);
    let missing = spoiled(|f| f.trust = Read::Missing);
    finds(&missing, &[(Problem, "trust", "n2.example"), (Problem, "trust", "n3.example")]);
}

#[test]
fn port_disk_backup_and_pings() {
    let at = || "0.0.0.0:9901".parse().unwrap();
    finds(&spoiled(|f| f.port = Port::Deaf(at(), "refused".into())), &[(Problem, "port", "refused")]);
    finds(&spoiled(|f| f.port = Port::Taken("in use".into())), &[(Problem, "port", "in use")]);
    finds(&spoiled(|f| f.port = Port::Free(at())), &[]);
    let disk =
        |free, free_files, read_only| spoiled(move |f| f.disk = Ok(Disk { free, free_files, read_only }));
    finds(&disk(1 << 40, None, true), &[(Problem, "disk", "read-only")]);
    finds(&disk(15 << 20, None, false), &[(Problem, "disk", "15 MiB")]);
    finds(&disk(127 << 20, None, false), &[(Warning, "disk", "127 MiB")]);
    finds(&disk(128 << 20, Some(255), false), &[(Warning, "disk", "255 more files")]);
    finds(&disk(1 << 40, Some(3), false), &[(Problem, "disk", "3 more files")]);
    let backup = |said| spoiled(move |f| f.backup = said);
    let before = |days: u64| Read::Good(Wall(NOW.0 - days * 86_400_000));
    finds(&backup(Read::Missing), &[(Warning, "backup", "never")]);
    finds(&backup(Read::Bad("x".into())), &[(Warning, "backup", "nobody can tell")]);
    finds(&backup(before(30)), &[]);
    finds(&backup(before(31)), &[(Warning, "backup", "31d")]);
    finds(&backup(Read::Good(Wall(NOW.0 + 90_000_000))), &[(Warning, "backup", "future")]);
    let dead_clock = judge(&spoiled(|f| f.now = Wall(0)));
    assert!(dead_clock.iter().any(|f| f.about == "clock" && f.level == Problem));
}

#[test]
fn a_right_to_ping_that_is_missing_counts_as_much_as_it_is_used() {
    let forbid = |f: &mut Facts| f.pings = Pings { v4: PingRight::Forbidden, range: "1 0".into(), ..pings() };
    finds(&spoiled(forbid), &[(Warning, "ping", "include group 990")]);
    let used = spoiled(|f| {
        forbid(f);
        let Read::Good(cluster) = &mut f.cluster else { unreachable!("a good file") };
        let check = Check {
            id: CheckId::from_random(1),
            name: "router".parse().unwrap(),
            target: Target::Icmp { host: "192.0.2.1".parse().unwrap() },
            interval: Span::from_secs(30),
            timeout: Span::from_secs(10),
            alert_ids: std::collections::BTreeSet::new(),
            suppress_alert_ids: std::collections::BTreeSet::new(),
            enabled: true,
        };
        cluster.checks.insert(check.id, Arc::new(check));
    });
    finds(&used, &[(Problem, "ping", "(now \"1 0\"), or give the daemon CAP_NET_RAW")]);
    let v6 = spoiled(|f| f.pings = Pings { v6: PingRight::Forbidden, ..pings() });
    finds(&v6, &[(Warning, "ping", "IPv6")]);
}

#[test]
fn the_daemon_is_silent_another_one_or_has_something_to_say() {
    finds(&spoiled(|f| f.daemon = Err("no daemon at x".into())), &[(Problem, "daemon", "no daemon at x")]);
    finds(&with_view(|v| v.version = "0.0.9".into()), &[(Warning, "daemon", "restart the daemon")]);
    finds(&with_view(|v| v.node = node(9)), &[(Problem, "daemon", "node.yaml says")]);
    let elsewhere = with_mesh(|m| m.here.as_mut().unwrap().dir = "/srv/qu".into());
    finds(&elsewhere, &[(Warning, "daemon", "uses /srv/qu, not /etc/quptime")]);
    let note = Note { level: NoteLevel::Problem, text: "the disk fails: I/O error".into() };
    finds(&with_view(|v| v.notes.push(note)), &[(Problem, "daemon", "the disk fails")]);
    let deaf = spoiled(|f| f.daemon.as_mut().unwrap().mesh = Err("busy".into()));
    finds(&deaf, &[(Warning, "mesh", "busy")]);
}

#[test]
fn quorum_master_and_the_number_of_peers() {
    finds(&with_view(|v| v.master = None), &[(Problem, "quorum", "no master")]);
    let lost = with_view(|v| v.quorum = Quorum { ok: false, live: 1, need: 2, of: 3 });
    finds(&lost, &[(Problem, "quorum", "no quorum (1 of 3 peers live, need 2)")]);
    finds(&healthy(1), &[(Warning, "size", "a cluster of one")]);
    finds(&healthy(2), &[(Warning, "size", "a cluster of two")]);
    finds(&healthy(4), &[(Warning, "size", "4 peers bear the loss of 1, as 3 would")]);
    finds(&healthy(5), &[]);
}

#[test]
fn a_peer_that_is_gone_is_told_once() {
    let mut facts = with_mesh(|m| {
        let dead = m.rows.iter_mut().find(|r| r.node_id == node(3)).unwrap();
        (dead.says, dead.silent, dead.clock_offset_ms) = (None, Some("no connection".into()), None);
        for n in [1, 2] {
            let c = says_of(m, n, 3);
            (c.live, c.dialled, c.heard_ms) = (false, false, Some(72_000));
            c.trouble = Some("connect 192.0.2.3:9901: connection refused".into());
        }
    });
    let view = Arc::make_mut(&mut facts.daemon.as_mut().unwrap().view);
    Arc::make_mut(&mut view.peers)[2].live = false;
    finds(
        &facts,
        &[(
            Problem,
            "peers",
            "is not live, last heard 1m12s ago: connect 192.0.2.3:9901: connection refused",
        )],
    );
    let learner = with_view(|v| Arc::make_mut(&mut v.peers)[1].voter = false);
    finds(&learner, &[(Warning, "peers", "is being caught up")]);
}

#[test]
fn who_reaches_whom_is_told_as_the_word_of_the_one_who_says_it() {
    let deaf = |m: &mut Mesh, n, of, why: Option<&str>| {
        let c = says_of(m, n, of);
        (c.dialled, c.trouble) = (false, why.map(str::to_owned));
    };
    let closed = with_mesh(|m| deaf(m, 2, 1, Some("no answer within 3 s")));
    let word = "n2.example.com:9901 (02000000) says that it cannot reach this node at n1.example.com:9901: no answer";
    finds(&closed, &[(Problem, "reach", word)]);
    finds(&with_mesh(|m| deaf(m, 2, 1, None)), &[(Warning, "reach", "not connected yet")]);
    let out = with_mesh(|m| deaf(m, 1, 3, Some("no route")));
    finds(&out, &[(Problem, "reach", "this node cannot reach n3.example.com")]);
    let others = with_mesh(|m| deaf(m, 3, 2, Some("no route")));
    finds(&others, &[(Warning, "mesh", "n3.example.com:9901 (03000000) says that it cannot reach n2")]);
    let unheard = with_mesh(|m| says_of(m, 3, 1).live = false);
    finds(&unheard, &[(Problem, "mesh", "does not hear this node (last 400ms ago)")]);
    let split = with_mesh(|m| {
        let c = says_of(m, 3, 2);
        (c.live, c.heard_ms) = (false, None);
    });
    finds(&split, &[(Warning, "mesh", "does not hear n2.example.com:9901 (02000000) (never)")]);
    let silent = with_mesh(|m| {
        m.rows[1].says = None;
        m.rows[1].silent = Some("its version does not answer this question".into());
    });
    finds(&silent, &[(Warning, "reach", "said nothing: its version")]);
    let unknown = with_mesh(|m| says(m, 2).peers.retain(|c| c.node_id != node(1)));
    finds(&unknown, &[(Warning, "reach", "does not speak of this node")]);
}

#[test]
fn versions_and_clocks_that_differ() {
    finds(&with_mesh(|m| says(m, 2).version = "0.2.0".into()), &[(Warning, "versions", "0.2.0 on n2")]);
    let set = |n: usize, ms: i64, trip: u64| {
        move |m: &mut Mesh| (m.rows[n].clock_offset_ms, m.rows[n].round_trip_ms) = (Some(ms), Some(trip))
    };
    finds(&with_mesh(set(1, 5000, 0)), &[]);
    finds(
        &with_mesh(set(1, 5001, 0)),
        &[(Warning, "clock", "n2.example.com:9901 (02000000) is 5s ahead of")],
    );
    finds(&with_mesh(set(2, -65_000, 0)), &[(Warning, "clock", "is 1m5s behind this host's")]);
    finds(&with_mesh(set(1, 5500, 1200)), &[]);
    finds(&with_mesh(set(1, i64::MAX, 0)), &[(Warning, "clock", "ahead")]);
    finds(&with_mesh(set(1, i64::MIN, 0)), &[(Warning, "clock", "behind")]);
    let mine = with_mesh(|m| {
        set(1, 60_000, 0)(m);
        set(2, 61_000, 0)(m);
    });
    finds(&mine, &[(Warning, "clock", "the clock of this host is behind those of 2 of 2 peers")]);
    let both = with_mesh(|m| {
        set(1, 60_000, 0)(m);
        set(2, -61_000, 0)(m);
    });
    finds(&both, &[(Warning, "clock", "n2"), (Warning, "clock", "n3")]);
}

#[test]
fn nonsense_is_counted_with_its_last_reason_and_time() {
    let spoke = |by: u8, of: u8, ago: u64| {
        with_mesh(move |m| {
            let c = says_of(m, by, of);
            c.nonsense = 3;
            c.last_nonsense = Some("said hello twice\u{1b}[2J".into());
            c.last_nonsense_at = Some(Wall(NOW.0 - ago * 1000));
        })
    };
    let word = "n2.example.com:9901 (02000000) broke the rules 3 times and was disconnected, last at \
                2026-05-12T15:01:02Z: it said hello twice";
    finds(&spoke(1, 2, 30), &[(Problem, "rules", word)]);
    finds(&spoke(1, 2, 7200), &[(Warning, "rules", "13:01:32Z")]);
    finds(&spoke(3, 2, 30), &[(Warning, "rules", "n3.example.com:9901 (03000000) says that n2")]);
    assert!(!lines(&judge(&spoke(1, 2, 30))).contains('\u{1b}'));
}

//! A daemon that is none: a control server with a fixed picture and fixed answers.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use quptime::control::server::Stopper;
use quptime::control::{Ask, Caller, Desk, Reply, Request, Server};
use quptime::view::View;

/// What a command printed and how it ended.
pub struct Ran {
    pub status: i32,
    pub out: String,
    pub err: String,
}

/// Runs the binary where no daemon is.
pub fn qu(args: &[&str]) -> Ran {
    finish(bare().args(args).env("QUPTIME_SOCKET", "/nonexistent/quptime.sock"), None)
}

/// Likewise, with something on standard input.
pub fn qu_fed(args: &[&str], input: &str) -> Ran {
    finish(bare().args(args).env("QUPTIME_SOCKET", "/nonexistent/quptime.sock"), Some(input))
}

fn bare() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_qu"));
    command.env_clear();
    command
}

fn finish(command: &mut Command, input: Option<&str>) -> Ran {
    use std::io::Write as _;
    let stdin = if input.is_some() { Stdio::piped() } else { Stdio::null() };
    let mut child =
        command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("qu starts");
    if let (Some(text), Some(mut pipe)) = (input, child.stdin.take()) {
        // A command that refuses before it reads is fine.
        drop(pipe.write_all(text.as_bytes()));
    }
    let output = child.wait_with_output().expect("qu ends");
    Ran {
        status: output.status.code().expect("qu ends by itself"),
        out: String::from_utf8(output.stdout).expect("text"),
        err: String::from_utf8(output.stderr).expect("text"),
    }
}

/// A control server for as long as this lives.
pub struct Daemon {
    dir: PathBuf,
    asked: Arc<Mutex<Vec<Ask>>>,
    stopper: Stopper,
    thread: Option<JoinHandle<()>>,
}

impl Daemon {
    pub fn start(name: &str, view: View) -> Daemon {
        Daemon::answering(name, view, answers::usual)
    }

    /// With other answers than the usual ones.
    pub fn answering(name: &str, view: View, answer: fn(&Ask) -> Reply) -> Daemon {
        let dir = std::env::temp_dir().join(format!("qu-cli-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a directory");
        let server = Server::open(&dir.join("quptime.sock")).expect("a socket");
        let stopper = server.stopper();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let desk: Arc<dyn Desk> = Arc::new(Fixed { asked: Arc::clone(&asked), answer });
        let view = Arc::new(view);
        let thread = std::thread::spawn(move || {
            let shared = Arc::clone(&view);
            let picture: quptime::control::server::Picture = Arc::new(move || Arc::clone(&shared));
            server.run(&picture, &desk);
        });
        Daemon { dir, asked, stopper, thread: Some(thread) }
    }

    /// Runs the binary against this daemon.
    pub fn qu(&self, args: &[&str]) -> Ran {
        self.run(bare().args(args))
    }

    pub fn qu_fed(&self, args: &[&str], input: &str) -> Ran {
        finish(bare().args(args).env("QUPTIME_SOCKET", self.socket()), Some(input))
    }

    pub fn run(&self, command: &mut Command) -> Ran {
        finish(command.env("QUPTIME_SOCKET", self.socket()), None)
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What was asked, but for pictures, which do not get to a desk.
    pub fn asked(&self) -> Vec<Ask> {
        self.asked.lock().expect("nobody panicked").clone()
    }

    fn socket(&self) -> PathBuf {
        self.dir.join("quptime.sock")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.stopper.stop();
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
        drop(std::fs::remove_dir_all(&self.dir));
    }
}

struct Fixed {
    asked: Arc<Mutex<Vec<Ask>>>,
    answer: fn(&Ask) -> Reply,
}

impl Desk for Fixed {
    fn ask(&self, _who: &Caller, request: Request) -> Reply {
        let reply = (self.answer)(&request.ask);
        self.asked.lock().expect("nobody panicked").push(request.ask);
        reply
    }
}

/// Compares with a golden file, or writes it when told to.
pub fn golden(name: &str, got: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("QUPTIME_GOLDEN").is_some_and(|v| v == "write") {
        std::fs::write(&path, got).expect("written");
        return;
    }
    let want = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    assert!(got == want, "{name} differs.\n--- want\n{want}--- got\n{got}");
}

/// Fixed answers.
pub mod answers {
    use super::picture;
    use super::{Ask, Reply};

    pub fn usual(ask: &Ask) -> Reply {
        match ask {
            Ask::NodeProbe { .. } => Reply::Met { node: picture::node(3), fingerprint: picture::key(3) },
            Ask::Mesh => Reply::Mesh(Box::new(picture::mesh())),
            Ask::TrustList => Reply::Trust(picture::trust()),
            Ask::IncidentList { .. } => Reply::Incidents(picture::incidents()),
            Ask::IncidentShow { id } => {
                Reply::Incidents(picture::incidents().into_iter().filter(|i| i.id == *id).collect())
            }
            Ask::SilenceList => Reply::Silences(picture::silences()),
            Ask::TestAlert { .. } => Reply::done("test message accepted", None),
            other => Reply::done(other.summary(), Some(5)),
        }
    }

    pub fn refusing(_: &Ask) -> Reply {
        Reply::refused("check \"web\" exists already; choose another name, or qu check edit web")
    }

    pub fn without_quorum(_: &Ask) -> Reply {
        Reply::no_quorum(1, 3, 2)
    }
}

/// Fixed pictures.
pub mod picture {
    use std::sync::Arc;

    use quptime::base::clock::Wall;
    use quptime::base::id::{AlertId, CheckId, ClusterId, NodeId};
    use quptime::base::units::Span;
    use quptime::config::Settings;
    use quptime::identity::Fingerprint;
    use quptime::verdict::Verdict;
    use quptime::view::mesh::{Claim, Contact, Here, Mesh, MeshRow, PingRight, Pings, Strangers};
    use quptime::view::{
        AlertView, CheckView, IncidentSeen, IncidentView, NodeReport, Note, NoteLevel, PeerView, ProbeStats,
        Quorum, SilenceView, TrustView, View,
    };

    /// 2026-05-12T15:01:32Z
    const NOW: Wall = Wall(1_778_598_092_000);

    fn ago(seconds: u64) -> Wall {
        Wall(NOW.0 - seconds * 1000)
    }

    pub fn node(n: u128) -> NodeId {
        NodeId::from_random((0xa7f3_b2c0 + n) << 96 | n)
    }

    pub fn key(n: u8) -> Fingerprint {
        Fingerprint([n; 32])
    }

    fn peer(n: u8, host: &str, live: bool) -> PeerView {
        PeerView {
            node_id: node(u128::from(n)),
            advertise: format!("{host}.example.com:9901").parse().expect("a host"),
            fingerprint: key(n),
            me: n == 1,
            live,
            last_seen: Some(ago(if live { 0 } else { 3600 })),
            voter: true,
            version: live.then(|| "0.1.0".to_owned()),
            clock_offset_ms: live.then_some(i64::from(n) * 20 - 20),
            trouble: None,
            hears: None,
        }
    }

    fn check(n: u128, name: &str, state: Verdict, ok: u32) -> Arc<CheckView> {
        let report = |at: u128| {
            let fine = at > u128::from(3 - ok);
            NodeReport {
                node: node(at),
                ok: fine,
                detail: (!fine).then(|| "connect: connection refused".to_owned()),
                took_ms: 12,
                age_ms: 4200,
                fresh: true,
            }
        };
        Arc::new(CheckView {
            id: CheckId::from_random(n << 96),
            name: name.to_owned(),
            kind: "http".to_owned(),
            target: format!("https://{name}.example.com/"),
            expect_status: Some(200),
            body_match: None,
            interval: Span::from_secs(30),
            timeout: Span::from_secs(10),
            enabled: true,
            state,
            since: Some(ago(600)),
            ok,
            total: 3,
            alerts: vec!["ops".to_owned()],
            suppressed: Vec::new(),
            detail: (ok < 3).then(|| "connect: connection refused".to_owned()),
            detail_node: (ok < 3).then(|| node(1)),
            nodes: [1, 2, 3].map(report).to_vec(),
        })
    }

    pub fn three() -> View {
        let idle = CheckView {
            kind: "icmp".to_owned(),
            target: "192.0.2.1".to_owned(),
            expect_status: None,
            enabled: false,
            state: Verdict::Unknown,
            since: None,
            ok: 0,
            total: 0,
            alerts: Vec::new(),
            detail: None,
            detail_node: None,
            nodes: Vec::new(),
            ..(*check(0xc3, "router", Verdict::Unknown, 3)).clone()
        };
        View {
            node: node(1),
            version: "0.1.0".to_owned(),
            at: NOW,
            uptime_ms: 86_400_000,
            cluster: ClusterId::from_random(0xc1),
            term: 2,
            master: Some(node(1)),
            acts_for_ms: None,
            quorum: Quorum { ok: true, live: 2, need: 2, of: 3 },
            config_version: 4,
            updated_at: ago(1200),
            updated_by: Some(node(1)),
            settings: Settings::default(),
            peers: Arc::new(vec![peer(1, "alpha", true), peer(2, "beta", true), peer(3, "gamma", false)]),
            checks: [check(0xc1, "db", Verdict::Up, 2), Arc::new(idle), check(0xc2, "web", Verdict::Down, 1)]
                .into_iter()
                .collect(),
            table: String::new(),
            alerts: Arc::new(vec![alert()]),
            probes: ProbeStats {
                running: 2,
                done: 5000,
                late: 3,
                worst_late_ms: 1200,
                p99_late_ms: 1200,
                lost: 7,
                sockets: 2,
                most_sockets: 960,
                ..ProbeStats::default()
            },
            notes: vec![Note {
                level: NoteLevel::Problem,
                text: "cluster.yaml cannot be written: No space left on device".to_owned(),
            }],
        }
    }

    /// Seven nodes, two thousand checks, a report of each node for each check.
    pub fn huge() -> View {
        let seven: Vec<NodeReport> =
            check(0, "x", Verdict::Up, 0).nodes.iter().cycle().take(7).cloned().collect();
        let one = |n: u128| {
            let plain = check(0x1_0000 + n, &format!("check-{n}"), Verdict::Up, 3);
            Arc::new(CheckView { nodes: seven.clone(), ..(*plain).clone() })
        };
        View { checks: (0..2_000).map(one).collect(), ..three() }
    }

    fn alert() -> Arc<AlertView> {
        Arc::new(AlertView {
            id: AlertId::from_random(0xa1 << 96),
            name: "ops".to_owned(),
            kind: "smtp".to_owned(),
            destination: "ops@example.com via mail.example.com:587".to_owned(),
            default: true,
            enabled: true,
            remind: None,
            queue: 1,
            last_success: Some(ago(700)),
            last_error: Some("451 greylisted".to_owned()),
            last_error_at: Some(ago(10)),
            failed: 2,
        })
    }

    /// One of three, that hears nobody and never heard the third.
    pub fn alone() -> View {
        let gone = PeerView { last_seen: None, voter: false, ..peer(3, "gamma", false) };
        View {
            master: None,
            term: 3,
            quorum: Quorum { ok: false, live: 1, need: 2, of: 3 },
            peers: Arc::new(vec![peer(1, "alpha", true), peer(2, "beta", false), gone]),
            checks: quptime::view::CheckList::default(),
            alerts: Arc::default(),
            probes: ProbeStats::default(),
            notes: Vec::new(),
            ..three()
        }
    }

    /// The third of three does not answer; before, it spoke nonsense to the second.
    pub fn mesh() -> Mesh {
        let contact = |by: u8, of: u8| Contact {
            node_id: node(u128::from(of)),
            live: of != 3,
            heard_ms: if (by, of) == (1, 3) { Some(3_600_000) } else { (of != 3).then_some(320) },
            address: three().peers[usize::from(of) - 1].advertise.clone(),
            dialled: of != 3,
            accepted: of != 3,
            trouble: (of == 3).then(|| "connect 192.0.2.3:9901: connection refused".to_owned()),
            dropped: 0,
            nonsense: if (by, of) == (2, 3) { 2 } else { 0 },
            last_nonsense: ((by, of) == (2, 3)).then(|| "said hello twice".to_owned()),
            last_nonsense_at: ((by, of) == (2, 3)).then(|| ago(7200)),
        };
        let row = |n: u8| MeshRow {
            node_id: node(u128::from(n)),
            advertise: three().peers[usize::from(n) - 1].advertise.clone(),
            me: n == 1,
            says: (n != 3).then(|| Claim {
                version: "0.1.0".to_owned(),
                uptime_ms: 86_400_000,
                clock_ms: NOW.0,
                master: Some(node(1)),
                config_version: 4,
                applied: 12,
                committed: (n == 1).then_some(12),
                peers: (1..=3).filter(|m| *m != n).map(|m| contact(n, m)).collect(),
            }),
            silent: (n == 3).then(|| "no connection".to_owned()),
            clock_offset_ms: [Some(0), Some(-6200), None][usize::from(n) - 1],
            round_trip_ms: (n == 2).then_some(18),
        };
        let here = Here {
            dir: "/etc/quptime".to_owned(),
            uid: 990,
            listens: "0.0.0.0:9901".parse().expect("a place"),
            pings: pings(),
        };
        let rows = (1..=3).map(row).collect();
        Mesh { at: NOW, node: node(1), rows, strangers: Strangers::default(), here: Some(here) }
    }

    pub fn pings() -> Pings {
        Pings { v4: PingRight::Raw, v6: PingRight::Forbidden, group: 990, range: "1 0".to_owned() }
    }

    pub fn trust() -> Vec<TrustView> {
        let entry = |n: u8, host: &str| TrustView {
            node_id: node(u128::from(n)),
            address: format!("{host}.example.com:9901").parse().expect("a host"),
            fingerprint: key(n),
        };
        vec![entry(2, "beta"), entry(3, "gamma")]
    }

    pub fn silences() -> Vec<SilenceView> {
        let one = SilenceView {
            id: "17".to_owned(),
            check: Some("web".to_owned()),
            from: ago(60),
            until: Wall(NOW.0 + 7_140_000),
            reason: "new disk".to_owned(),
        };
        let all = SilenceView { id: "18".to_owned(), check: None, reason: String::new(), ..one.clone() };
        vec![one, all]
    }

    pub fn incidents() -> Vec<IncidentView> {
        let seen = |n: u128, ok: bool| IncidentSeen {
            node: node(n),
            ok,
            detail: (!ok).then(|| "status 503".to_owned()),
            took_ms: 30,
        };
        let open = IncidentView {
            id: "40.1".to_owned(),
            check: CheckId::from_random(0xc2 << 96),
            name: "web".to_owned(),
            target: "https://web.example.com/".to_owned(),
            started: ago(600),
            ended: None,
            end: None,
            detail: Some("connect: connection refused".to_owned()),
            down_seen: vec![seen(1, false), seen(2, false)],
            up_seen: Vec::new(),
        };
        let past = IncidentView {
            id: "12.0".to_owned(),
            started: ago(90_000),
            ended: Some(ago(82_000)),
            end: Some("recovered".to_owned()),
            detail: Some("status 503".to_owned()),
            down_seen: vec![seen(1, false), seen(2, false), seen(3, true)],
            up_seen: vec![seen(1, true), seen(2, true), seen(3, true)],
            ..open.clone()
        };
        vec![open, past]
    }
}

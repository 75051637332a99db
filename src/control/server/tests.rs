use std::io::{Read as _, Write as _};
use std::sync::Mutex;
use std::sync::mpsc;

use super::*;
use crate::base::clock::Wall;
use crate::base::id::{ClusterId, NodeId, RequestId};
use crate::config::Settings;
use crate::control::client::{self, ClientError};
use crate::view::{Filter, ProbeStats, Quorum};

/// A directory of its own for each test, gone afterwards.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Dir {
        let dir = std::env::temp_dir().join(format!("qu-ctl-{}-{name}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        Dir(dir)
    }
    fn socket(&self) -> PathBuf {
        self.0.join("run/quptime.sock")
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// Answers with the summary, or, told to, only when it is let go.
#[derive(Default)]
struct Echo {
    held: Option<Mutex<mpsc::Receiver<()>>>,
    entered: Option<Mutex<mpsc::Sender<()>>>,
}

impl Desk for Echo {
    fn ask(&self, who: &Caller, request: Request) -> Reply {
        if let Some(entered) = &self.entered {
            entered.lock().unwrap().send(()).unwrap();
        }
        if let Some(gate) = &self.held {
            // An error is the test letting go.
            let _ = gate.lock().unwrap().recv();
        }
        Reply::done(format!("{} by {}", request.ask.summary(), who.uid), Some(5))
    }
}

fn picture() -> Picture {
    let view = Arc::new(View {
        node: NodeId::from_random(1),
        version: "0.1.0".into(),
        at: Wall(0),
        uptime_ms: 0,
        cluster: ClusterId::from_random(2),
        term: 2,
        master: None,
        acts_for_ms: None,
        quorum: Quorum { ok: false, live: 1, need: 2, of: 3 },
        config_version: 4,
        updated_at: Wall(0),
        updated_by: None,
        settings: Settings::default(),
        peers: Arc::default(),
        checks: crate::view::CheckList::default(),
        table: String::new(),
        alerts: Arc::default(),
        probes: ProbeStats::default(),
        notes: Vec::new(),
    });
    Arc::new(move || Arc::clone(&view))
}

/// Runs a server for as long as the guard lives.
struct Running(Stopper, Option<thread::JoinHandle<()>>);

impl Running {
    fn start(path: &Path, desk: Echo) -> Running {
        let server = Server::open(path).unwrap();
        let stopper = server.stopper();
        let desk: Arc<dyn Desk> = Arc::new(desk);
        Running(stopper, Some(thread::spawn(move || server.run(&picture(), &desk))))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.stop();
        if let Some(thread) = self.1.take() {
            thread.join().unwrap();
        }
    }
}

fn request(ask: Ask) -> Request {
    Request { id: RequestId::from_random(9), ask }
}

fn remove(who: &str) -> Request {
    request(Ask::RemoveCheck { who: who.into() })
}

const PATIENCE: Duration = Duration::from_secs(5);

#[test]
fn a_question_is_answered_with_the_callers_user_and_a_picture_without_the_desk() {
    let dir = Dir::new("ask");
    let _server = Running::start(&dir.socket(), Echo::default());
    let reply = client::ask(&dir.socket(), &remove("web"), PATIENCE).unwrap();
    let want = format!("remove check \"web\" by {}", cred::euid());
    assert_eq!(reply, Reply::done(want, Some(5)));
    let reply = client::ask(&dir.socket(), &request(Ask::Status(Filter::default())), PATIENCE).unwrap();
    assert!(matches!(reply, Reply::View(v) if v.config_version == 4));
}

#[test]
fn the_socket_is_for_user_and_group_and_goes_with_its_server() {
    let dir = Dir::new("mode");
    let server = Server::open(&dir.socket()).unwrap();
    let mode = |p: &Path| fs::metadata(p).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&dir.socket()), 0o660);
    assert_eq!(mode(dir.socket().parent().unwrap()), 0o750);
    assert_eq!(fs::read_dir(dir.socket().parent().unwrap()).unwrap().count(), 1);
    drop(server);
    assert!(!dir.socket().exists());
}

#[test]
fn a_second_daemon_does_not_take_the_socket_of_a_first_that_answers() {
    let dir = Dir::new("second");
    let _server = Running::start(&dir.socket(), Echo::default());
    let why = Server::open(&dir.socket()).unwrap_err();
    assert!(matches!(why, OpenError::Taken(_)), "{why}");
    assert!(client::ask(&dir.socket(), &remove("web"), PATIENCE).is_ok());
}

#[test]
fn a_socket_that_a_dead_daemon_left_is_replaced_and_a_file_is_not() {
    let dir = Dir::new("stale");
    fs::create_dir_all(dir.socket().parent().unwrap()).unwrap();
    drop(UnixListener::bind(dir.socket()).unwrap());
    assert!(dir.socket().exists());
    let server = Server::open(&dir.socket()).unwrap();
    drop(server);
    fs::File::create(dir.socket()).unwrap();
    assert!(matches!(Server::open(&dir.socket()).unwrap_err(), OpenError::NotASocket(_)));
}

#[test]
fn nobody_there_is_said_with_the_remedy() {
    let dir = Dir::new("absent");
    let why = client::ask(&dir.socket(), &remove("web"), PATIENCE).unwrap_err().to_string();
    assert!(why.contains("no such socket; is it running? (systemctl status quptime"), "{why}");
    fs::create_dir_all(dir.socket().parent().unwrap()).unwrap();
    drop(UnixListener::bind(dir.socket()).unwrap());
    let why = client::ask(&dir.socket(), &remove("web"), PATIENCE).unwrap_err().to_string();
    assert!(why.contains("nobody listens on it"), "{why}");
}

#[test]
fn a_desk_that_takes_too_long_costs_the_caller_his_patience_only() {
    let dir = Dir::new("late");
    let (go, gate) = mpsc::channel();
    let _server = Running::start(&dir.socket(), Echo { held: Some(Mutex::new(gate)), ..Echo::default() });
    let why = client::ask(&dir.socket(), &remove("web"), Duration::from_millis(50)).unwrap_err();
    assert!(matches!(why, ClientError::Late { deed: true, .. }), "{why}");
    assert!(why.to_string().contains("within 50ms; the change may have been made all the same"), "{why}");
    // The picture does not go over the desk.
    assert!(client::ask(&dir.socket(), &request(Ask::Status(Filter::default())), PATIENCE).is_ok());
    drop(go);
}

#[test]
fn what_is_no_request_is_refused_and_a_giant_one_before_its_body() {
    let dir = Dir::new("garbage");
    let _server = Running::start(&dir.socket(), Echo::default());
    let tell = |bytes: &[u8]| {
        let mut socket = UnixStream::connect(dir.socket()).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.write_all(bytes).unwrap();
        let mut answer = Vec::new();
        drop(socket.read_to_end(&mut answer));
        String::from_utf8_lossy(&answer).into_owned()
    };
    let mut garbage = Vec::new();
    frame::write(&mut garbage, b"{\"ask\":\"dance\"}").unwrap();
    assert!(tell(&garbage).contains("does not understand the request"));
    assert!(tell(&[0xff, 0xff, 0xff, 0xff]).contains("got no whole request"));
    assert!(tell(&[0, 0, 0, 0]).contains("got no whole request"));
    assert!(client::ask(&dir.socket(), &remove("web"), PATIENCE).is_ok());
}

#[test]
fn one_command_too_many_is_told_to_try_again() {
    let dir = Dir::new("many");
    let (go, gate) = mpsc::channel();
    let _server = Running::start(&dir.socket(), Echo { held: Some(Mutex::new(gate)), ..Echo::default() });
    let idle: Vec<UnixStream> =
        (0..MOST_CONNECTIONS).map(|_| UnixStream::connect(dir.socket()).unwrap()).collect();
    let reply = client::ask(&dir.socket(), &remove("web"), PATIENCE).unwrap();
    assert!(matches!(reply, Reply::TryAgain { .. }), "{reply:?}");
    drop((idle, go));
}

#[test]
fn a_guessed_directory_of_another_user_under_tmp_is_not_trusted() {
    let dir = Dir::new("foreign");
    let me = cred::euid();
    let open = dir.0.join("open");
    fs::create_dir_all(open.join("mine")).unwrap();
    fs::set_permissions(&open, fs::Permissions::from_mode(0o1777)).unwrap();
    let socket = open.join("mine/quptime.sock");
    assert!(client::trust_directory(&socket, me).is_ok());
    if me != 0 {
        assert!(matches!(client::trust_directory(&socket, me + 1), Err(ClientError::Foreign { .. })));
    } else {
        std::os::unix::fs::chown(open.join("mine"), Some(12_345), None).unwrap();
        assert!(matches!(client::trust_directory(&socket, 54_321), Err(ClientError::Foreign { .. })));
    }
}

#[test]
fn an_answer_under_way_is_still_given_at_an_orderly_stop_and_newcomers_are_sent_away() {
    let dir = Dir::new("stop");
    let ((go, gate), (enter, entered)) = (mpsc::channel(), mpsc::channel());
    let desk = Echo { held: Some(Mutex::new(gate)), entered: Some(Mutex::new(enter)) };
    let server = Running::start(&dir.socket(), desk);
    let mut socket = UnixStream::connect(dir.socket()).unwrap();
    frame::write(&mut socket, &serde_json::to_vec(&remove("web")).unwrap()).unwrap();
    entered.recv_timeout(PATIENCE).unwrap();
    // Whether it comes before or after the stopper's own connection, it is not left without a word.
    server.0.stopping.store(true, Ordering::SeqCst);
    let late = client::ask(&dir.socket(), &remove("web"), PATIENCE).unwrap();
    assert!(matches!(late, Reply::TryAgain { .. }), "{late:?}");
    go.send(()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let answer = frame::read(&mut socket, frame::LARGEST).unwrap();
    assert!(String::from_utf8_lossy(&answer).contains("remove check"));
    drop(server);
    assert!(!dir.socket().exists());
}

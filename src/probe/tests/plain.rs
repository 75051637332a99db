//! TCP and ICMP, both families.

use super::*;
use crate::probe::icmp::packet::{self, Echo};
use crate::sys::icmp::{Kind, open_kind};
use socket2::{Domain, Socket, Type};

#[test]
fn tcp_checks_are_up_where_something_listens_and_refused_where_nothing_does() {
    let rig = Rig::plain();
    let four = Server::new("127.0.0.1:0", |mut s| wait_for_end(&mut s));
    let six = Server::new("[::1]:0", |mut s| wait_for_end(&mut s));
    let targets = [four.at, six.at, closed_port("127.0.0.1"), closed_port("[::1]")];
    let details = rig.details(targets.iter().map(|at| tcp(&at.to_string())).collect(), 2000);
    assert_eq!(details, ["up", "up", "connect: connection refused", "connect: connection refused"]);
}

/// A listener whose queue is full: further connections are neither made nor refused.
struct BlackHole {
    at: SocketAddr,
    _listener: Socket,
    _queued: Vec<Socket>,
}

impl BlackHole {
    fn new() -> BlackHole {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        listener.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
        listener.listen(0).unwrap();
        let at = listener.local_addr().unwrap().as_socket().unwrap();
        let queued = (0..3).map(|_| {
            let s = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            s.set_nonblocking(true).unwrap();
            drop(s.connect(&at.into()));
            s
        });
        BlackHole { at, _queued: queued.collect(), _listener: listener }
    }
}

#[test]
fn a_connection_that_is_never_answered_ends_at_the_timeout_and_not_later() {
    let rig = Rig::plain();
    let hole = BlackHole::new();
    let checks =
        [check(tcp(&hole.at.to_string()), 300), check(http(&format!("http://{}/", hole.at), 200, None), 300)];
    for report in rig.first_reports(&checks) {
        assert_eq!(detail(&report), "timeout after 300ms while connecting");
        assert!((280..600).contains(&report.took_ms), "{}", report.took_ms);
    }
}

#[test]
fn a_name_with_a_dead_and_a_living_address_is_up() {
    let server = Server::new("127.0.0.1:0", |mut s| wait_for_end(&mut s));
    let hosts = Scratch::file("hosts", "::1 both.example\n127.0.0.1 both.example\n");
    let rig = Rig::new(|c| c.hosts.clone_from(&hosts.0));
    let report =
        rig.first_reports(&[check(tcp(&format!("both.example:{}", server.at.port())), 3000)]).remove(0);
    assert_eq!(detail(&report), "up");
}

fn may_ping() -> bool {
    let allowed = [Kind::Datagram, Kind::Raw].iter().any(|k| open_kind(false, *k).is_ok());
    if !allowed {
        eprintln!("skipped: this kernel lets this process ping neither by datagram nor by raw socket");
    }
    allowed
}

#[test]
fn echoes_come_back_over_both_families() {
    if !may_ping() {
        return;
    }
    let rig = Rig::plain();
    let details = rig.details(vec![icmp("127.0.0.1"), icmp("::1"), icmp("localhost")], 2000);
    assert_eq!(details, ["up", "up", "up"]);
}

#[test]
fn five_hundred_targets_answer_through_one_socket_within_a_second() {
    if !may_ping() {
        return;
    }
    let rig = Rig::plain();
    let checks: Vec<_> =
        (0..500).map(|n| check(icmp(&format!("127.0.{}.{}", n / 250, n % 250 + 1)), 1500)).collect();
    let reports = rig.first_reports(&checks);
    assert!(reports.iter().all(|r| r.outcome.is_ok()), "{:?}", reports.iter().find(|r| !r.outcome.is_ok()));
    assert_eq!(rig.prober.stats().sockets, 0, "no socket but the common ones");
}

#[test]
fn a_target_without_a_route_fails_at_once_and_names_the_cause() {
    if !may_ping() {
        return;
    }
    // Class E addresses are refused by the routing of every Linux host, without a packet.
    let rig = Rig::plain();
    let report = rig.first_reports(&[check(icmp("255.255.255.255"), 5000)]).remove(0);
    assert!(!report.outcome.is_ok() && !detail(&report).contains("timeout"), "{report:?}");
}

#[test]
fn a_raw_socket_is_told_of_no_reply_to_somebody_else() {
    for (v6, to) in [(false, "127.0.0.1"), (true, "::1")] {
        let Ok(socket) = open_kind(v6, Kind::Raw) else {
            eprintln!("skipped: no raw socket, IPv6 {v6}");
            continue;
        };
        socket.hear_only(4711).unwrap();
        // The loopback keeps the order: the second would be heard after the first.
        for id in [4712, 4711] {
            let echo = Echo { id, seq: 9, key: 1, token: *b"0123456789abcdef" };
            socket.send(&packet::request(&echo, v6), to.parse().unwrap()).unwrap();
        }
        let mut buffer = [0; 256];
        let mut heard = None;
        until("an echo of ours", || {
            let range = socket.receive(&mut buffer).unwrap();
            heard = range.and_then(|r| packet::reply(&buffer[r], v6)).filter(|e| e.seq == 9);
            heard.is_some()
        });
        assert_eq!(heard.map(|e| e.id), Some(4711), "IPv6 {v6}");
    }
}

#[test]
fn each_kind_of_socket_brings_its_echo_back() {
    for (v6, to) in [(false, "127.0.0.1"), (true, "::1")] {
        for kind in [Kind::Datagram, Kind::Raw] {
            let socket = match open_kind(v6, kind) {
                Ok(socket) => socket,
                Err(e) => {
                    eprintln!("skipped: {kind:?} socket, IPv6 {v6}: {e}");
                    continue;
                }
            };
            let sent = Echo { id: 4711, seq: 9, key: 1, token: *b"0123456789abcdef" };
            socket.send(&packet::request(&sent, v6), to.parse().unwrap()).unwrap();
            let mut buffer = [0; 256];
            until("the echo", || {
                let range = socket.receive(&mut buffer).unwrap();
                let echo = range.and_then(|r| packet::reply(&buffer[r], v6));
                // On datagram sockets the identifier is the kernel's.
                echo.is_some_and(|e| {
                    Echo { id: 4711, ..e } == sent && (kind == Kind::Datagram || e.id == 4711)
                })
            });
        }
    }
}

//! Strangers, many of them: idle, shaking hands, announcing much, saying nonsense.

use std::collections::VecDeque;
use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use quptime::identity::keys::Keys;
use quptime::sys::poll::raise_descriptor_limit;
use quptime::transport::admit::PLACES;
use quptime::transport::tls;
use rustls::ClientConnection;

use super::client::{
    Raw, address, connect_from, framed, fresh_keys, has_ended, hello_of, is_closed_after, socket_from,
    tls_over,
};
use super::siege::{LIMIT, Siege, calm, joined, place};
use super::support::{Cluster, Home, Node, SECRET, within};

/// Descriptors that come and go at a node beside those of strangers: files that are written, a
/// command that asks, a connection whose last word is on its way.
const OTHERS: usize = 40;

#[test]
fn two_thousand_idle_connections_hold_64_places_and_cost_no_heartbeat() {
    let cluster = calm("idle", 3);
    let mut siege = Siege::lay(&cluster);
    let at = place(&cluster, &siege.master);
    let node = &cluster.nodes[at];
    let allowed = usize::try_from(raise_descriptor_limit().expect("a limit")).unwrap_or(usize::MAX);
    let count = 2000.min(allowed.saturating_sub(200));
    if count < 2000 {
        eprintln!("only {count} connections: this process may have {allowed} descriptors");
    }
    let mut held: Vec<TcpStream> = Vec::new();
    let mut most = 0;
    for n in 0..count {
        held.extend(connect_from(n / 4, node));
        if n % 50 == 0 {
            most = most.max(siege.opened(at));
            siege.look();
        }
    }
    // Whoever waits without a word is sent away, at the latest when its handshake is overdue.
    within(LIMIT, "no idle connection is left", || {
        siege.look();
        most = most.max(siege.opened(at));
        held.retain(|socket| !has_ended(socket));
        held.is_empty().then_some(())
    });
    eprintln!("{count} idle connections: {most} descriptors at most");
    assert!(most <= PLACES + OTHERS, "{most} descriptors were open");
    siege.lift();
}

/// A handshake that is made step by step, as far as the other side lets it.
struct Handshake {
    socket: TcpStream,
    tls: ClientConnection,
}

impl Handshake {
    fn begin(n: usize, node: &Node, keys: &Keys) -> io::Result<Handshake> {
        let socket = socket_from(n)?;
        socket.set_nonblocking(true)?;
        // It is on its way, or the queue at the door is full.
        drop(socket.connect(&address(node).into()));
        Ok(Handshake { socket: socket.into(), tls: hello_of(keys, node, tls::PEERS) })
    }

    /// One step; `false` when it is over.
    fn step(&mut self) -> bool {
        let waits =
            |e: &io::Error| matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected);
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut self.socket) {
                Ok(_) => {}
                Err(e) => return waits(&e),
            }
        }
        match self.tls.read_tls(&mut self.socket) {
            Ok(0) => false,
            Ok(_) => self.tls.process_new_packets().is_ok() && self.tls.is_handshaking(),
            Err(e) => waits(&e),
        }
    }
}

/// How long the flood lasts.
fn seconds() -> Duration {
    let said = std::env::var("QUPTIME_HOSTILE_SECONDS").ok();
    Duration::from_secs(said.and_then(|s| s.parse().ok()).unwrap_or(3))
}

/// Nodes with the keys that every node has unless told otherwise: the costly ones.
fn with_usual_keys(name: &str, count: usize) -> Cluster {
    let home = Home::new(name);
    let mut nodes = Vec::new();
    for n in 0..count {
        let mut node = Node::unmade(home.path(), &format!("n{n}"));
        let (port, address) = (node.port.to_string(), node.address());
        let words = ["init", "--advertise", &address, "--port", &port, "--secret-file", "-"];
        let ran = node.run(&words, Some(SECRET));
        assert_eq!(ran.status, 0, "{ran:?}");
        let line =
            |label: &str| ran.out.lines().find_map(|l| l.strip_prefix(label)).map(|l| l.trim().to_owned());
        (node.id, node.fingerprint) = (line("node ").expect("a line"), line("fingerprint ").expect("a line"));
        node.start();
        nodes.push(node);
    }
    for node in &nodes {
        node.sees("a cluster of one has its master", |v| !v["master"].is_null());
    }
    joined(Cluster { nodes, home })
}

#[test]
fn two_hundred_handshakes_a_second_yield_to_heartbeats() {
    let cluster = with_usual_keys("handshakes", 3);
    let mut siege = Siege::lay(&cluster);
    let at = place(&cluster, &siege.master);
    let (node, keys) = (&cluster.nodes[at], fresh_keys());
    let mut under_way: VecDeque<Handshake> = VecDeque::new();
    let (mut begun, mut most, mut looked) = (0_u32, 0, Instant::now());
    let start = Instant::now();
    while start.elapsed() < seconds() {
        let due = u32::try_from(start.elapsed().as_millis() / 5).unwrap_or(u32::MAX);
        // A machine that is slow is not caught up with: that would be more than 200 a second.
        begun = begun.max(due.saturating_sub(20));
        while begun < due {
            begun += 1;
            under_way.extend(Handshake::begin(begun as usize, node, &keys));
        }
        under_way.retain_mut(Handshake::step);
        while under_way.len() > 400 {
            under_way.pop_front();
        }
        if looked.elapsed() > Duration::from_millis(250) {
            looked = Instant::now();
            siege.look();
            most = most.max(siege.opened(at));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    drop(under_way);
    eprintln!("{begun} handshakes begun in {:?}: {most} descriptors at most", start.elapsed());
    assert!(most <= PLACES + OTHERS, "{most} descriptors were open");
    siege.lift();
}

/// Sixty connections that shook hands and asked to join, from so many addresses that each has a
/// place; those that were too slow to get one are left out.
fn sixty(node: &Node, keys: &Keys) -> Vec<Raw> {
    let mut all = Vec::new();
    for n in 0..60 {
        let Ok(socket) = connect_from(500 + n / 4, node) else { continue };
        let mut raw = tls_over(socket, keys, node, tls::JOIN);
        if raw.conn.complete_io(&mut raw.sock).is_ok() && !raw.conn.is_handshaking() {
            all.push(raw);
        }
    }
    all
}

/// Sends a little on each until all are closed.
fn send_slowly(mut all: Vec<Raw>, piece: &[u8], siege: &mut Siege<'_>) {
    within(LIMIT, "all who send slowly are sent away", || {
        all.retain_mut(|raw| {
            raw.write_all(piece).and_then(|()| raw.flush()).is_ok() && !has_ended(&raw.sock)
        });
        siege.look();
        all.is_empty().then_some(())
    });
}

#[test]
fn sixty_strangers_who_announce_16_mebibytes_and_send_slowly_reserve_nothing() {
    let cluster = calm("announce", 3);
    let mut siege = Siege::lay(&cluster);
    let node = &cluster.nodes[place(&cluster, &siege.master)];
    let keys = fresh_keys();
    // The second length is one that a stranger may announce, and nobody may take for ever to fill.
    for (announced, piece) in [(16_u32 << 20, 100), (64 << 10, 500)] {
        let mut all = sixty(node, &keys);
        assert!(!all.is_empty(), "nobody got through the handshake");
        eprintln!("{} announce {announced} bytes", all.len());
        for raw in &mut all {
            drop(raw.write_all(&announced.to_be_bytes()).and_then(|()| raw.flush()));
            raw.sock.set_nonblocking(true).expect("a socket");
        }
        send_slowly(all, &vec![b' '; piece], &mut siege);
    }
    siege.lift();
}

#[test]
fn impossible_lengths_and_garbage_from_strangers_end_their_connections_and_nothing_else() {
    let cluster = calm("garbage", 3);
    let siege = Siege::lay(&cluster);
    let keys = fresh_keys();
    let noise: Vec<u8> =
        (0..2000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13).to_le_bytes()[0]).collect();
    let deep = framed("[".repeat(20_000).as_bytes());
    let said = [vec![0; 4], vec![0xff; 4], noise.clone(), framed(&noise), deep, framed(br#"{"offer":{}}"#)];
    for node in &cluster.nodes {
        for (n, said) in said.iter().enumerate() {
            let plain = connect_from(600 + n, node).expect("connected");
            plain.set_read_timeout(Some(LIMIT)).expect("a timeout");
            assert!(is_closed_after(&mut &plain, said), "plain, {n}");
            for alpn in [tls::JOIN, tls::PEERS] {
                let socket = connect_from(700 + n, node).expect("connected");
                let mut raw = tls_over(socket, &keys, node, alpn);
                assert!(is_closed_after(&mut raw, said), "{alpn:?}, {n}");
            }
        }
        // Half a greeting, and the end.
        let half = connect_from(800, node).expect("connected");
        drop((&half).write_all(&[0x16, 3, 1, 2, 0, 1, 0]).and_then(|()| half.shutdown(Shutdown::Write)));
        half.set_read_timeout(Some(LIMIT)).expect("a timeout");
        assert!((&half).read(&mut [0; 64]).is_ok_and(|n| n <= 64));
    }
    siege.lift();
}

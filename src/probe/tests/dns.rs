//! Names, against a resolver made for the test.

use std::net::{IpAddr, UdpSocket};

use super::*;

/// How the resolver answers one question.
#[derive(Clone, Copy)]
enum Say {
    V4,
    /// The name exists, and has no address.
    Empty,
    Code(u8),
    Nothing,
    /// Address first under a wrong number, then nothing.
    Forged,
    Truncated,
}

/// The answer to a question, as a message.
fn answer(question: &[u8], say: Say) -> Option<Vec<u8>> {
    let mut m = question.to_vec();
    let is_a = question[question.len() - 3] == 1;
    m[2] = 0x81;
    m[3] = 0x80;
    let code = match say {
        Say::Code(code) => code,
        Say::Nothing => return None,
        Say::V4 | Say::Forged | Say::Empty => 0,
        Say::Truncated => {
            m[2] |= 0x02;
            return Some(m);
        }
    };
    m[3] |= code;
    if code == 0 && is_a && !matches!(say, Say::Empty) {
        m[7] = 1;
        m.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 127, 0, 0, 1]);
    }
    if matches!(say, Say::Forged) {
        m[0] ^= 0xff;
    }
    Some(m)
}

fn name_in(question: &[u8]) -> String {
    let mut name = String::new();
    let mut at = 12;
    while question[at] != 0 {
        let n = usize::from(question[at]);
        if !name.is_empty() {
            name.push('.');
        }
        name.push_str(std::str::from_utf8(&question[at + 1..=at + n]).unwrap());
        at += n + 1;
    }
    name
}

/// A resolver on UDP and TCP that answers by name and counts questions.
struct Resolver {
    at: SocketAddr,
    asked: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    udp: Option<JoinHandle<()>>,
    _tcp: Server,
}

impl Resolver {
    fn new(on: &str, say: fn(&str) -> Say) -> Resolver {
        // Over TCP every question is answered in full.
        let tcp = Server::new(on, |mut stream| {
            let mut length = [0; 2];
            if stream.read_exact(&mut length).is_ok() {
                let mut question = vec![0; usize::from(u16::from_be_bytes(length))];
                stream.read_exact(&mut question).unwrap();
                let m = answer(&question, Say::V4).unwrap();
                let mut out = u16::try_from(m.len()).unwrap().to_be_bytes().to_vec();
                out.extend(m);
                stream.write_all(&out).unwrap();
            }
        });
        let socket = UdpSocket::bind(tcp.at).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let (asked, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, stopped) = (Arc::clone(&asked), Arc::clone(&stop));
        let udp = std::thread::spawn(move || {
            let mut buffer = [0; 512];
            while !stopped.load(Ordering::SeqCst) {
                let Ok((n, from)) = socket.recv_from(&mut buffer) else { continue };
                count.fetch_add(1, Ordering::SeqCst);
                if let Some(m) = answer(&buffer[..n], say(&name_in(&buffer[..n]))) {
                    drop(socket.send_to(&m, from));
                }
            }
        });
        Resolver { at: tcp.at, asked, stop, udp: Some(udp), _tcp: tcp }
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        drop(self.udp.take().map(JoinHandle::join));
    }
}

fn rig_with(port: u16, resolv_conf: &str) -> (Rig, Scratch) {
    let file = Scratch::file("resolv.conf", resolv_conf);
    let rig = Rig::new(|c| {
        c.resolv_conf.clone_from(&file.0);
        c.dns_port = port;
    });
    (rig, file)
}

#[test]
fn each_way_a_name_can_fail_is_told_apart() {
    let resolver = Resolver::new("127.0.0.1:0", |name| match name {
        "web.example" | "short.lab.example" => Say::V4,
        "long.example" => Say::Truncated,
        "empty.example" => Say::Empty,
        "silent.example" => Say::Nothing,
        "forged.example" => Say::Forged,
        "broken.example" => Say::Code(2),
        "closed.example" => Say::Code(5),
        _ => Say::Code(3),
    });
    let server = Server::new("127.0.0.1:0", |mut s| wait_for_end(&mut s));
    let port = server.at.port();
    let (rig, _file) = rig_with(resolver.at.port(), "nameserver 127.0.0.1\nsearch lab.example\n");
    let cases = [
        ("web.example", "up"),
        ("short", "up"),
        ("long.example", "up"),
        ("empty.example", "dns: no address"),
        ("absent.example", "dns: no such host"),
        ("absent", "dns: no such host"),
        ("silent.example", "dns: resolver 127.0.0.1 did not answer"),
        ("forged.example", "dns: resolver 127.0.0.1 did not answer"),
        ("broken.example", "dns: server failure at resolver 127.0.0.1"),
        ("closed.example", "dns: resolver 127.0.0.1 refused to answer"),
        ("localhost", "up"),
    ];
    let targets = cases.iter().map(|(name, _)| tcp(&format!("{name}:{port}"))).collect();
    let details = rig.details(targets, 1500);
    for ((name, want), got) in cases.iter().zip(details) {
        assert_eq!(got, *want, "{name}");
    }
}

#[test]
fn names_are_asked_for_afresh_by_every_probe() {
    let resolver = Resolver::new("127.0.0.1:0", |_| Say::V4);
    let server = Server::new("127.0.0.1:0", |mut s| wait_for_end(&mut s));
    let (rig, _file) = rig_with(resolver.at.port(), "nameserver 127.0.0.1\n");
    let target = check(tcp(&format!("web.example:{}", server.at.port())), 1000);
    rig.prober.set_checks(all(&[target]));
    for round in 1..=3 {
        let report = rig.next();
        assert_eq!((report.round, detail(&report).as_str()), (round, "up"));
    }
    assert!(resolver.asked.load(Ordering::SeqCst) >= 6, "A and AAAA, three times");
}

#[test]
fn a_silent_first_resolver_costs_a_part_of_the_timeout_only() {
    let silent = Resolver::new("127.0.0.1:0", |_| Say::Nothing);
    let good = Resolver::new(&format!("127.0.0.2:{}", silent.at.port()), |_| Say::V4);
    let server = Server::new("127.0.0.1:0", |mut s| wait_for_end(&mut s));
    let (rig, file) = rig_with(silent.at.port(), "nameserver 127.0.0.1\nnameserver 127.0.0.2\n");
    let target = tcp(&format!("web.example:{}", server.at.port()));
    let report = rig.first_reports(&[check(target.clone(), 2000)]).remove(0);
    assert_eq!(detail(&report), "up");
    let asked = silent.asked.load(Ordering::SeqCst);
    assert!(asked > 0 && report.took_ms >= 300, "{asked} {}", report.took_ms);
    assert_eq!(good.at.ip(), "127.0.0.2".parse::<IpAddr>().unwrap());

    // The list is read again when it changes: now the good one comes first.
    std::fs::write(&file.0, "nameserver 127.0.0.2\n# changed\n").unwrap();
    let report = rig.first_reports(&[check(target, 2000)]).remove(0);
    assert_eq!(detail(&report), "up");
    assert_eq!(silent.asked.load(Ordering::SeqCst), asked, "the silent one is not asked");
}

#[test]
fn where_no_resolver_runs_that_is_what_is_said() {
    let port = closed_port("127.0.0.1").port();
    let rig = Rig::new(|c| c.dns_port = port);
    let report = rig.first_reports(&[check(tcp("web.example:80"), 3000)]).remove(0);
    assert_eq!(detail(&report), "dns: resolver 127.0.0.1 did not answer (connection refused)");
}

//! What is nearer: callers of the control socket, and targets that answer with more than text.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;

use super::client::{framed, is_closed_after};
use super::siege::{LIMIT, memory};
use super::support::{Cluster, Node, within};

fn call(node: &Node) -> UnixStream {
    let socket = UnixStream::connect(&node.socket).expect("connected");
    socket.set_read_timeout(Some(LIMIT)).expect("a timeout");
    socket.set_write_timeout(Some(LIMIT)).expect("a timeout");
    socket
}

#[test]
fn bad_callers_of_the_control_socket_are_told_so_and_nobody_else_waits_for_long() {
    let cluster = Cluster::strangers("callers", 1);
    let node = &cluster.nodes[0];
    let deep = format!(r#"{{"id":{}"#, "[".repeat(500_000));
    let cases = [
        ("nothing", vec![0; 4]),
        ("everything", vec![0xff; 4]),
        ("more than a request may be", (1_u32 << 20 | 1).to_be_bytes().to_vec()),
        ("garbage", framed(b"\xff\x00\x1b[31m")),
        ("nesting", framed(deep.as_bytes())),
        ("another program", b"GET / HTTP/1.0\r\n\r\n".to_vec()),
    ];
    for (what, said) in cases {
        assert!(is_closed_after(&mut call(node), &said), "{what}");
        node.ok(&["status"]);
    }
    assert!(!node.log().contains('\x1b'));
    // More than it talks with at a time, and none of them says a word.
    let before = memory(node);
    let silent: Vec<UnixStream> = (0..100).map(|_| call(node)).collect();
    for socket in &silent {
        drop((&mut &*socket).write_all(&[0, 15, 0, 0, b'{']));
    }
    within(LIMIT, "commands are answered again", || (node.qu(&["status"]).status == 0).then_some(()));
    within(LIMIT, "memory is given back", || (memory(node) < before + 4096).then_some(()));
    drop(silent);
}

#[test]
fn each_change_is_logged_with_the_user_and_process_that_asked_for_it() {
    let cluster = Cluster::strangers("named", 1);
    let node = &cluster.nodes[0];
    node.ok(&["check", "add", "tcp", "web", "127.0.0.1:1"]);
    node.ok(&["status"]);
    let log = node.log();
    let lines: Vec<&str> = log.lines().filter(|l| l.contains("control: ")).collect();
    assert_eq!(lines.len(), 1, "{lines:#?}");
    let uid = format!("uid {}", quptime::sys::cred::euid());
    for part in ["add tcp check", "web", "caller=", "pid ", &uid] {
        assert!(lines[0].contains(part), "{part} in {}", lines[0]);
    }
}

#[test]
fn what_a_target_answers_reaches_no_terminal_and_no_log_as_a_command() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let at = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for mut socket in listener.incoming().flatten() {
            // A client that breaks off is its own affair.
            drop(socket.read(&mut [0; 4096]));
            let answer = b"HTTP/1.1 302 \x1b]0;owned\x07 \xc2\x9b31m\r\nLocation: gopher://\x1b[2J\xe2\x80\xae@everyone\r\n\
                Content-Length: 0\r\nConnection: close\r\n\r\n";
            drop(socket.write_all(answer));
        }
    });
    let cluster = Cluster::strangers("answers", 1);
    let node = &cluster.nodes[0];
    node.ok(&["check", "add", "http", "web", &format!("http://{at}/"), "--interval", "1s"]);
    node.verdict("web", "down");
    let steers = |c: &char| (c.is_control() && *c != '\n') || ('\u{202a}'..='\u{202e}').contains(c);
    let shown = [
        node.qu(&["status"]).out,
        node.qu(&["status", "--check", "web", "--json"]).out,
        node.qu(&["incident", "list"]).out,
        node.log(),
    ];
    for text in shown {
        assert_eq!(text.chars().find(steers), None, "{text:?}");
    }
}

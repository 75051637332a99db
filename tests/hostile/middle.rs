//! Somebody sits between a member and the node that it is to add.

use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use quptime::base::frame;
use quptime::identity::keys::Keys;
use quptime::transport::tls::{self, Tls};
use rustls::{ServerConnection, StreamOwned};

use super::client::{address, fresh_keys, tls_over};
use super::siege::{LIMIT, whole};
use super::support::{Cluster, Node, SECRET, within};

/// Everything that passed through, both ways, in the clear.
type Overheard = Arc<Mutex<Vec<u8>>>;

/// Passes on every message between whoever comes and the node, with keys of its own at both sides.
/// It goes on until the test ends.
fn sit_before(node: &Node, keys: Keys) -> (SocketAddr, Overheard) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let at = listener.local_addr().expect("an address");
    let heard = Overheard::default();
    let (kept, behind, name) = (Arc::clone(&heard), address(node), node.fingerprint.clone());
    std::thread::spawn(move || {
        let tls = Tls::new(&keys).expect("TLS");
        for member in listener.incoming().flatten() {
            // Either side may break off; the next one is served all the same.
            relay(member, behind, &name, &tls, &kept);
        }
    });
    (at, heard)
}

fn relay(
    member: TcpStream,
    behind: SocketAddr,
    name: &str,
    tls: &Tls,
    kept: &Overheard,
) -> Option<Infallible> {
    member.set_read_timeout(Some(LIMIT)).ok()?;
    let mut left = StreamOwned::new(ServerConnection::new(tls.server()).ok()?, member);
    let expected = tls::Expect::Key(name.parse().ok()?);
    let rustls::Connection::Client(client) = tls.dial(expected, tls::JOIN).ok()?.0 else { return None };
    let mut right = StreamOwned::new(client, TcpStream::connect(behind).ok()?);
    loop {
        let request = frame::read(&mut left, frame::LARGEST).ok()?;
        kept.lock().ok()?.extend_from_slice(&request);
        frame::write(&mut right, &request).ok()?;
        let reply = frame::read(&mut right, frame::LARGEST).ok()?;
        kept.lock().ok()?.extend_from_slice(&reply);
        frame::write(&mut left, &reply).ok()?;
    }
}

#[test]
fn a_man_in_the_middle_of_a_join_is_named_by_the_fingerprint_and_learns_no_secret() {
    let cluster = Cluster::strangers("middle", 2);
    let (member, node) = (&cluster.nodes[0], &cluster.nodes[1]);
    let keys = fresh_keys();
    let own = keys.fingerprint().to_string();
    let (at, heard) = sit_before(node, keys);
    let at = at.to_string();
    // The operator compares, and sees another key than the node's.
    let said = member.refused(&["node", "add", &at, "--fingerprint", &node.fingerprint], 1);
    assert!(said.contains(&own) && said.contains(&node.fingerprint), "{said}");
    // The operator trusts whoever answers.
    let said = member.refused(&["node", "add", &at, "--yes"], 1);
    assert!(said.contains("secret"), "{said}");
    let heard = heard.lock().expect("nobody panicked").clone();
    let heard = String::from_utf8_lossy(&heard).into_owned();
    assert!(heard.contains("proof"), "it did sit in between: {heard}");
    for hidden in [SECRET, "BEGIN CERTIFICATE", &member.fingerprint, "cluster"] {
        assert!(!heard.contains(hidden), "{hidden} in {heard}");
    }
    for node in &cluster.nodes {
        let view = node.view().expect("it answers");
        assert_eq!(
            (view["config_version"].as_u64(), view["peers"].as_array().map(Vec::len)),
            (Some(1), Some(1))
        );
    }
    // Without him all is well, as soon as the pause after the failed attempt is over.
    let words = ["node", "add", &node.address(), "--fingerprint", &node.fingerprint];
    within(LIMIT, "it is added", || (member.qu(&words).status == 0).then_some(()));
    whole(&cluster);
}

#[test]
fn who_tries_secrets_is_slowed_down_and_an_honest_member_gets_in_from_elsewhere() {
    let cluster = Cluster::strangers("guesses", 2);
    let (member, node) = (&cluster.nodes[0], &cluster.nodes[1]);
    let keys = fresh_keys();
    let guess = |n: usize| {
        let socket = super::client::connect_from(900, node).expect("connected");
        let mut raw = tls_over(socket, &keys, node, tls::JOIN);
        let guess = format!(r#"{{"proof":{{"proof":"{n:064x}"}}}}"#);
        frame::write(&mut raw, guess.as_bytes()).expect("sent");
        let answer = frame::read(&mut raw, frame::LARGEST_UNTRUSTED).expect("an answer");
        String::from_utf8_lossy(&answer).into_owned()
    };
    assert!(guess(1).contains("wrong_secret"));
    let more = guess(2);
    assert!(more.contains("slow") || more.contains("wrong_secret"), "{more}");
    within(LIMIT, "it has to wait", || guess(3).contains("slow").then_some(()));
    let words = ["node", "add", &node.address(), "--fingerprint", &node.fingerprint];
    member.ok(&words);
    whole(&cluster);
}

//! What comes over sockets: peers, strangers, callers, and the targets of probes.

use std::collections::BTreeSet;

use quptime::base::clock::Mono;
use quptime::base::frame::{self, FrameError};
use quptime::base::id::NodeId;
use quptime::config::Url;
use quptime::control::message::{Reply as ControlReply, Request as ControlRequest};
use quptime::identity::Letter;
use quptime::identity::succession::leads;
use quptime::probe::dns::wire::{self, Answer, Question};
use quptime::probe::http::{Expect, Finding, Reading, location as http_location};
use quptime::probe::icmp::packet;
use quptime::quorum::Node;
use quptime::quorum::io::{Boot, File, Input, Output, Remembered, Timing, VoteRecord};
use quptime::quorum::message::{Blank, Incarnation, LogEnd, Membership, Message, Snapshot};
use quptime::transport::frames::Frames;
use quptime::transport::join::{self, Reply, Request};
use quptime::transport::message;
use quptime::view::mesh::Claim;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::is_one_harmless_line;

/// A bound that inputs reach.
const BOUND: usize = 64;

pub fn frame(bytes: &[u8]) {
    match frame::read(&mut &bytes[..], BOUND) {
        Ok(body) => {
            assert!((1..=BOUND).contains(&body.len()));
            let mut wire = Vec::new();
            frame::write(&mut wire, &body).expect("memory takes everything");
            assert!(bytes.starts_with(&wire));
        }
        Err(FrameError::Length { announced, .. }) => {
            assert!(announced == 0 || announced as usize > BOUND);
        }
        Err(e) => is_one_harmless_line(&e.to_string()),
    }
}

/// The first byte says how the others are cut.
pub fn frames(bytes: &[u8]) {
    let Some((cut, bytes)) = bytes.split_first() else { return };
    let whole = taken(bytes, bytes.len().max(1));
    let pieces = taken(bytes, usize::from(*cut).max(1));
    assert_eq!(whole, pieces);
}

fn taken(bytes: &[u8], size: usize) -> (Vec<Vec<u8>>, bool) {
    let mut frames = Frames::new(BOUND);
    let mut all = Vec::new();
    for piece in bytes.chunks(size) {
        let good = frames.take(piece).is_ok();
        while let Some(frame) = frames.next_frame() {
            assert!((1..=BOUND).contains(&frame.len()));
            all.push(frame);
        }
        if !good {
            return (all, false);
        }
    }
    (all, true)
}

pub fn peer_message(bytes: &[u8]) {
    match message::decode(bytes) {
        Ok(read) => {
            if let Ok(written) = message::encode(&read) {
                assert_eq!(message::decode(&written), Ok(read));
            }
        }
        Err(why) => is_one_harmless_line(&why.to_string()),
    }
}

/// What a peer says of itself and of others, for showing.
pub fn claim(bytes: &[u8]) {
    let Ok(said) = serde_json::from_slice::<Claim>(bytes) else { return };
    let known: BTreeSet<NodeId> = [1, 2, 3].map(NodeId::from_random).into();
    let fitted = said.fitted(&known);
    assert!(fitted.peers.len() <= known.len() && fitted.peers.iter().all(|c| known.contains(&c.node_id)));
    assert!(fitted.peers.is_sorted_by(|a, b| a.node_id < b.node_id));
    let said = fitted.peers.iter().flat_map(|c| [&c.trouble, &c.last_nonsense]).flatten();
    for text in said.chain([&fitted.version]) {
        assert!(text.chars().count() <= 200 && !text.chars().any(char::is_control), "{text:?}");
    }
    let written = serde_json::to_vec(&fitted).expect("it is written");
    assert_eq!(serde_json::from_slice::<Claim>(&written).expect("and read").fitted(&known), fitted);
}

/// Lines, each a message of one of two peers to a node of a cluster of three, with the node's disk
/// and clock going on in between; to a member, and to one that presents a newer file.
pub fn core_messages(bytes: &[u8]) {
    let ids = [1, 2, 3].map(NodeId::from_random);
    lives_through(member(ids), ids, bytes);
    lives_through(presenter(ids), ids, bytes);
}

fn lives_through(mut node: Node, ids: [NodeId; 3], bytes: &[u8]) {
    let (mut now, mut commit, mut term) = (Mono(0), 0, 0);
    let mut pending = node.step(now, Input::Tick);
    for (n, line) in bytes.split(|b| *b == b'\n').take(64).enumerate() {
        now = now + std::time::Duration::from_millis(700);
        if let Ok(message) = serde_json::from_slice::<Message>(line) {
            pending.extend(node.step(now, Input::Received { from: ids[1 + n % 2], message }));
        }
        pending.extend(node.step(now, Input::Tick));
        for _ in 0..8 {
            let seq = pending
                .iter()
                .filter_map(|o| if let Output::Persist { seq, .. } = o { Some(*seq) } else { None });
            let last = seq.max();
            for output in pending.drain(..) {
                match output {
                    Output::Apply(entry) => {
                        assert_eq!(entry.index, commit + 1, "no entry is left out or comes twice");
                        commit = entry.index;
                    }
                    Output::Restore(snapshot) => commit = snapshot.end.index,
                    _ => {}
                }
            }
            assert!(node.status().term >= term, "the term never falls");
            term = node.status().term;
            let Some(seq) = last else { break };
            pending = node.step(now, Input::Persisted { seq });
        }
    }
}

fn timing() -> Timing {
    let ms = std::time::Duration::from_millis;
    Timing { heartbeat: ms(1000), dead_after: ms(4000), cooldown: ms(120_000) }
}

fn presenter(ids: [NodeId; 3]) -> Node {
    let known = Blank { version: 12, members: ids.into(), digest: 9, told: true, remembers: true };
    let file = Some(File { known, data: "file".into(), others: false });
    Node::new(ids[0], timing(), Boot::Blank { life: Incarnation(7), term: 3, file }, Mono(0))
}

fn member(ids: [NodeId; 3]) -> Node {
    let life = |n: usize| Incarnation(n as u64 + 1);
    let voters = ids.iter().enumerate().map(|(n, id)| (*id, life(n))).collect();
    let membership = Membership { voters, ..Membership::default() };
    let remembered = Remembered {
        vote: VoteRecord { term: 3, vote: None, life: life(0) },
        snapshot: Snapshot { end: LogEnd { term: 2, index: 10 }, membership, data: "state".into() },
        entries: Vec::new(),
        commit: 10,
    };
    Node::new(ids[0], timing(), Boot::Remembered(remembered), Mono(0))
}

pub fn join(bytes: &[u8]) {
    again::<Request>(bytes, join::decode);
    again::<Reply>(bytes, join::decode);
}

/// What stands beside a certificate in the handshake of a stranger.
pub fn letter(bytes: &[u8]) {
    let Some(letter) = Letter::from_bytes(bytes) else { return };
    let written = letter.to_bytes().expect("it has a form");
    assert_eq!(Letter::from_bytes(&written), Some(letter.clone()));
    // No other letter can be made from one without its key.
    let (old, new) = (letter.old(), letter.new_key());
    let leads = leads(std::slice::from_ref(&letter), letter.cluster, letter.node, old, new);
    assert_eq!(leads, letter.is_signed());
}

pub fn control_request(bytes: &[u8]) {
    let read = |bytes: &[u8]| serde_json::from_slice(bytes).map_err(|_| "not a request".to_owned());
    again::<ControlRequest>(bytes, read);
    let read = |bytes: &[u8]| serde_json::from_slice(bytes).map_err(|_| "not a reply".to_owned());
    again::<ControlReply>(bytes, read);
    if let Ok(request) = serde_json::from_slice::<ControlRequest>(bytes) {
        // For the log.
        is_one_harmless_line(&request.ask.summary());
    }
}

/// What can be read can be written, and is read as the same.
fn again<T>(bytes: &[u8], read: impl Fn(&[u8]) -> Result<T, String>)
where
    T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug,
{
    match read(bytes) {
        Ok(value) => {
            let written = serde_json::to_vec(&value).expect("it has a form");
            assert_eq!(read(&written), Ok(value));
        }
        Err(why) => is_one_harmless_line(&why),
    }
}

pub fn icmp_reply(bytes: &[u8]) {
    for v6 in [false, true] {
        if let Some(echo) = packet::reply(bytes, v6) {
            let asked = packet::request(&echo, v6);
            assert_eq!(asked.get(4..24), bytes.get(4..24), "id, sequence, key and token");
        }
        if let Some((_, quoted, why)) = packet::unreachable(bytes, v6) {
            is_one_harmless_line(why);
            assert!(bytes.len() >= 16, "{quoted:?} out of nothing");
        }
    }
    drop(packet::quoted(bytes));
}

pub fn dns_answer(bytes: &[u8]) {
    for kind in [Question::A, Question::Aaaa] {
        match wire::answer(bytes, 0x1234, "www.example.com", kind) {
            Some(Answer::Addresses(all)) => assert!(!all.is_empty() && all.len() <= bytes.len()),
            Some(Answer::Failed(why)) => is_one_harmless_line(why),
            Some(_) | None => {}
        }
    }
}

/// The first byte says how the others are cut.
pub fn http_answer(bytes: &[u8]) {
    let Some((cut, bytes)) = bytes.split_first() else { return };
    for body in [None, Some("needle".to_owned())] {
        let expect = Expect { status: 200, body };
        let whole = answered(expect.clone(), bytes, bytes.len().max(1));
        let pieces = answered(expect, bytes, usize::from(*cut).max(1));
        // How it is cut decides nothing but when a limit is noticed.
        assert_eq!(whole.is_ok(), pieces.is_ok(), "{whole:?} {pieces:?}");
    }
}

fn answered(expect: Expect, bytes: &[u8], size: usize) -> Result<Finding, String> {
    let mut reading = Reading::new(expect);
    for piece in bytes.chunks(size) {
        match reading.feed(piece) {
            Ok(None) => {}
            Ok(Some(finding)) => return Ok(finding),
            Err(failure) => {
                is_one_harmless_line(&failure.detail);
                return Err(failure.detail);
            }
        }
    }
    reading.end().map_err(|failure| failure.detail)
}

pub fn location(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let base: Url = "https://example.com:8443/a/b?c=d".parse().expect("a URL");
    if let Some(url) = http_location::resolve(&base, text) {
        let shown = url.to_string();
        assert!(!shown.chars().any(|c| c.is_control() || c == ' '), "{shown:?}");
        assert_eq!(shown.parse::<Url>().as_ref(), Ok(&url), "{shown:?}");
        let request = quptime::probe::http::request(&url);
        assert_eq!(
            request.windows(2).filter(|w| w == b"\r\n").count(),
            7,
            "no line of theirs in our request"
        );
    }
}

//! Every parser that eats bytes which somebody else made, with what must hold whatever these are.
//!
//! A target may do anything but panic, hang or break its own sentence: what is read and written
//! again is read as the same; what is refused is refused in one harmless line; nothing is larger
//! than its bound. Each takes bytes alone, so that an input that fails can be kept in the corpus.

mod files;
mod network;
mod words;

/// One target.
pub type Target = fn(&[u8]);

/// All of them, by the name of their folder in the corpus and of their cargo-fuzz binary.
pub const ALL: &[(&str, Target)] = &[
    ("frame", network::frame),
    ("frames", network::frames),
    ("peer-message", network::peer_message),
    ("core-messages", network::core_messages),
    ("join", network::join),
    ("claim", network::claim),
    ("control-request", network::control_request),
    ("icmp-reply", network::icmp_reply),
    ("dns-answer", network::dns_answer),
    ("http-answer", network::http_answer),
    ("location", network::location),
    ("cluster-yaml", files::cluster_yaml),
    ("node-yaml", files::node_yaml),
    ("trust-yaml", files::trust_yaml),
    ("log", files::log),
    ("log-mended", files::log_mended),
    ("snapshot", files::snapshot),
    ("snapshot-mended", files::snapshot_mended),
    ("vote", files::vote),
    ("mark", files::mark),
    ("state", files::state),
    ("state-commands", files::state_commands),
    ("resolv-conf", files::resolv_conf),
    ("certificate", files::certificate),
    ("template", words::template),
    ("url", words::url),
    ("duration", words::duration),
    ("harmless", words::harmless),
];

/// Runs the target of this name.
///
/// # Panics
/// When its sentence is broken; or there is no such target.
pub fn run(name: &str, bytes: &[u8]) {
    let target = ALL.iter().find(|(known, _)| *known == name).map(|(_, target)| target);
    target.unwrap_or_else(|| panic!("no target {name}"))(bytes);
}

/// A message for people: one line that no terminal obeys.
fn is_one_harmless_line(text: &str) {
    assert!(!text.is_empty(), "an error without a word");
    assert!(!text.chars().any(char::is_control), "{text:?}");
}

//! The whole state as text, and back: what a node keeps instead of its log, and what a node that
//! was away for long is sent.
//!
//! One line of header, `quptime-state SCHEMA LENGTH CRC`, then JSON. Length and CRC-32 stand
//! against truncation and rot. A higher schema, or a field that this build does not know, is
//! refused with the advice to upgrade: dropping what somebody has set would be worse than not
//! starting.
//!
//! Equal states give equal text, so nodes can compare snapshots by their bytes.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::base::id::{AlertId, RequestId};
use crate::base::text::{harmless, shorten};
use crate::config::Cluster;

use super::State;
use super::incidents::{Incident, Incidents};
use super::outbox::{Delivery, Outbox, Standing};
use super::requests::{Answer, Requests};
use super::silences::{Silence, Silences};
use super::verdicts::Verdicts;

/// The form that this build writes, and the highest that it reads.
pub const SCHEMA: u32 = 1;
const MAGIC: &str = "quptime-state";

/// Why a text is not a state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadSnapshot {
    /// It does not begin as one.
    NotAState,
    /// It was written in a form that this build does not know.
    Newer {
        /// The schema it names.
        schema: u32,
    },
    /// Bytes are missing or different from what was written.
    Damaged,
    /// It is whole, but says what this build cannot read.
    Content(String),
    /// It could not be written in the first place: keep the log.
    Unwritable(String),
}

impl fmt::Display for BadSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadSnapshot::NotAState => write!(f, "not a state of quptime"),
            BadSnapshot::Newer { schema } => write!(
                f,
                "the state has schema {schema}, this qu reads up to {SCHEMA}: it was written by a newer qu, \
                 upgrade this node"
            ),
            BadSnapshot::Damaged => write!(f, "the state is damaged (length or checksum do not match)"),
            BadSnapshot::Content(why) => {
                write!(f, "the state cannot be read ({why}): written by a newer qu? upgrade this node")
            }
            BadSnapshot::Unwritable(why) => write!(f, "the state cannot be written ({why})"),
        }
    }
}

impl std::error::Error for BadSnapshot {}

#[derive(Serialize)]
struct Shown<'a> {
    index: u64,
    cluster: &'a Cluster,
    verdicts: &'a Verdicts,
    incidents: Vec<&'a Incident>,
    outbox: Vec<&'a Delivery>,
    standings: &'a BTreeMap<AlertId, Standing>,
    silences: Vec<&'a Silence>,
    requests: Vec<(RequestId, &'a Answer)>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Read {
    index: u64,
    cluster: Cluster,
    verdicts: Verdicts,
    incidents: Vec<Incident>,
    outbox: Vec<Delivery>,
    standings: BTreeMap<AlertId, Standing>,
    silences: Vec<Silence>,
    requests: Vec<(RequestId, Answer)>,
}

/// The state as text.
///
/// # Errors
/// [`BadSnapshot::Unwritable`]: no value of a state is known to be so, but a log must not be
/// dropped in favour of nothing.
pub fn to_text(state: &State) -> Result<String, BadSnapshot> {
    let shown = Shown {
        index: state.index,
        cluster: &state.cluster,
        verdicts: &state.verdicts,
        incidents: state.incidents.closed().map(|incident| &**incident).collect(),
        outbox: state.outbox.all().map(|delivery| &**delivery).collect(),
        standings: state.outbox.standings(),
        silences: state.silences.all().collect(),
        requests: state.requests.pairs().collect(),
    };
    let body = serde_json::to_string(&shown).map_err(|e| BadSnapshot::Unwritable(e.to_string()))?;
    Ok(format!("{MAGIC} {SCHEMA} {} {:08x}\n{body}", body.len(), crc32(body.as_bytes())))
}

/// The state from text.
///
/// # Errors
/// [`BadSnapshot`]; nothing of a text that is refused is taken.
pub fn from_text(text: &str) -> Result<State, BadSnapshot> {
    let (head, body) = text.split_once('\n').ok_or(BadSnapshot::NotAState)?;
    let mut words = head.split(' ');
    if words.next() != Some(MAGIC) {
        return Err(BadSnapshot::NotAState);
    }
    let schema: u32 = words.next().and_then(|word| word.parse().ok()).ok_or(BadSnapshot::Damaged)?;
    if schema > SCHEMA {
        return Err(BadSnapshot::Newer { schema });
    }
    let length = words.next().and_then(|word| word.parse::<usize>().ok());
    let crc = words.next().and_then(|word| u32::from_str_radix(word, 16).ok());
    let whole = length == Some(body.len()) && crc == Some(crc32(body.as_bytes()));
    if !whole || words.next().is_some() {
        return Err(BadSnapshot::Damaged);
    }
    let read: Read = serde_json::from_str(body)
        .map_err(|e| BadSnapshot::Content(harmless(&shorten(&e.to_string(), 300))))?;
    if !read.verdicts.keys().eq(read.cluster.checks.keys()) {
        return Err(BadSnapshot::Content("verdicts and checks do not match".to_owned()));
    }
    Ok(State {
        index: read.index,
        cluster: Arc::new(read.cluster),
        verdicts: Arc::new(read.verdicts),
        incidents: Arc::new(Incidents::from_closed(read.incidents)),
        outbox: Arc::new(Outbox::from_parts(read.outbox, read.standings)),
        silences: Arc::new(Silences::from_open(read.silences)),
        requests: Arc::new(Requests::from_pairs(read.requests)),
    })
}

/// CRC-32 as in Ethernet and zip (polynomial 0x04C11DB7, reflected).
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        let [low, ..] = crc.to_le_bytes();
        (crc >> 8) ^ CRC_TABLE[usize::from(low ^ byte)]
    })
}

const CRC_TABLE: [u32; 256] = crc_table();

#[allow(clippy::cast_possible_truncation)] // `n` is below 256; const code has no try_from
const fn crc_table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut n = 0;
    while n < 256 {
        let mut crc = n as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
            bit += 1;
        }
        table[n] = crc;
        n += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{check, cluster};
    use super::*;

    #[test]
    fn the_checksum_is_the_common_one() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn every_damage_is_noticed() {
        let mut world = cluster(3);
        world.checks.insert(check(1).id, Arc::new(check(1)));
        let text = to_text(&State::found(world)).unwrap();
        assert!(from_text(&text).is_ok());
        for at in 0..text.len() {
            assert!(from_text(&text[..at]).is_err(), "cut at {at}");
        }
        for at in (0..text.len()).filter(|at| *at != MAGIC.len() + 1) {
            let mut bytes = text.clone().into_bytes();
            bytes[at] = if bytes[at] == b'7' { b'3' } else { b'7' };
            let changed = String::from_utf8(bytes).unwrap();
            assert!(from_text(&changed).is_err(), "byte {at}");
        }
        assert_eq!(from_text(&format!("{text} ")), Err(BadSnapshot::Damaged));
        assert_eq!(from_text("{}"), Err(BadSnapshot::NotAState));
    }

    /// A text with another body, and the header that belongs to it.
    fn rewritten(text: &str, schema: u32, from: &str, to: &str) -> String {
        let body = text.split_once('\n').unwrap().1;
        assert!(body.contains(from), "{body}");
        let body = body.replacen(from, to, 1);
        format!("{MAGIC} {schema} {} {:08x}\n{body}", body.len(), crc32(body.as_bytes()))
    }

    #[test]
    fn what_a_newer_build_wrote_is_refused_with_the_advice_to_upgrade() {
        let text = to_text(&State::found(cluster(1))).unwrap();
        let newer = from_text(&rewritten(&text, 2, "{", "{")).unwrap_err();
        assert_eq!(newer, BadSnapshot::Newer { schema: 2 });
        for (from, to) in [
            ("{\"index\"", "{\"novel\":1,\"index\""),
            ("\"hysteresis\"", "\"novel\":1,\"hysteresis\""),
            (
                "\"verdicts\":{}",
                "\"verdicts\":{\"a7f30000-0000-4000-8000-000000000000\":{\"verdict\":\"up\",\"since\":0,\"index\":0}}",
            ),
        ] {
            let refused = from_text(&rewritten(&text, 1, from, to)).unwrap_err();
            assert!(refused.to_string().contains("upgrade this node"), "{refused}");
        }
    }
}

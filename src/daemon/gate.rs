//! The version gate: a command that some voter cannot understand must not get into its log.
//!
//! Every node says which kinds of command it understands when a connection begins. What a voter
//! has said last counts, also while it is away: it will have to apply what is decided meanwhile. A
//! voter that was never heard in this daemon's life is taken to understand the kinds that every
//! version has; for a kind beyond those it is named as unknown.

use crate::base::id::NodeId;
use crate::transport::Hello;

/// Kinds that every version understands, from the first one on.
const FROM_THE_START: &[&str] =
    &["change", "hand_edit", "verdicts", "delivered", "gave_up", "silence", "end_silence", "remind"];

/// Whether every voter understands this kind of command; `heard` is what each said last.
///
/// # Errors
/// A sentence that names the voters that do not, with their versions.
pub fn understood<'h>(
    kind: &str,
    voters: impl Iterator<Item = NodeId>,
    heard: impl Fn(NodeId) -> Option<&'h Hello>,
) -> Result<(), String> {
    let lacking: Vec<String> = voters
        .filter_map(|voter| match heard(voter) {
            Some(hello) if hello.kinds.iter().any(|k| k == kind) => None,
            Some(hello) => Some(format!("{voter} (version {})", hello.version)),
            None if FROM_THE_START.contains(&kind) => None,
            None => Some(format!("{voter} (not heard yet)")),
        })
        .collect();
    if lacking.is_empty() {
        return Ok(());
    }
    Err(format!("{} cannot understand this change ({kind}): upgrade first", lacking.join(", ")))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::base::clock::Wall;
    use crate::base::id::ClusterId;
    use crate::state::command::KINDS;

    fn node(n: u128) -> NodeId {
        NodeId::from_random(n << 80)
    }

    fn hello(version: &str, kinds: &[&str]) -> Option<Hello> {
        Some(Hello {
            cluster: ClusterId::from_random(1),
            version: version.to_owned(),
            kinds: kinds.iter().map(|k| (*k).to_owned()).collect(),
            clock: Wall(0),
        })
    }

    fn said(heard: &BTreeMap<NodeId, Option<Hello>>, voter: NodeId) -> Option<&Hello> {
        heard.get(&voter).and_then(Option::as_ref)
    }

    #[test]
    fn a_voter_that_lacks_the_kind_is_named_with_its_version() {
        let heard =
            BTreeMap::from([(node(1), hello("0.9.0", KINDS)), (node(2), hello("0.1.0", &["change"]))]);
        let why = understood("silence", heard.keys().copied(), |v| said(&heard, v)).unwrap_err();
        assert_eq!(
            why,
            format!("{} (version 0.1.0) cannot understand this change (silence): upgrade first", node(2))
        );
        assert_eq!(understood("change", heard.keys().copied(), |v| said(&heard, v)), Ok(()));
    }

    #[test]
    fn one_that_was_never_heard_holds_up_new_kinds_only() {
        let heard = BTreeMap::from([(node(1), None)]);
        assert_eq!(understood("change", [node(1), node(2)].into_iter(), |v| said(&heard, v)), Ok(()));
        let why = understood("teleport", [node(1)].into_iter(), |v| said(&heard, v)).unwrap_err();
        assert!(why.contains("not heard yet"), "{why}");
        let why = understood("rotate_key", [node(1)].into_iter(), |v| said(&heard, v)).unwrap_err();
        assert!(why.contains("not heard yet"), "{why}");
        let heard = BTreeMap::from([(node(1), hello("0.1.0", FROM_THE_START))]);
        let why = understood("rotate_key", [node(1)].into_iter(), |v| said(&heard, v)).unwrap_err();
        assert!(
            why.ends_with("(version 0.1.0) cannot understand this change (rotate_key): upgrade first"),
            "{why}"
        );
    }

    #[test]
    fn every_kind_of_this_build_is_accounted_for() {
        // A kind that is added later must not be added to the first list: the gate is for it.
        let later: Vec<_> = KINDS.iter().filter(|k| !FROM_THE_START.contains(k)).collect();
        assert_eq!(later, [&"rotate_key"]);
        assert!(FROM_THE_START.iter().all(|k| KINDS.contains(k)));
    }
}

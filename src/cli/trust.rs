//! `qu trust`: the keys that this node accepts.

use crate::base::text;
use crate::control::{Ask, Reply};

use super::parse::Said;
use super::{Failure, Session, ask, show};

/// `qu trust list`.
pub fn list(session: &mut Session<'_>, said: &Said) -> Result<(), Failure> {
    let all = match ask::daemon(session, Ask::TrustList)? {
        Reply::Trust(all) => all,
        other => return Err(ask::unexpected(&other)),
    };
    if said.has("json") {
        return show::json(session, &all);
    }
    let rows =
        all.iter().map(|t| vec![t.node_id.to_string(), t.address.to_string(), t.fingerprint.to_string()]);
    session.print(&text::table(&["NODE_ID", "ADDRESS", "FINGERPRINT"], rows))
}

/// `qu trust remove <node-id>`.
pub fn remove(session: &mut Session<'_>, said: &Said) -> Result<(), Failure> {
    ask::deed(session, said, Ask::TrustRemove { who: said.arg("node-id").to_owned() })
}

//! `qu node`: the members of the cluster.

use crate::base::text;
use crate::base::units::HostPort;
use crate::config::model::DEFAULT_PORT;
use crate::control::{Ask, Reply};
use crate::identity::Fingerprint;
use crate::view::{Filter, PeerView};

use super::parse::Said;
use super::{Failure, Session, ask, show};

/// `qu node add <host:port>`: who answers there, whether to trust it, and then the change.
pub fn add(session: &mut Session<'_>, said: &Said) -> Result<(), Failure> {
    let address = HostPort::with_default(said.arg("host:port"), DEFAULT_PORT)
        .map_err(|e| Failure::Usage(e.to_string()))?;
    let want: Option<Fingerprint> = said.parse("fingerprint")?;
    if want.is_some() && said.has("yes") {
        return Err(Failure::Usage("--yes and --fingerprint exclude each other".to_owned()));
    }
    let probe = Ask::NodeProbe { address: address.clone() };
    let (node, fingerprint) = match ask::daemon(session, probe)? {
        Reply::Met { node, fingerprint } => (node, fingerprint),
        other => return Err(ask::unexpected(&other)),
    };
    let met = format!("node        {node}\naddress     {address}\nfingerprint {fingerprint}\n");
    if said.has("json") {
        // Standard output is for the one object at the end.
        drop(session.err.write_all(met.as_bytes()));
    } else {
        session.print(&met)?;
    }
    if let Some(want) = want {
        if want != fingerprint {
            return Err(Failure::Failed(format!(
                "the node at {address} has fingerprint {fingerprint}, not {want}: not added; is it the right host, or was it initialised anew?"
            )));
        }
    } else if !said.has("yes") {
        let instead = "compare the fingerprint and give it by --fingerprint, or trust it blindly by --yes";
        if !ask::person(session, "trust this peer?", instead)? {
            return Err(Failure::Failed("not trusted, not added".to_owned()));
        }
    }
    ask::deed(session, said, Ask::NodeAdd { address, node, fingerprint })
}

/// `qu node list`.
pub fn list(session: &mut Session<'_>, said: &Said) -> Result<(), Failure> {
    let view = ask::view(session, Filter { no_checks: true, ..Filter::default() })?;
    if said.has("json") {
        return show::json(session, &view.peers);
    }
    let role = |p: &PeerView| match (view.master == Some(p.node_id), p.voter) {
        (true, _) => "master",
        (false, true) => "follower",
        (false, false) => "learner",
    };
    let row = |p: &PeerView| {
        vec![
            p.node_id.to_string(),
            p.advertise.to_string(),
            p.live.to_string(),
            show::time(p.last_seen),
            role(p).to_owned(),
            show::maybe(p.version.as_ref()),
            p.clock_offset_ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms:+}ms")),
            p.fingerprint.to_string(),
        ]
    };
    let head = ["NODE_ID", "ADVERTISE", "LIVE", "LAST_SEEN", "ROLE", "VERSION", "CLOCK", "FINGERPRINT"];
    let rows: Vec<_> = view.peers.iter().map(row).collect();
    let troubles = view.peers.iter().filter_map(|p| Some((p, p.trouble.as_ref()?)));
    let lines: Vec<String> = troubles
        .map(|(p, why)| format!("{} cannot be dialled at {}: {}\n", p.node_id, p.advertise, show::safe(why)))
        .collect();
    let below = if lines.is_empty() { String::new() } else { format!("\n{}", lines.concat()) };
    session.print(&format!("{}{below}", text::table(&head, &rows)))
}

/// `qu node remove <node-id>`.
pub fn remove(session: &mut Session<'_>, said: &Said) -> Result<(), Failure> {
    ask::deed(session, said, Ask::NodeRemove { who: said.arg("node-id").to_owned() })
}

/// `qu node rotate-key`.
pub fn rotate_key(session: &mut Session<'_>, said: &Said) -> Result<(), Failure> {
    ask::deed(session, said, Ask::RotateKey { kind: said.parse("key-type")? })
}

/// `qu node edit <node-id> --address H:P`.
pub fn edit(session: &mut Session<'_>, said: &Said) -> Result<(), Failure> {
    let Some(address) = said.parse("address")? else {
        return Err(Failure::Usage("nothing to change: give --address HOST:PORT".to_owned()));
    };
    ask::deed(session, said, Ask::NodeEdit { who: said.arg("node-id").to_owned(), address })
}

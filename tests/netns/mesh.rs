//! A cut between two of three, seen by the third: `qu status --mesh` and `qu doctor` ask for it.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use quptime::base::id::NodeId;
use quptime::control::{Ask, Reply};
use quptime::view::mesh::Mesh;

use crate::net::Net;
use crate::node::{Node, wait_for};
use crate::story;

/// A cut is noticed within dead-after, and healed links are made anew once a second.
const LIMIT: Duration = Duration::from_secs(60);

/// Nothing of the first reaches the second: neither hears the other then, for TCP needs both ways.
pub fn cut_between_two() {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("netns-{}-mesh", std::process::id()));
    let dir = story::Directory(dir);
    let net = Net::new(3);
    let nodes: Vec<Node> = (0..3).map(|i| Node::new(&net, i, &dir.0)).collect();
    if let Err(why) = look(&net, &nodes) {
        let logs: Vec<String> = nodes.iter().map(Node::last_words).collect();
        panic!("{why}\n{}", logs.join("\n"));
    }
}

fn look(net: &Net, nodes: &[Node]) -> Result<(), String> {
    let ids = story::form(nodes)?;
    let third = &nodes[2].at;
    let mesh = || match story::ask(third, Ask::Mesh) {
        Ok(Reply::Mesh(mesh)) => Some(*mesh),
        _ => None,
    };
    let pairs = [(0, 1), (1, 0), (0, 2), (2, 0), (1, 2), (2, 1)];
    let all = |mesh: &Mesh, lost: &[(usize, usize)]| {
        pairs.iter().all(|pair| hears(mesh, &ids, *pair) == Some(!lost.contains(pair)))
    };
    wait_for("everybody hears everybody", LIMIT, || mesh().filter(|m| all(m, &[])))?;
    net.cut(&BTreeSet::from([(0, 1)]))?;
    wait_for("the two say that they do not hear each other", LIMIT, || {
        mesh().filter(|m| all(m, &[(0, 1), (1, 0)]))
    })?;
    net.cut(&BTreeSet::new())?;
    wait_for("healed, everybody hears everybody", LIMIT, || mesh().filter(|m| all(m, &[])))?;
    Ok(())
}

/// Whether the first says that it hears the second.
fn hears(mesh: &Mesh, ids: &[NodeId], (who, whom): (usize, usize)) -> Option<bool> {
    mesh.claim(*ids.get(who)?)?.of(*ids.get(whom)?).map(|c| c.live)
}

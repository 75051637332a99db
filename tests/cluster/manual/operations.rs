//! The situations of quptime-operations(7).

use super::super::support::{SECRET, until};
use super::Story;

pub fn replace_a_dead_node(s: &mut Story) {
    s.cluster(&["alpha", "beta", "gamma"]);
    s.node("gamma").kill();
    let dead = s.node("gamma").id.clone();
    s.means("a7f3", &dead);
    s.run("alpha");
    s.host("delta");
    let made = s.input("delta", SECRET);
    s.node("delta").is_called(&made.out);
    s.node("delta").start();
    s.node("delta").sees("it is alone", |v| !v["master"].is_null());
    let added = s.typing("alpha", &["y"]);
    assert!(added.out.contains(&s.node("delta").fingerprint), "{added:?}");
    s.whole();
    let view = s.node("delta").view().expect("it answers");
    let peers: Vec<_> = view["peers"].as_array().expect("a list").iter().map(|p| &p["node_id"]).collect();
    assert!(peers.len() == 3 && !peers.contains(&&dead.into()), "{peers:?}");
}

pub fn watch_the_watcher(s: &mut Story) {
    s.cluster(&["alpha", "beta"]);
    let paged = s.home.path().join("alpha/paged");
    // An election in between would page too, and rightly so.
    until("nobody is paged while all is well", || {
        drop(std::fs::remove_file(&paged));
        s.blocks.push_back(s.blocks[0].clone());
        s.run("alpha");
        (!paged.exists()).then_some(())
    });
    s.node("beta").end();
    let alpha = s.node("alpha");
    until("the quorum is lost", || (alpha.qu(&["status"]).status != 0).then_some(()));
    s.run("alpha");
    assert!(paged.exists());
}

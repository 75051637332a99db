//! The situations of quptime-operations(7).

use super::super::support::{SECRET, until};
use super::Story;
pub use super::lasting::{
    backup, go_on_when_a_quorum_is_lost, go_on_with_a_majority, restore_all_nodes, restore_one_node,
};

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

pub fn keys_and_secrets(s: &mut Story) {
    s.cluster(&["alpha", "beta"]);
    let old = s.node("alpha").fingerprint.clone();
    s.run("alpha");
    let listed = s.run("alpha").out;
    let others = s.node("beta").fingerprint.clone();
    assert!(!listed.contains(&old) && listed.contains(&others), "{listed}");
    s.whole();
    let secret = |dir: std::path::PathBuf| {
        let text = std::fs::read_to_string(dir.join("node.yaml")).expect("a file");
        text.lines().find(|l| l.starts_with("cluster_secret: ")).expect("a secret").to_owned()
    };
    let before = secret(s.node("alpha").dir.clone());
    s.run("alpha");
    let after = secret(s.node("alpha").dir.clone());
    assert!(after != before && after == secret(s.node("beta").dir.clone()));
}

pub fn configuration_in_git(s: &mut Story) {
    s.cluster(&["alpha", "beta"]);
    let webhook = "http://127.0.0.1:1/hidden";
    s.node("alpha").ok(&["check", "add", "tcp", "old", "127.0.0.1:1"]);
    s.node("alpha").ok(&["alert", "add", "discord", "chat", "--webhook", webhook]);
    let file = s.home.path().join("alpha/home/quptime-config/quptime.yaml");
    let read = || std::fs::read_to_string(&file).expect("exported");
    s.run("alpha");
    assert!(read().contains("name: old") && !read().contains("hidden"), "{}", read());

    let check = "  - name: new\\n    type: tcp\\n    target: 127.0.0.1:1";
    s.edit("alpha", &format!("sed -i 's/^checks:/checks:\\n{check}/' \"$1\""));
    let ran = s.typing("alpha", &["y"]);
    assert!(ran.out.contains("+ check \"new\" (tcp 127.0.0.1:1)"), "{ran:?}");
    assert!(ran.out.contains("dry run: nothing was changed"), "{ran:?}");
    until("every node has it", || s.node("beta").check("new"));

    s.host("desk");
    let desk = s.home.path().join("desk/home/quptime-config");
    std::fs::create_dir(&desk).expect("a directory");
    std::fs::write(desk.join("quptime.yaml"), read().replace("name: old", "name: renamed")).expect("written");
    let ran = s.run("desk");
    assert!(ran.out.starts_with("~ check \"old\": name \"old\" -> \"renamed\"\n"), "{ran:?}");
    std::fs::copy(desk.join("quptime.yaml"), &file).expect("pulled");

    s.node("beta").ok(&["check", "add", "tcp", "night", "127.0.0.1:1"]);
    until("alpha has it", || s.node("alpha").check("night"));
    let ran = s.run("alpha");
    assert_eq!(ran.out, "- check \"night\"\n");
    assert!(s.home.path().join("alpha/paged").exists());
    s.run("alpha");
    assert!(read().contains("name: night") && read().contains("name: new"), "{}", read());
    let same = s.node("alpha").ok(&["cluster", "diff", file.to_str().expect("text")]);
    assert!(same.starts_with("no difference"), "{same}");
}

//! Another cluster secret: every node has it, or the command says who has not.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;

use super::support::{Cluster, Node, SECRET};

fn node_yaml(node: &Node) -> String {
    fs::read_to_string(node.dir.join("node.yaml")).expect("a file")
}

#[test]
fn every_node_takes_the_new_secret_at_once_and_the_old_one_adds_nobody() {
    let mut cluster = Cluster::of("new-secret", 3);
    let (master, follower) = (cluster.master(), cluster.follower());
    let third = 3 - master - follower;
    // A comment of the operator's stays.
    let commented = format!("# on the shelf\n{}", node_yaml(&cluster.nodes[third]));
    fs::write(cluster.nodes[third].dir.join("node.yaml"), commented).expect("written");
    let done: Value =
        serde_json::from_str(&cluster.nodes[follower].ok(&["cluster", "rotate-secret", "--json"]))
            .expect("JSON");
    let secret = done["secret"].as_str().expect("a secret").to_owned();
    assert!(secret.len() >= 40 && done["config_version"].is_null(), "{done}");
    for node in &cluster.nodes {
        let text = node_yaml(node);
        assert!(text.contains(&secret) && !text.contains(SECRET), "{}", node.dir.display());
        let mode = fs::metadata(node.dir.join("node.yaml")).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(!node.log().contains(&secret), "in the log of {}", node.dir.display());
        let replicated = fs::read_to_string(node.cluster_yaml()).expect("a file");
        assert!(!replicated.contains(&secret));
    }
    assert!(node_yaml(&cluster.nodes[third]).starts_with("# on the shelf\n"));
    // Without a restart: the old one is dead, the new one lives, on every node.
    let mut old = Node::made(cluster.home.path(), "old", SECRET);
    let mut new = Node::made(cluster.home.path(), "new", &secret);
    for node in [&mut old, &mut new] {
        node.start();
        node.sees("it is alone", |v| !v["master"].is_null());
    }
    for at in 0..3 {
        let words = ["node", "add", &old.address(), "--fingerprint", &old.fingerprint];
        let ran = cluster.nodes[at].qu(&words);
        assert!(ran.status == 1 && (ran.err.contains("secret") || ran.err.contains("too many")), "{ran:?}");
    }
    cluster.nodes[third].ok(&["node", "add", &new.address(), "--fingerprint", &new.fingerprint]);
    cluster.nodes.push(new);
    cluster.whole();
    // One of the operator's own, and after a restart it is still that.
    let given = "words of the operator, many of them";
    let path = cluster.home.path().join("given");
    fs::write(&path, given).expect("written");
    let said = cluster.nodes[master].ok(&[
        "cluster",
        "rotate-secret",
        "--secret-file",
        path.to_str().expect("a path"),
    ]);
    assert!(!said.contains(given) && !said.contains("secret  "), "{said}");
    cluster.nodes[follower].end();
    cluster.nodes[follower].start();
    cluster.whole();
    for node in &cluster.nodes {
        assert!(node_yaml(node).contains(given));
        node.sees("no difference", |v| !v["notes"].to_string().contains("secret"));
    }
}

#[test]
fn a_secret_that_not_every_node_can_take_is_refused_and_a_difference_is_told() {
    let mut cluster = Cluster::of("odd-secret", 2);
    let (one, other) = (cluster.master(), cluster.follower());
    let short = |node: &Node| node.id[..8].to_owned();
    for (input, status, says) in
        [("short", 2, "16 to 256"), ("", 1, "empty"), ("two\nlines of text, many", 1, "one line")]
    {
        let ran = cluster.nodes[one].run(&["cluster", "rotate-secret", "--secret-file", "-"], Some(input));
        assert!(ran.status == status && ran.err.contains(says), "{ran:?}");
    }
    // The environment of one wins over its node.yaml.
    cluster.nodes[other].end();
    cluster.nodes[other].set_env("QUPTIME_CLUSTER_SECRET", "another secret in the environment");
    cluster.nodes[other].start();
    cluster.whole();
    let name = short(&cluster.nodes[other]);
    let differs = |name: &str| {
        let name = name.to_owned();
        move |v: &Value| {
            let notes = v["notes"].to_string();
            notes.contains("cluster secret of") && notes.contains(&name) && notes.contains("rotate-secret")
        }
    };
    cluster.nodes[one].sees("the difference", differs(&name));
    cluster.nodes[other].sees("the difference", differs(&short(&cluster.nodes[one])));
    let said = cluster.nodes[one].refused(&["cluster", "rotate-secret"], 1);
    assert!(
        said.contains("not changed") && said.contains(&name) && said.contains("QUPTIME_CLUSTER_SECRET"),
        "{said}"
    );
    let said = cluster.nodes[other].refused(&["cluster", "rotate-secret"], 1);
    assert!(said.contains("this node cannot") && said.contains("QUPTIME_CLUSTER_SECRET"), "{said}");
    assert!(
        node_yaml(&cluster.nodes[one]).contains(SECRET) && node_yaml(&cluster.nodes[other]).contains(SECRET)
    );
    // One that is away cannot take it either.
    cluster.nodes[other].end();
    let said = cluster.nodes[one].refused(&["cluster", "rotate-secret"], 1);
    assert!(said.contains(&name) && said.contains("not connected"), "{said}");
    assert!(node_yaml(&cluster.nodes[one]).contains(SECRET));
    // Without the override all is well, and the difference is gone.
    cluster.nodes[other].unset_env("QUPTIME_CLUSTER_SECRET");
    cluster.nodes[other].start();
    cluster.whole();
    for node in &cluster.nodes {
        node.sees("no difference", |v| !v["notes"].to_string().contains("cluster secret"));
    }
    cluster.nodes[other].ok(&["cluster", "rotate-secret"]);
    assert!(!node_yaml(&cluster.nodes[one]).contains(SECRET));
}

#[test]
fn a_rotation_that_ends_part_way_is_told_by_both_sides_and_repeated() {
    let cluster = Cluster::of("half-secret", 2);
    let (one, other) = (&cluster.nodes[0], &cluster.nodes[1]);
    let name = other.id[..8].to_owned();
    // It says that it can take one, and then cannot write it down.
    let (path, aside) = (other.dir.join("node.yaml"), other.dir.join("aside"));
    std::fs::rename(&path, &aside).expect("moved");
    std::fs::create_dir(&path).expect("made");
    let said = one.refused(&["cluster", "rotate-secret"], 1);
    assert!(said.contains("different cluster secrets now") && said.contains(&name), "{said}");
    assert!(said.contains("node.yaml") && said.contains("ask again"), "{said}");
    assert!(!node_yaml(one).contains(SECRET));
    for node in [one, other] {
        node.sees("the difference", |v| v["notes"].to_string().contains("cluster secret of"));
    }
    std::fs::remove_dir(&path).expect("removed");
    std::fs::rename(&aside, &path).expect("moved back");
    assert!(node_yaml(other).contains(SECRET));
    one.ok(&["cluster", "rotate-secret"]);
    let secret = |node: &Node| {
        let text = node_yaml(node);
        text.lines().find(|l| l.starts_with("cluster_secret: ")).expect("a secret").to_owned()
    };
    assert!(secret(one) == secret(other) && !node_yaml(one).contains(SECRET));
    for node in [one, other] {
        node.sees("no difference", |v| !v["notes"].to_string().contains("cluster secret"));
    }
}

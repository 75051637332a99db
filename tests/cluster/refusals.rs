//! What keeps a daemon from starting: one line that names the thing, nothing changed, and whoever
//! runs already is not disturbed.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;

use super::support::{Cluster, Node, Ran, SECRET};

/// The last line, which is the only one that is an error.
#[track_caller]
fn why(ran: &Ran) -> &str {
    assert_eq!(ran.status, 1, "{ran:?}");
    assert!(!ran.err.contains("panicked"), "{}", ran.err);
    let errors: Vec<_> = ran.err.lines().filter(|l| l.starts_with("qu: ")).collect();
    assert_eq!(errors.len(), 1, "{}", ran.err);
    errors[0]
}

#[test]
fn a_second_daemon_on_the_same_directory_is_refused_and_the_first_keeps_its_socket() {
    let cluster = Cluster::strangers("second", 1);
    let first = &cluster.nodes[0];
    let ran = first.refuses();
    let said = why(&ran);
    assert!(said.contains("another qu serve") && said.contains(&first.pid().to_string()), "{said}");
    first.ok(&["status"]);
}

#[test]
fn a_port_and_a_socket_that_are_in_use_are_named() {
    let cluster = Cluster::strangers("inuse", 1);
    let first = &cluster.nodes[0];
    let mut other = Node::made(cluster.home.path(), "other", SECRET);
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, other.port)).expect("free");
    let said = why(&other.refuses()).to_owned();
    assert!(said.contains(&other.port.to_string()) && said.contains("in use"), "{said}");
    drop(taken);
    other.socket.clone_from(&first.socket);
    let said = why(&other.refuses()).to_owned();
    assert!(said.contains("sock"), "{said}");
    first.ok(&["status"]);
}

#[test]
fn keys_of_two_nodes_are_refused() {
    let cluster = Cluster::strangers("keys", 0);
    let home = cluster.home.path();
    let (mut one, two) = (Node::made(home, "one", SECRET), Node::made(home, "two", SECRET));
    let ours = one.dir.join("keys/private.pem");
    let kept = fs::read(&ours).expect("a key");
    fs::copy(two.dir.join("keys/private.pem"), &ours).expect("copied");
    let said = why(&one.refuses()).to_owned();
    assert!(said.contains("private.pem") && said.contains("cert.pem") && said.contains("restore"), "{said}");
    assert!(!said.contains("BEGIN"), "{said}");
    fs::write(&ours, kept).expect("written");
    one.start();
    one.sees("it starts with its own key again", |v| !v["master"].is_null());
}

#[test]
fn files_that_are_cut_empty_or_unreadable_stop_the_start_and_stay_as_they_are() {
    let cluster = Cluster::strangers("cut", 0);
    let mut node = Node::made(cluster.home.path(), "node", SECRET);
    for file in ["node.yaml", "cluster.yaml", "keys/private.pem", "keys/cert.pem"] {
        let path = node.dir.join(file);
        let whole = fs::read(&path).expect("a file");
        for left in [0, whole.len() / 2] {
            fs::write(&path, &whole[..left]).expect("written");
            let ran = node.refuses();
            let said = why(&ran);
            let name = file.rsplit('/').next().expect("a name");
            assert!(said.contains(name), "{left} bytes of {file}: {said}");
            assert!(!said.contains(SECRET), "{said}");
            assert_eq!(fs::read(&path).expect("a file"), &whole[..left], "{file} was changed");
        }
        fs::remove_file(&path).expect("removed");
        fs::create_dir(&path).expect("a directory in its place");
        let ran = node.refuses();
        assert!(why(&ran).contains(file.rsplit('/').next().expect("a name")), "{ran:?}");
        fs::remove_dir(&path).expect("removed");
        fs::write(&path, &whole).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("private");
    }
    node.start();
    node.sees("whole again, it starts", |v| !v["master"].is_null());
}

#[test]
fn an_unknown_field_stops_the_start_with_file_line_and_name() {
    let cluster = Cluster::strangers("field", 0);
    let node = Node::made(cluster.home.path(), "node", SECRET);
    let path = node.cluster_yaml();
    let text = fs::read_to_string(&path).expect("a file");
    let line = text.lines().position(|l| l == "settings:").expect("settings") + 2;
    fs::write(&path, text.replace("settings:\n", "settings:\n  colour: red\n")).expect("written");
    let said = why(&node.refuses()).to_owned();
    assert!(
        said.contains("cluster.yaml") && said.contains("colour") && said.contains(&line.to_string()),
        "{said}"
    );
}

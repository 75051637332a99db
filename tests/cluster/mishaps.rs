//! What happens to `cluster.yaml` by accident: in each case the log and `qu status` say so, nothing
//! that was committed or written is lost, and the daemon lives.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use super::support::{Cluster, Node, until};

fn rejected(node: &Node) -> Vec<PathBuf> {
    let all = fs::read_dir(&node.dir).expect("a directory").flatten().map(|e| e.path());
    all.filter(|p| p.to_string_lossy().contains("cluster.yaml.rejected-")).collect()
}

/// The file, once it says this.
fn file_with(node: &Node, words: &str) -> String {
    until("the file is written", || {
        fs::read_to_string(node.cluster_yaml()).ok().filter(|t| t.contains(words))
    })
}

/// The file, once the daemon has nothing more to write: a save in the very moment of an exchange
/// of files may be one into the file that goes.
fn settled(node: &Node) -> String {
    until("the file is the newest", || {
        let version = node.view()?["config_version"].as_u64()?;
        fs::read_to_string(node.cluster_yaml()).ok().filter(|t| t.contains(&format!("version: {version}\n")))
    })
}

/// Nothing here is about elections: none shall come from a busy machine.
fn calm(cluster: &Cluster) {
    cluster.nodes[0].ok(&["cluster", "set", "dead_after", "20s"]);
}

fn notes(node: &Node) -> String {
    node.view().map(|v| v["notes"].to_string()).unwrap_or_default()
}

/// Waits until log and notes name what is wrong.
fn told(node: &Node, words: &str) {
    until(&format!("the notes say {words:?}"), || notes(node).contains(words).then_some(()));
    until(&format!("the log says {words:?}"), || node.log().contains(words).then_some(()));
}

#[test]
fn a_file_that_cannot_be_read_is_named_left_alone_and_mended_by_the_next_save() {
    let cluster = Cluster::of("mishap", 1);
    let node = &cluster.nodes[0];
    node.ok(&["check", "add", "tcp", "kept", "127.0.0.1:1"]);
    let (path, pid) = (node.cluster_yaml(), node.pid());
    let good = |n: usize| {
        file_with(node, "name: kept");
        settled(node).replace("hysteresis: ", &format!("hysteresis: {n}  # was "))
    };
    let mut n = 2;
    // Mends it by an edit, and sees that it is committed and the note is gone.
    let mut mended = || {
        n += 1;
        let hysteresis = |v: &serde_json::Value| v["settings"]["hysteresis"] == n;
        node.sees("the mended file is committed", hysteresis);
        until("the note is gone", || (!notes(node).contains("left alone")).then_some(()));
        assert!(node.check("kept").is_some());
        file_with(node, &format!("hysteresis: {n}\n"));
    };

    // Saved half, then whole.
    let whole = good(3);
    fs::write(&path, &whole[..whole.len() - 60]).expect("saved");
    told(node, "the file was cut short");
    fs::write(&path, whole).expect("saved");
    mended();

    // Emptied.
    let whole = good(4);
    fs::write(&path, "").expect("saved");
    told(node, "the file is empty");
    // A change in between is committed all the same, and not written over it.
    node.ok(&["check", "add", "tcp", "between", "127.0.0.1:1"]);
    assert_eq!(fs::read_to_string(&path).expect("a file"), "");
    fs::write(&path, whole).expect("saved");
    mended();
    file_with(node, "name: between");

    // No text.
    let whole = good(5);
    fs::write(&path, b"checks: \xff\xfe").expect("saved");
    told(node, "UTF-8");
    fs::write(&path, whole).expect("saved");
    mended();

    // A directory, with something in it.
    let whole = good(6);
    fs::remove_file(&path).expect("removed");
    fs::create_dir(&path).expect("a directory");
    fs::write(path.join("mine"), "x").expect("written");
    told(node, "directory");
    node.ok(&["check", "add", "tcp", "more", "127.0.0.1:1"]);
    assert!(path.join("mine").exists(), "nothing of it is touched");
    fs::remove_dir_all(&path).expect("removed");
    file_with(node, "name: more");
    until("the note is gone", || (!notes(node).contains("left alone")).then_some(()));
    fs::write(&path, whole).expect("saved");
    mended();

    // Not for the daemon's eyes; root sees everything.
    if quptime::sys::cred::euid() != 0 {
        let mode = |bits| fs::set_permissions(&path, fs::Permissions::from_mode(bits)).expect("its mode");
        mode(0);
        told(node, "Permission denied");
        mode(0o600);
        until("the note is gone", || (!notes(node).contains("left alone")).then_some(()));
    }

    // Removed.
    fs::remove_file(&path).expect("removed");
    file_with(node, "name: more");
    assert!(node.check("between").is_some());
    assert!(rejected(node).is_empty(), "{:?}", rejected(node));
    assert_eq!(node.pid(), pid);
    node.ok(&["status"]);
}

#[test]
fn a_comment_is_no_change_and_is_not_kept_as_the_header_says() {
    let cluster = Cluster::of("comment", 1);
    let node = &cluster.nodes[0];
    node.ok(&["check", "add", "tcp", "one", "127.0.0.1:1"]);
    file_with(node, "name: one");
    let text = settled(node);
    assert!(text.contains("Comments are not kept."), "{text}");
    let noted = text.replace("checks:\n", "checks:\n  # the one in the cellar\n");
    fs::write(node.cluster_yaml(), noted).expect("saved");
    until("the file is as before", || fs::read_to_string(node.cluster_yaml()).ok().filter(|t| *t == text));
    assert!(rejected(node).is_empty() && !notes(node).contains("edit"), "{}", notes(node));
}

#[test]
fn two_hand_edits_at_the_same_moment_merge_or_the_later_one_is_kept_beside() {
    let cluster = Cluster::of("atonce", 2);
    calm(&cluster);
    let (a, b) = (&cluster.nodes[0], &cluster.nodes[1]);
    a.ok(&["check", "add", "tcp", "one", "127.0.0.1:1"]);
    a.ok(&["check", "add", "tcp", "two", "127.0.0.1:1"]);
    let save_both = |from: [&str; 2], to: [&str; 2]| {
        let name = |n: &str| format!("name: {n}\n");
        let nodes = [a, b];
        nodes.iter().zip(from).for_each(|(node, from)| drop(file_with(node, &name(from))));
        let texts = nodes.map(settled);
        for at in [0, 1] {
            let text = texts[at].replace(&name(from[at]), &name(to[at]));
            fs::write(nodes[at].cluster_yaml(), text).expect("saved");
        }
    };
    save_both(["one", "two"], ["uno", "due"]);
    for node in [a, b] {
        let both = || node.check("uno").is_some() && node.check("due").is_some();
        until("edits of two checks merge", || both().then_some(()));
        file_with(node, "name: uno");
        file_with(node, "name: due");
        assert!(rejected(node).is_empty(), "{:?}", rejected(node));
    }

    save_both(["uno", "uno"], ["first", "second"]);
    let lost = until("one of two edits of one check is refused", || {
        [(a, "first"), (b, "second")].into_iter().find(|(node, _)| !rejected(node).is_empty())
    });
    let (loser, name) = lost;
    let (winner, other) = if name == "first" { (b, "second") } else { (a, "first") };
    told(loser, "an edit of cluster.yaml is refused");
    assert!(notes(loser).contains("check \\\"uno\\\""), "it is named: {}", notes(loser));
    let kept = fs::read_to_string(&rejected(loser)[0]).expect("kept");
    assert!(kept.contains(&format!("name: {name}\n")), "{kept}");
    for node in [a, b] {
        until("the first one holds everywhere", || node.check(other));
        file_with(node, &format!("name: {other}\n"));
        assert!(node.check(name).is_none());
    }
    assert!(rejected(winner).is_empty(), "{:?}", rejected(winner));
}

/// Checks in a file that is too large for one change, checks in one that is not, and bytes of each:
/// few large ones weigh as much as many. All of it with `QUPTIME_ROUNDS`.
fn many() -> (usize, usize, usize) {
    if std::env::var_os("QUPTIME_ROUNDS").is_some() { (50_000, 5_000, 20) } else { (2_500, 200, 2_000) }
}

/// The lists with so many checks more, before the alerts.
fn grown(text: &str, count: usize) -> String {
    let at = text.find("alerts:").expect("alerts");
    let body = "x".repeat(many().2);
    let rest =
        format!("type: http\n    target: http://127.0.0.1:1/\n    interval: 24h\n    body_match: {body}\n");
    let more: String = (0..count).map(|n| format!("  - name: many{n}\n    {rest}")).collect();
    format!("{}{more}{}", &text[..at], &text[at..])
}

#[test]
fn a_file_with_very_many_checks_is_committed_or_refused_and_stops_nobody() {
    let (too_many, enough, _) = many();
    let cluster = Cluster::of("many", 2);
    calm(&cluster);
    let (a, b) = (&cluster.nodes[0], &cluster.nodes[1]);
    a.ok(&["check", "add", "tcp", "one", "127.0.0.1:1"]);
    let text = grown(&file_with(b, "name: one"), too_many);
    fs::write(b.cluster_yaml(), &text).expect("saved");
    // The cluster of two goes on meanwhile: a change needs both.
    for name in ["meanwhile0", "meanwhile1", "meanwhile2"] {
        a.ok(&["check", "add", "tcp", name, "127.0.0.1:1"]);
    }
    told(b, "is too large for one change");
    assert!(notes(b).contains(&format!("{too_many} items")), "{}", notes(b));
    assert_eq!(fs::read_to_string(&rejected(b)[0]).expect("kept"), text);
    file_with(b, "name: meanwhile2");

    let path = cluster.home.path().join("large.yaml");
    let file = path.to_str().expect("text");
    fs::write(&path, grown(&b.ok(&["cluster", "export"]), too_many)).expect("written");
    let said = b.refused(&["cluster", "apply", "--yes", file], 1);
    assert!(said.contains("too large for one change") && said.lines().count() == 1, "{said}");
    fs::write(&path, grown(&b.ok(&["cluster", "export"]), enough)).expect("written");
    // It may take longer than a command waits; asked again, it changes nothing more.
    until("the file is applied", || (b.qu(&["cluster", "apply", "--yes", file]).status == 0).then_some(()));
    assert!(b.ok(&["cluster", "diff", file]).starts_with("no difference"));
    for node in [a, b] {
        let last = format!("name: many{}\n", enough - 1);
        until("every node has all of them", || node.check("many0"));
        file_with(node, &last);
    }
}

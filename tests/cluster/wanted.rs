//! The configuration as a file: `qu cluster export`, `diff`, `apply`, `edit`.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use super::support::{Cluster, Node, Ran, terminal, until};

fn version(node: &Node) -> u64 {
    node.view().and_then(|v| v["config_version"].as_u64()).expect("a version")
}

/// What is exported, in a file of that name.
fn exported(cluster: &Cluster, node: &Node, name: &str, change: impl Fn(&str) -> String) -> String {
    let path = cluster.home.path().join(name);
    let text = node.ok(&["cluster", "export"]);
    fs::write(&path, change(&text)).expect("written");
    path.to_str().expect("text").to_owned()
}

/// Two nodes. Nothing here is about elections: none shall come from a busy machine.
fn two(name: &str) -> Cluster {
    let cluster = Cluster::of(name, 2);
    cluster.nodes[0].ok(&["cluster", "set", "dead_after", "20s"]);
    cluster
}

/// An editor: a shell script that is given the file as `$1` and a directory of its own as `$HERE`.
fn editor(cluster: &Cluster, name: &str, script: &str) -> PathBuf {
    let here = cluster.home.path().join(name);
    fs::create_dir_all(&here).expect("a directory");
    let path = here.join("editor");
    let text = format!("#!/bin/sh -eu\nHERE='{}'\n{script}\n", here.display());
    fs::write(&path, text).expect("an editor");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("its mode");
    here
}

/// `qu cluster edit` under way, at a terminal.
struct Session {
    child: Child,
    _keyboard: terminal::Keyboard,
}

impl Session {
    /// With the editor of that directory, and these answers typed ahead.
    fn begin(node: &Node, here: &Path, answers: &[&str]) -> Session {
        let (mut keyboard, terminal) = terminal::open();
        answers.iter().for_each(|line| keyboard.line(line));
        let mut command = node.command();
        command.args(["cluster", "edit"]).env("EDITOR", here.join("editor")).env("TMPDIR", here);
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.stdin(terminal).stdout(Stdio::piped()).stderr(Stdio::piped());
        Session { child: command.spawn().expect("qu starts"), _keyboard: keyboard }
    }

    fn end(self) -> Ran {
        let output = self.child.wait_with_output().expect("qu ends");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        Ran {
            status: output.status.code().expect("it ends"),
            out: text(output.stdout),
            err: text(output.stderr),
        }
    }
}

/// The copies that were left, with the directories they are in.
fn copies(here: &Path) -> Vec<PathBuf> {
    let all = fs::read_dir(here).expect("a directory").flatten().map(|e| e.path());
    all.filter(|p| p.to_string_lossy().contains("qu-edit-")).map(|p| p.join("cluster.yaml")).collect()
}

#[test]
fn a_file_is_applied_once_on_any_node_as_one_change() {
    let cluster = two("apply");
    let follower = &cluster.nodes[cluster.follower()];
    for name in ["one", "two", "three"] {
        follower.ok(&["check", "add", "tcp", name, "127.0.0.1:1", "--interval", "20s"]);
    }
    let before = version(follower);
    let file = exported(&cluster, follower, "wanted.yaml", |text| {
        let text = text.replace("name: one", "name: first").replacen("interval: 20s", "interval: 40s", 1);
        let gone = text.find("  - id").into_iter().chain(text.match_indices("  - id").map(|(at, _)| at));
        let gone = gone.last().expect("three checks");
        let end = text[gone..].find("alerts:").expect("alerts") + gone;
        format!("{}{}", &text[..gone], &text[end..])
    });
    let shown = follower.qu(&["cluster", "diff", &file]);
    assert_eq!((shown.status, shown.err.as_str()), (1, ""), "{shown:?}");
    assert!(shown.out.contains("name \"one\" -> \"first\"") && shown.out.contains("- check "), "{shown:?}");
    let tried = follower.ok(&["cluster", "apply", "--dry-run", &file]);
    assert!(tried.starts_with(&shown.out) && tried.ends_with("dry run: nothing was changed\n"), "{tried}");
    let unasked = follower.refused(&["cluster", "apply", &file], 1);
    assert!(unasked.contains("--yes"), "{unasked}");
    assert_eq!(version(follower), before);

    let applied = follower.ok(&["cluster", "apply", "--yes", &file]);
    let after = before + 1;
    assert!(applied.starts_with(&shown.out), "{applied}");
    assert!(applied.ends_with(&format!(", config version {after}\n")), "{applied}");
    for node in &cluster.nodes {
        until("every node has it", || node.check("first"));
        assert_eq!(version(node), after);
        let same = node.ok(&["cluster", "diff", &file]);
        assert_eq!(same, format!("no difference, config version {after}\n"));
        let again = node.ok(&["cluster", "apply", "--yes", &file]);
        assert_eq!(again, format!("nothing to change, config version {after}\n"));
    }
    let text = fs::read_to_string(&file).expect("a file");
    let words = ["cluster", "apply", "--yes", "-"];
    assert_eq!(follower.run(&words, Some(&text)).status, 0);
    assert_eq!(follower.run(&["cluster", "apply", "-"], Some(&text)).status, 2);
    assert_eq!(version(follower), after);
}

#[test]
fn a_file_that_names_its_version_merges_and_refuses_what_others_changed() {
    let cluster = Cluster::of("based", 1);
    let node = &cluster.nodes[0];
    node.ok(&["check", "add", "tcp", "one", "127.0.0.1:1"]);
    node.ok(&["check", "add", "tcp", "two", "127.0.0.1:1"]);
    let began = format!("version: {}\n", version(node));
    let based = |text: &str| began.clone() + text;
    let mine = exported(&cluster, node, "mine.yaml", |t| based(&t.replace("name: one", "name: mine")));
    node.ok(&["check", "edit", "two", "--target", "127.0.0.1:2"]);
    let applied = node.ok(&["cluster", "apply", "--yes", &mine]);
    assert_eq!(applied.lines().next(), Some("~ check \"one\": name \"one\" -> \"mine\""));
    assert_eq!(node.check("two").map(|c| c["target"].clone()), Some("127.0.0.1:2".into()));

    let text = fs::read_to_string(&mine).expect("a file").replace("127.0.0.1:1", "127.0.0.1:3");
    fs::write(&mine, text).expect("written");
    let before = version(node);
    let refused = node.refused(&["cluster", "apply", "--yes", &mine], 1);
    assert!(refused.contains("check \"two\"") && refused.contains("127.0.0.1:3 here"), "{refused}");
    assert_eq!(version(node), before);

    let strange = exported(&cluster, node, "strange.yaml", |t| format!("version: {}\n{t}", before + 5));
    let refused = node.refused(&["cluster", "diff", &strange], 1);
    assert!(refused.contains("ahead") && refused.contains("without that line"), "{refused}");
    let peer =
        exported(&cluster, node, "peer.yaml", |t| t.replace("advertise: 127.0.0.1", "advertise: 127.0.0.2"));
    let refused = node.refused(&["cluster", "apply", "--yes", &peer], 1);
    assert!(refused.contains("qu node edit"), "{refused}");
    assert_eq!(version(node), before);
}

#[test]
fn an_edit_is_shown_asked_for_and_committed_and_opened_again_when_it_is_wrong() {
    let cluster = Cluster::of("editor", 1);
    let node = &cluster.nodes[0];
    node.ok(&["check", "add", "tcp", "one", "127.0.0.1:1"]);
    node.ok(&["alert", "add", "discord", "chat", "--webhook", "http://127.0.0.1:1/hidden"]);
    let before = version(node);
    let script = "n=$(ls \"$HERE\" | grep -c '^seen' || true)\ncp \"$1\" \"$HERE/seen$n\"\n\
        stat -c %a \"$1\" \"$(dirname \"$1\")\" >\"$HERE/modes\"\n\
        case $n in 0) sed -i 's/interval: 30s/interval: soon/' \"$1\";; *) sed -i 's/soon/45s/' \"$1\";; esac";
    let here = editor(&cluster, "right", script);
    let ran = Session::begin(node, &here, &["y"]).end();
    assert_eq!(ran.status, 0, "{ran:?}");
    assert!(ran.out.contains("~ check \"one\": interval 30s -> 45s\n"), "{ran:?}");
    assert!(ran.out.ends_with(&format!("config version {}\n", before + 1)), "{ran:?}");
    assert!(ran.err.contains("commit this? [y/N]") && ran.err.contains("cluster.yaml:"), "{ran:?}");
    assert_eq!(node.check("one").map(|c| c["interval"].clone()), Some("45s".into()));
    let read = |name: &str| fs::read_to_string(here.join(name)).expect("it was opened twice");
    assert!(!read("seen0").contains("hidden") && read("seen0").contains("(unchanged)"), "{}", read("seen0"));
    let again = read("seen1");
    let remark = again.lines().next().expect("a line");
    assert!(remark.starts_with("#! cluster.yaml:") && remark.contains("interval"), "{again}");
    // The line that is named is the line that is shown.
    let named: usize = remark.split(':').nth(1).and_then(|n| n.parse().ok()).expect("a number");
    assert!(again.lines().nth(named - 1).is_some_and(|l| l.contains("soon")), "{again}");
    assert_eq!(read("modes"), "600\n700\n");
    assert!(copies(&here).is_empty(), "nothing is left");

    let here = editor(&cluster, "same", ":");
    let ran = Session::begin(node, &here, &[]).end();
    assert!(ran.status == 0 && ran.err.contains("not changed"), "{ran:?}");
    assert!(copies(&here).is_empty());
    let here = editor(&cluster, "no", "sed -i 's/interval: 45s/interval: 50s/' \"$1\"");
    let ran = Session::begin(node, &here, &["n"]).end();
    assert!(ran.status == 1 && ran.err.contains("not committed"), "{ran:?}");
    assert!(ran.err.contains(copies(&here)[0].to_str().expect("text")), "{ran:?}");
    let here = editor(&cluster, "wrong", "sed -i 's/interval: 45s/interval: soon/' \"$1\"");
    let ran = Session::begin(node, &here, &[]).end();
    assert!(ran.status == 1 && ran.err.contains("is kept as"), "{ran:?}");
    let text = fs::read_to_string(&copies(&here)[0]).expect("kept");
    assert!(text.contains("interval: soon"), "{text}");
    assert_eq!(version(node), before + 1, "none of these changed anything");
}

/// An editor that opens, waits until it may go on, and changes a line.
fn patient(cluster: &Cluster, name: &str, change: &str) -> PathBuf {
    let script = format!(
        "touch \"$HERE/open\"\nwhile [ ! -e \"$HERE/go\" ]; do sleep 0.05; done\nsed -i '{change}' \"$1\""
    );
    editor(cluster, name, &script)
}

#[test]
fn two_people_who_edit_at_once_merge_or_are_told_what_the_other_did() {
    let cluster = two("both");
    let (a, b) = (&cluster.nodes[0], &cluster.nodes[1]);
    a.ok(&["check", "add", "tcp", "one", "127.0.0.1:1"]);
    a.ok(&["check", "add", "tcp", "two", "127.0.0.1:1"]);
    a.ok(&["check", "add", "tcp", "three", "127.0.0.1:1"]);
    until("both have all", || b.check("three"));
    let edits = [
        (a, patient(&cluster, "first", "s/name: one/name: uno/")),
        (b, patient(&cluster, "second", "s/name: two/name: due/")),
        (b, patient(&cluster, "third", "s/name: one/name: eins/")),
        (b, patient(&cluster, "fourth", "s/name: three/name: drei/")),
    ];
    let mut sessions = Vec::new();
    for (node, here) in &edits {
        sessions.push(Session::begin(node, here, &["y"]));
        until("the editor is open", || here.join("open").exists().then_some(()));
    }
    // A third person edits the file itself.
    let text = until("the file is the newest", || {
        fs::read_to_string(a.cluster_yaml()).ok().filter(|t| t.contains("name: three"))
    });
    fs::write(a.cluster_yaml(), text.replace("name: three", "name: tre")).expect("saved");
    until("that is committed and known everywhere", || a.check("tre").and_then(|_| b.check("tre")));
    let mut ended = Vec::new();
    for (session, (_, here)) in sessions.into_iter().zip(&edits) {
        fs::write(here.join("go"), "").expect("written");
        ended.push(session.end());
        let names = |node: &Node| node.check("uno").is_some();
        until("what was committed is known everywhere", || (names(a) && names(b)).then_some(()));
    }
    assert_eq!((ended[0].status, ended[1].status), (0, 0), "{ended:?}");
    until("both hold", || a.check("due"));
    assert_eq!(ended[2].status, 1, "{ended:?}");
    let said = &ended[2].err;
    assert!(said.contains("check \"one\" was changed meanwhile: name \"eins\" here, \"uno\""), "{said}");
    let kept = fs::read_to_string(&copies(&edits[2].1)[0]).expect("kept");
    assert!(said.contains("is kept as") && kept.contains("name: eins"), "{said}\n{kept}");
    assert_eq!(ended[3].status, 1, "{ended:?}");
    let said = &ended[3].err;
    assert!(said.contains("check \"three\" was changed meanwhile: name \"drei\" here, \"tre\""), "{said}");
    assert!(b.check("uno").is_some() && b.check("due").is_some() && b.check("eins").is_none());
}

#[test]
fn an_edit_without_a_quorum_is_kept_and_applied_later() {
    let mut cluster = Cluster::of("later", 2);
    cluster.nodes[0].ok(&["check", "add", "tcp", "one", "127.0.0.1:1"]);
    until("the other one has it", || cluster.nodes[1].check("one"));
    cluster.nodes[1].kill();
    let node = &cluster.nodes[0];
    node.sees("there is no quorum", |v| v["quorum"]["ok"] == false);
    let here = editor(&cluster, "alone", "sed -i 's/name: one/name: uno/' \"$1\"");
    let ran = Session::begin(node, &here, &["y"]).end();
    assert!(ran.status == 3 && ran.err.contains("no quorum"), "{ran:?}");
    let kept = copies(&here).pop().expect("kept");
    assert!(ran.err.contains(kept.to_str().expect("text")), "{ran:?}");
    cluster.nodes[1].start();
    cluster.whole();
    let node = &cluster.nodes[0];
    node.ok(&["check", "add", "tcp", "two", "127.0.0.1:1"]);
    let words = ["cluster", "apply", "--yes", kept.to_str().expect("text")];
    until("there is a quorum again", || (node.qu(&words).status == 0).then_some(()));
    assert!(node.check("uno").is_some() && node.check("two").is_some());
}

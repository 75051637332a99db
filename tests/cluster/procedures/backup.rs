//! `qu backup`, `qu restore`: what is in the archive, and what is not taken out of one.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::super::support::{Cluster, Home, Node, SECRET, until};
use super::version;

const NAMES: [&str; 7] = [
    "cluster.yaml",
    "trust.yaml",
    "keys/cert.pem",
    "keys/public.pem",
    "keys/private.pem",
    "node.yaml",
    "SHA256SUMS",
];

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("a file").permissions().mode() & 0o7777
}

/// A node that has run, does not, and was backed up; the archive.
fn backed_up(home: &Home, name: &str) -> (Node, PathBuf) {
    let mut node = Node::made(home.path(), name, SECRET);
    node.start();
    node.sees("it runs", |v| !v["master"].is_null());
    let archive = home.path().join(format!("{name}.tar"));
    node.ok(&["backup", archive.to_str().expect("text")]);
    node.end();
    (node, archive)
}

fn restore(node: &Node, archive: &Path, status: i32, more: &[&str]) -> String {
    let ran = node.qu(&[&["restore", archive.to_str().expect("text")], more].concat());
    assert_eq!(ran.status, status, "{ran:?}");
    ran.out + &ran.err
}

/// The names in an archive, by another program.
fn listed(archive: &Path) -> Vec<String> {
    let listed = Command::new("tar").arg("tf").arg(archive).output().expect("tar is there");
    String::from_utf8(listed.stdout).expect("text").lines().map(str::to_owned).collect()
}

#[test]
fn a_node_that_has_just_been_made_and_never_ran_is_backed_up_whole() {
    let home = Home::new("just-made");
    let node = Node::made(home.path(), "n1", SECRET);
    let archive = home.path().join("n1.tar");
    node.ok(&["backup", archive.to_str().expect("text")]);
    assert_eq!(listed(&archive), NAMES);
}

#[test]
fn the_archive_is_a_tar_file_that_other_tools_read() {
    let home = Home::new("tar");
    let (node, archive) = backed_up(&home, "n1");
    assert_eq!(mode(&archive), 0o600);
    assert_eq!(listed(&archive), NAMES);
    let out = home.path().join("out");
    fs::create_dir(&out).expect("made");
    let taken =
        Command::new("tar").arg("xf").arg(&archive).arg("-C").arg(&out).status().expect("tar is there");
    let good = Command::new("sha256sum").args(["-c", "--quiet", "SHA256SUMS"]).current_dir(&out).status();
    assert!(taken.success() && good.expect("sha256sum is there").success());
    assert_eq!(mode(&out.join("keys/private.pem")), 0o600);

    let marker = fs::read_to_string(node.dir.join("last-backup")).expect("the time is noted");
    assert!(marker.ends_with("Z\n") && marker.len() == 21, "{marker:?}");
    assert_eq!(mode(&node.dir.join("last-backup")), 0o600);

    let said = node.refused(&["backup", archive.to_str().expect("text")], 1);
    assert!(said.contains("exists") && said.contains("--force"), "{said}");
    node.ok(&["backup", "--force", archive.to_str().expect("text")]);
    let ran = Command::new(env!("CARGO_BIN_EXE_qu"))
        .args(["backup", "-"])
        .env("QUPTIME_DIR", &node.dir)
        .output()
        .expect("qu runs");
    assert!(
        ran.status.success()
            && ran.stdout.len().is_multiple_of(512)
            && ran.stdout.starts_with(b"cluster.yaml\0")
    );
    let said = node.refused(&["backup", home.path().join("no/such/place").to_str().expect("text")], 1);
    assert!(said.contains("no backup was made"), "{said}");
}

#[test]
fn a_restored_node_learns_from_the_others_what_happened_since() {
    let mut cluster = Cluster::of("restore", 3);
    let lost = cluster.follower();
    let other = (lost + 1) % 3;
    let archive = cluster.home.path().join("a.tar");
    cluster.nodes[lost].ok(&["backup", archive.to_str().expect("text")]);
    cluster.nodes[other].ok(&["check", "add", "tcp", "since", "127.0.0.1:1"]);
    cluster.nodes[lost].kill();
    fs::remove_dir_all(&cluster.nodes[lost].dir).expect("removed");
    let said = restore(&cluster.nodes[lost], &archive, 0, &[]);
    assert!(said.contains(&cluster.nodes[lost].id) && said.contains("start the daemon"), "{said}");
    let dir = cluster.nodes[lost].dir.clone();
    for (name, want) in
        [("node.yaml", 0o600), ("keys", 0o700), ("keys/private.pem", 0o600), ("cluster.yaml", 0o600)]
    {
        assert_eq!(mode(&dir.join(name)), want, "{name}");
    }
    assert!(!dir.join("state").exists() && !dir.join("SHA256SUMS").exists());
    cluster.nodes[lost].start();
    cluster.whole();
    assert!(cluster.nodes[lost].check("since").is_some());
    assert_eq!(version(&cluster.nodes[lost]), version(&cluster.nodes[other]));
}

#[test]
fn a_node_that_is_there_is_replaced_when_told_and_never_by_another_one() {
    let home = Home::new("over");
    let (mut node, archive) = backed_up(&home, "n1");
    let (_, strangers) = backed_up(&home, "n2");
    let said = restore(&node, &archive, 1, &[]);
    assert!(said.contains("this is a node already") && said.contains("--force"), "{said}");
    let said = restore(&node, &strangers, 1, &["--force"]);
    assert!(said.contains("the backup is of node") && said.contains(&node.id), "{said}");
    // The same node, of another cluster.
    fs::write(node.cluster_yaml(), fs::read_to_string(home.path().join("n2/cluster.yaml")).expect("a file"))
        .expect("written");
    let said = restore(&node, &archive, 1, &["--force"]);
    assert!(said.contains("the backup is of cluster"), "{said}");
    fs::remove_file(node.cluster_yaml()).expect("removed");

    let said = restore(&node, &archive, 0, &["--force"]);
    assert!(said.contains("kept as") && said.contains("state.replaced-"), "{said}");
    node.start();
    node.sees("it runs", |v| !v["master"].is_null());
    let said = restore(&node, &archive, 1, &["--force"]);
    assert!(said.contains("another qu serve") && said.contains("stop it first"), "{said}");
    assert!(node.master().is_some());
}

#[test]
fn an_archive_that_was_cut_or_changed_is_refused_and_nothing_is_written() {
    let home = Home::new("damaged");
    let (_, archive) = backed_up(&home, "n1");
    let whole = fs::read(&archive).expect("a file");
    let fresh = Node::unmade(home.path(), "fresh");
    let bad = home.path().join("bad.tar");
    let refused = |bytes: &[u8], why: &str| {
        fs::write(&bad, bytes).expect("written");
        let said = restore(&fresh, &bad, 1, &[]);
        assert!(said.contains(why) && said.contains("nothing was restored"), "{why}: {said}");
        assert!(!fresh.dir.exists(), "{why}");
    };
    refused(&whole[..whole.len() / 2], "cut off");
    refused(b"", "cut off");
    refused(&vec![b'x'; 4096], "damaged, or no tar archive");
    let mut flipped = whole.clone();
    flipped[600] ^= 1;
    refused(&flipped, "SHA256SUMS");
    let mut renamed = whole.clone();
    renamed[..12].copy_from_slice(b"../../x.yaml");
    let sum: u64 = renamed[..512]
        .iter()
        .enumerate()
        .map(|(at, b)| if (148..156).contains(&at) { 32 } else { u64::from(*b) })
        .sum();
    renamed[148..154].copy_from_slice(format!("{sum:06o}").as_bytes());
    refused(&renamed, "no part of a backup");
    let said = restore(&fresh, &home.path().join("none.tar"), 1, &[]);
    assert!(said.contains("none.tar"), "{said}");
}

#[test]
fn a_full_disk_leaves_no_half_written_archive() {
    let home = Home::new("full");
    let node = Node::made(home.path(), "n1", SECRET);
    // The largest file that the shell's children may write: half a kilobyte.
    for (target, force) in [("a.tar", ""), ("b.tar", "--force")] {
        let target = home.path().join(target);
        let script = "ulimit -f 1; trap '' XFSZ; exec \"$0\" backup $2 \"$1\"";
        let ran = Command::new("sh")
            .args(["-c", script, env!("CARGO_BIN_EXE_qu"), target.to_str().expect("text"), force])
            .env("QUPTIME_DIR", &node.dir)
            .output()
            .expect("a shell");
        let said = String::from_utf8_lossy(&ran.stderr).into_owned();
        assert_eq!(ran.status.code(), Some(1), "{said}");
        assert!(said.contains("no backup was made") && said.contains("File too large"), "{said}");
        let left: Vec<_> =
            fs::read_dir(home.path()).expect("a directory").flatten().map(|e| e.file_name()).collect();
        assert!(left.iter().all(|n| !n.to_string_lossy().contains(".tar")), "{left:?}");
    }
    assert!(!node.dir.join("last-backup").exists());
}

#[test]
fn what_cannot_be_backed_up_is_said() {
    let home = Home::new("nothing");
    let nobody = Node::unmade(home.path(), "none");
    let target = home.path().join("x.tar");
    let target = target.to_str().expect("text");
    let said = nobody.refused(&["backup", target], 1);
    assert!(said.contains("is not there: this is no node"), "{said}");
    let node = Node::made(home.path(), "n1", SECRET);
    let text = fs::read_to_string(node.cluster_yaml()).expect("a file");
    fs::write(node.cluster_yaml(), text.replace("version: 1", "version: one")).expect("written");
    let said = node.refused(&["backup", target], 1);
    assert!(said.contains("cluster.yaml:") && said.contains("mend it first"), "{said}");
    assert!(!Path::new(target).exists());
    // A copy that others may read is none of ours: the mode is that of the new file.
    fs::write(node.cluster_yaml(), text).expect("written");
    fs::write(target, "old").expect("written");
    fs::set_permissions(target, Permissions::from_mode(0o644)).expect("set");
    node.ok(&["backup", "--force", target]);
    assert_eq!(mode(Path::new(target)), 0o600);
    until("it is listed", || fs::read(target).ok().filter(|b| b.len() > 4096));
}

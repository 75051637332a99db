//! The scripts of `qu completion`, tried in the shells that are there.

use std::io::Write as _;
use std::process::{Command, Stdio};

use super::fixture::qu;

/// What a shell prints for a script; `None` when the shell is not installed.
fn shell(name: &str, args: &[&str], script: &str) -> Option<String> {
    let mut command = Command::new(name);
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            eprintln!("skipped: {name} is not installed");
            return None;
        }
        Err(e) => panic!("{name}: {e}"),
    };
    child.stdin.take().expect("a pipe").write_all(script.as_bytes()).expect("written");
    let output = child.wait_with_output().expect("the shell ends");
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && err.is_empty(), "{name}: {err}");
    Some(String::from_utf8(output.stdout).expect("text"))
}

fn script(shell: &str) -> String {
    let ran = qu(&["completion", shell]);
    assert_eq!((ran.status, ran.err.as_str()), (0, ""));
    ran.out
}

/// What bash offers after these words; the last one is being typed.
fn offered(words: &[&str]) -> Vec<String> {
    let quoted: Vec<String> = words.iter().map(|w| format!("'{w}'")).collect();
    let ask = format!(
        "{}\nCOMP_WORDS=(qu {})\nCOMP_CWORD={}\n_qu\nprintf '%s\\n' \"${{COMPREPLY[@]}}\"\n",
        script("bash"),
        quoted.join(" "),
        words.len()
    );
    let out = shell("bash", &["--norc", "-s"], &ask).expect("bash is everywhere");
    out.lines().filter(|l| !l.is_empty()).map(str::to_owned).collect()
}

#[test]
fn bash_offers_words_then_flags_then_their_values() {
    assert_eq!(offered(&["ch"]), ["check"]);
    assert_eq!(offered(&["check", "add", ""]), ["http", "tcp", "icmp", "--help"]);
    assert_eq!(offered(&["check", "add", "http", "web", "--int"]), ["--interval"]);
    assert_eq!(offered(&["check", "add", "http", "--interval", ""]), [""; 0]);
    assert_eq!(offered(&["status", "--state", "d"]), ["down"]);
    assert_eq!(offered(&["check", "test", "web", "--state", ""]), ["down", "recovered"]);
    assert_eq!(offered(&["alert", "default", "ops", "o"]), ["on", "off"]);
    assert_eq!(offered(&["completion", ""]), ["bash", "zsh", "fish", "--help"]);
}

#[test]
fn fish_offers_words_then_flags_then_their_values() {
    let ask = |line: &str| {
        let out = shell("fish", &["--no-config"], &format!("{}\ncomplete -C '{line}'\n", script("fish")))?;
        Some(out.lines().filter_map(|l| l.split('\t').next()).map(str::to_owned).collect::<Vec<_>>())
    };
    for (line, want) in [
        ("qu chec", &["check"][..]),
        ("qu check add ", &["http", "icmp", "tcp"]),
        ("qu check add http web --int", &["--interval"]),
        ("qu status --state d", &["down"]),
        ("qu alert default ops o", &["off", "on"]),
    ] {
        let Some(mut got) = ask(line) else { return };
        got.sort();
        assert_eq!(got, want, "{line}");
    }
}

#[test]
fn every_script_is_whole_for_its_shell() {
    shell("bash", &["-n"], &script("bash"));
    shell("zsh", &["-n"], &script("zsh"));
    shell("fish", &["--no-execute"], &script("fish"));
}

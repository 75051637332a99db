//! The real binary, as a person or a script uses it: what it prints, where, and how it ends.
//!
//! The daemon's side is played by a control server of this test, with a fixed picture. Golden
//! files are in `tests/golden/`; `QUPTIME_GOLDEN=write` writes them anew: commit only a
//! difference that you can explain.

#[path = "cli/bad_input.rs"]
mod bad_input;
#[path = "cli/completion.rs"]
mod completion;
#[path = "cli/fixture.rs"]
mod fixture;
#[path = "cli/looking.rs"]
mod looking;
#[path = "cli/requests.rs"]
mod requests;

use fixture::{Daemon, golden, picture, qu};

#[test]
fn the_version_is_one_line() {
    let ran = qu(&["--version"]);
    assert_eq!((ran.status, ran.out.as_str()), (0, concat!("qu ", env!("CARGO_PKG_VERSION"), "\n")));
    assert_eq!(qu(&["-V"]).out, ran.out);
}

#[test]
fn help_is_there_at_every_level_and_by_both_ways() {
    for path in [&[][..], &["check"], &["check", "add"], &["check", "add", "http"], &["alert", "add", "smtp"]]
    {
        let by_flag = qu(&[path, &["--help"]].concat());
        let by_word = qu(&[&["help"], path].concat());
        assert_eq!((by_flag.status, by_flag.err.as_str()), (0, ""), "{path:?}");
        assert_eq!(by_flag.out, by_word.out, "{path:?}");
        assert!(by_flag.out.contains("usage: qu "), "{path:?}");
        assert!(by_flag.out.lines().all(|l| l.chars().count() <= 100 || l.starts_with("  qu ")), "{path:?}");
    }
    let help = qu(&["help", "check", "add", "http"]).out;
    for word in ["--expect STATUS", "(default: 200)", "--body-match TEXT", "--interval DURATION", "examples:"]
    {
        assert!(help.contains(word), "{word} is not in:\n{help}");
    }
}

#[test]
fn the_table_is_printed_for_whoever_checks_the_manual() {
    let table = qu(&["--generate", "table"]).out;
    for line in [
        "command\tqu check add http\tqu check add http <name> <url> [flags]\tWatch an HTTP or HTTPS address",
        "flag\tqu status\t--json\tPrint JSON for programs instead of text",
        "env\tQUPTIME_SOCKET\tcontrol socket",
        "setting\thysteresis\tevaluations in a row that change a verdict",
    ] {
        assert!(table.lines().any(|l| l == line), "{line:?} is not in:\n{table}");
    }
}

#[test]
fn status_shows_quorum_master_peers_checks_and_what_to_look_at() {
    let daemon = Daemon::start("status", picture::three());
    let ran = daemon.qu(&["status"]);
    assert_eq!((ran.status, ran.err.as_str()), (0, ""));
    golden("status.txt", &ran.out);
    golden("status-down.txt", &daemon.qu(&["status", "--state", "down"]).out);
    golden("status-one.txt", &daemon.qu(&["status", "--check", "web"]).out);
    golden("status.json", &daemon.qu(&["status", "--json"]).out);
}

#[test]
fn status_without_quorum_prints_what_is_known_and_exits_3() {
    let daemon = Daemon::start("alone", picture::alone());
    let ran = daemon.qu(&["status"]);
    assert_eq!((ran.status, ran.err.as_str()), (3, "qu: no quorum (1 of 3 peers live, need 2)\n"));
    golden("status-alone.txt", &ran.out);
    assert_eq!(daemon.qu(&["status", "--json"]).status, 3);
}

#[test]
fn every_listing_has_its_columns_and_its_json() {
    let daemon = Daemon::start("lists", picture::three());
    for (name, words) in [
        ("check-list", &["check", "list"][..]),
        ("alert-list", &["alert", "list"]),
        ("node-list", &["node", "list"]),
        ("silence-list", &["silence", "list"]),
        ("trust-list", &["trust", "list"]),
        ("cluster-show", &["cluster", "show"]),
        ("incident-list", &["incident", "list"]),
        ("incident-show", &["incident", "show", "12.0"]),
    ] {
        let text = daemon.qu(words);
        assert_eq!((text.status, text.err.as_str()), (0, ""), "{words:?}");
        golden(&format!("{name}.txt"), &text.out);
        let json = daemon.qu(&[words, &["--json"]].concat());
        assert_eq!((json.status, json.err.as_str()), (0, ""), "{words:?}");
        let parsed: Result<serde_json::Value, _> = serde_json::from_str(&json.out);
        assert!(parsed.is_ok(), "{words:?}: {}", json.out);
    }
}

#[test]
fn two_thousand_checks_of_seven_nodes_are_listed_whole() {
    let daemon = Daemon::start("huge", picture::huge());
    let text = daemon.qu(&["status"]);
    assert_eq!((text.status, text.err.as_str()), (0, ""));
    assert_eq!(text.out.lines().filter(|l| l.contains(" check-")).count(), 2_000);
    let json = daemon.qu(&["check", "list", "--json"]);
    assert_eq!((json.status, json.err.as_str()), (0, ""));
    let checks: Vec<serde_json::Value> = serde_json::from_str(&json.out).expect("json");
    assert_eq!((checks.len(), checks[1_999]["nodes"].as_array().map(Vec::len)), (2_000, Some(7)));
    assert_eq!(daemon.qu(&["status", "--limit", "2"]).out.matches("check-").count(), 2);
}

#[test]
fn a_closed_pipe_is_no_error() {
    let daemon = Daemon::start("pipe", picture::three());
    let script = format!("'{}' status --json | true; exit ${{PIPESTATUS[0]}}", env!("CARGO_BIN_EXE_qu"));
    let ran = daemon.run(std::process::Command::new("bash").args(["-c", &script]));
    assert_eq!((ran.status, ran.err.as_str()), (0, ""));
}

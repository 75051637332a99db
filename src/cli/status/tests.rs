use super::*;
use crate::base::clock::Wall;
use crate::base::id::{CheckId, ClusterId, NodeId};
use crate::base::units::Span;
use crate::config::Settings;
use crate::view::{CheckView, ProbeStats, Quorum};
use std::sync::Arc;

fn render(view: &View) -> String {
    blocks(view).concat()
}

fn bare() -> View {
    View {
        node: NodeId::from_random(1),
        version: "0.1.0".into(),
        at: Wall(0),
        uptime_ms: 0,
        cluster: ClusterId::from_random(2),
        term: 2,
        master: Some(NodeId::from_random(1)),
        acts_for_ms: None,
        quorum: Quorum { ok: true, live: 1, need: 1, of: 1 },
        config_version: 1,
        updated_at: Wall(0),
        updated_by: None,
        settings: Settings::default(),
        peers: Arc::default(),
        checks: crate::view::CheckList::default(),
        table: String::new(),
        alerts: Arc::default(),
        probes: ProbeStats::default(),
        notes: Vec::new(),
    }
}

fn check() -> CheckView {
    CheckView {
        id: CheckId::from_random(3),
        name: "web\u{1b}[2J".into(),
        kind: "tcp".into(),
        target: "a:1".into(),
        expect_status: None,
        body_match: None,
        interval: Span::from_secs(30),
        timeout: Span::from_secs(10),
        enabled: true,
        state: Verdict::Up,
        since: None,
        ok: 2,
        total: 3,
        alerts: Vec::new(),
        suppressed: Vec::new(),
        detail: Some("body\r\nsays: \u{1b}]0;x\u{7}".into()),
        detail_node: None,
        nodes: Vec::new(),
    }
}

#[test]
fn the_exit_status_is_good_only_with_quorum_and_master() {
    assert_eq!(verdict(&bare()), Ok(()));
    let no_master = View { master: None, ..bare() };
    assert!(matches!(verdict(&no_master), Err(Failure::NotNow(why)) if why.starts_with("no master")));
    let quorum = Quorum { ok: false, live: 1, need: 2, of: 3 };
    let alone = View { quorum, ..bare() };
    let want = Failure::NotNow("no quorum (1 of 3 peers live, need 2)".into());
    assert_eq!(verdict(&alone), Err(want));
    let waiting = View { quorum: Quorum { ok: false, live: 0, need: 0, of: 0 }, ..bare() };
    assert!(matches!(verdict(&waiting), Err(Failure::NotNow(why)) if why.contains("notes of qu status")));
}

#[test]
fn what_targets_and_names_say_is_shown_and_not_obeyed() {
    let view = View { checks: [Arc::new(check())].into_iter().collect(), ..bare() };
    let text = render(&view);
    assert!(!text.contains(['\u{1b}', '\r', '\u{7}']), "{text:?}");
    assert_eq!(text.lines().filter(|l| l.contains("web")).count(), 1);
}

#[test]
fn empty_cells_are_dashes_so_that_columns_can_be_counted() {
    let plain = CheckView { name: "db".into(), detail: None, ..check() };
    let view = View { checks: [Arc::new(plain)].into_iter().collect(), ..bare() };
    let text = render(&view);
    let line = text.lines().last().unwrap();
    assert_eq!(line.split_whitespace().skip(1).collect::<Vec<_>>(), ["db", "up", "2/3", "-", "-"]);
}

#[test]
fn a_disabled_check_says_so_instead_of_a_verdict() {
    let view =
        View { checks: [Arc::new(CheckView { enabled: false, ..check() })].into_iter().collect(), ..bare() };
    assert!(render(&view).contains("  disabled  "));
}

#[test]
fn a_table_that_the_daemon_laid_out_looks_as_one_made_here() {
    let many = View { checks: [Arc::new(check())].into_iter().collect(), ..bare() };
    let few = many.filtered(&Filter { table: true, ..Filter::default() }).unwrap();
    assert!(few.checks.is_empty() && few.table.lines().count() == 2);
    assert_eq!(render(&few), render(&many));
}

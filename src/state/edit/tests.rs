use super::super::command::{Body, Change, CheckEdit, Member, Setting};
use super::super::fixture::{Bench, alert, check, node, peer};
use super::*;
use crate::base::units::Span;
use crate::config::{Check, Settings};

fn edited(before: Option<Check>, after: Option<Check>) -> ItemEdit {
    ItemEdit::Check { before, after }
}

fn renamed(n: u32, name: &str) -> Check {
    Check { name: name.parse().unwrap(), ..check(n) }
}

fn try_edit(bench: &mut Bench, items: Vec<ItemEdit>) -> Result<(u64, u32), Refused> {
    let done = bench.tell(Body::HandEdit { items }).result?;
    match done.what {
        What::Edited { items } => Ok((done.version, items)),
        What::Unchanged { .. } => Ok((done.version, 0)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn all_items_of_an_edit_are_one_version() {
    let mut bench = Bench::new();
    let faster = Settings { hysteresis: 3, ..Settings::default() };
    let items = vec![
        edited(Some(check(1)), Some(renamed(1, "web"))),
        edited(None, Some(check(2))),
        ItemEdit::PeerAddress { id: node(2), before: peer(2).advertise, after: peer(9).advertise },
        ItemEdit::Settings { before: Settings::default(), after: faster },
    ];
    assert_eq!(try_edit(&mut bench, items.clone()), Ok((2, 4)));
    assert_eq!(bench.state.cluster().checks[&check(1).id].name.as_str(), "web");
    assert_eq!(bench.state.cluster().settings, faster);
    assert_eq!(try_edit(&mut bench, items), Ok((2, 0)), "it is there already");
}

#[test]
fn edits_of_different_items_merge_and_one_conflict_refuses_all() {
    let mut bench = Bench::new();
    let edit = CheckEdit { timeout: Some(Span::from_secs(3)), ..CheckEdit::default() };
    bench.change(Change::EditCheck { id: check(1).id, edit }).unwrap();
    assert_eq!(try_edit(&mut bench, vec![edited(None, Some(check(2)))]), Ok((3, 1)));
    let items = vec![edited(None, Some(check(3))), edited(Some(check(1)), Some(renamed(1, "web")))];
    let refused = try_edit(&mut bench, items).unwrap_err();
    assert_eq!(refused, Refused::Conflict(vec!["check \"check 1\"".to_owned()]));
    assert!(!bench.state.cluster().checks.contains_key(&check(3).id), "all or nothing");
    assert_eq!(bench.state.cluster().version, 3);
}

#[test]
fn every_way_of_two_edits_meeting() {
    let (old, mine, theirs) = (check(1), renamed(1, "mine"), renamed(1, "theirs"));
    // before, after, what is there, whether it fits
    let cases = [
        (Some(&old), Some(&mine), Some(&old), true),
        (Some(&old), Some(&mine), Some(&mine), true),
        (Some(&old), Some(&mine), Some(&theirs), false),
        (Some(&old), Some(&mine), None, false),
        (Some(&old), None, Some(&old), true),
        (Some(&old), None, None, true),
        (Some(&old), None, Some(&theirs), false),
        (None, Some(&mine), None, true),
        (None, Some(&mine), Some(&mine), true),
        (None, Some(&mine), Some(&theirs), false),
    ];
    for (before, after, there, fits) in cases {
        let mut left = there.cloned();
        let put = |item: Option<Arc<Check>>| left = item.as_deref().cloned();
        assert_eq!(rebase(there, before, after, put), fits, "{before:?} {after:?} {there:?}");
        assert_eq!(left.as_ref(), if fits { after } else { there });
    }
}

#[test]
fn two_names_can_be_swapped_in_one_edit_and_not_made_equal() {
    let mut bench = Bench::new();
    bench.change(Change::AddCheck(check(2))).unwrap();
    let swap = vec![
        edited(Some(check(1)), Some(renamed(1, "check 2"))),
        edited(Some(check(2)), Some(renamed(2, "check 1"))),
    ];
    assert_eq!(try_edit(&mut bench, swap), Ok((3, 2)));
    let twin = vec![edited(Some(renamed(1, "check 2")), Some(renamed(1, "check 1")))];
    assert!(matches!(try_edit(&mut bench, twin), Err(Refused::NameTaken { .. })));
}

#[test]
fn an_alert_that_a_check_still_names_cannot_be_edited_away() {
    let mut bench = Bench::new();
    let own = Check { alert_ids: [alert(1).id].into(), ..check(2) };
    bench.change(Change::AddCheck(own.clone())).unwrap();
    let there = (*bench.state.cluster().alerts[&alert(1).id]).clone();
    let gone = ItemEdit::Alert { before: Some(there), after: None };
    let refused = try_edit(&mut bench, vec![gone.clone()]).unwrap_err();
    assert!(matches!(refused, Refused::UnknownAlert { .. }), "{refused:?}");
    assert_eq!(try_edit(&mut bench, vec![gone, edited(Some(own), Some(check(2)))]), Ok((3, 2)));
}

#[test]
fn one_peer_at_a_time_may_leave_and_the_command_says_so() {
    let mut bench = Bench::new();
    let both = vec![ItemEdit::RemovePeer { id: node(2) }, ItemEdit::RemovePeer { id: node(3) }];
    assert!(matches!(try_edit(&mut bench, both), Err(Refused::Rule(_))));
    let one = vec![ItemEdit::RemovePeer { id: node(2) }];
    assert_eq!(Body::HandEdit { items: one.clone() }.member(), Some(Member::Remove(node(2))));
    assert_eq!(try_edit(&mut bench, one.clone()), Ok((2, 1)));
    assert_eq!(try_edit(&mut bench, one), Ok((2, 0)));
}

#[test]
fn an_item_cannot_change_its_id_and_settings_are_held_to_their_rules() {
    let mut bench = Bench::new();
    let moved = edited(Some(check(1)), Some(check(2)));
    let refused = try_edit(&mut bench, vec![moved]).unwrap_err();
    assert_eq!(refused.to_string(), "check \"check 1\" cannot change its id");
    assert!(try_edit(&mut bench, vec![edited(None, None)]).is_err());
    let after = Settings { hysteresis: 0, ..Settings::default() };
    let broken = ItemEdit::Settings { before: Settings::default(), after };
    assert!(matches!(try_edit(&mut bench, vec![broken.clone()]), Err(Refused::Rule(_))));
    bench.change(Change::Set(Setting::Hysteresis(4))).unwrap();
    assert_eq!(try_edit(&mut bench, vec![broken]), Err(Refused::Conflict(vec!["settings".to_owned()])));
}

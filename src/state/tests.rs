//! Sentences about the state as a whole; `random.rs` holds the laws against chance.

mod random;

use super::command::{AlertEdit, Change, CheckEdit, Reminder, SilenceId};
use super::fixture::{Bench, alert, check, cluster, node, transition};
use super::incidents::Ended;
use super::*;
use crate::base::units::Span;
use crate::config::{Alert, Check, Target};

fn set_enabled(enabled: bool) -> Change {
    let edit = CheckEdit { enabled: Some(enabled), ..CheckEdit::default() };
    Change::EditCheck { id: check(1).id, edit }
}

#[test]
fn which_transitions_are_told() {
    use Verdict::{Down, Unknown, Up};
    for (story, owed) in [
        (&[Up][..], &[][..]),
        (&[Down], &["1D"]),
        (&[Up, Down], &["1D"]),
        (&[Up, Down, Up], &["1D", "1R"]),
        (&[Up, Unknown, Up], &[]),
        (&[Down, Unknown], &["1D"]),
        (&[Down, Unknown, Up], &["1D"]),
        (&[Down, Unknown, Down], &["1D", "1D"]),
    ] {
        let mut bench = Bench::new();
        for to in story {
            bench.turn(&check(1), *to);
        }
        assert_eq!(bench.owed(), owed, "{story:?}");
    }
}

#[test]
fn a_transition_that_does_not_fit_is_ignored() {
    let mut bench = Bench::new();
    bench.change(Change::AddCheck(Check { enabled: false, ..check(2) })).unwrap();
    let elsewhere = Check { timeout: Span::from_secs(1), ..check(1) };
    let before = bench.state.clone();
    let changes = vec![
        transition(&check(1), Verdict::Up, Verdict::Down),
        transition(&check(1), Verdict::Unknown, Verdict::Unknown),
        transition(&elsewhere, Verdict::Unknown, Verdict::Down),
        transition(&check(2), Verdict::Unknown, Verdict::Down),
        transition(&check(3), Verdict::Unknown, Verdict::Down),
    ];
    let applied = bench.tell(Body::Verdicts { changes });
    assert_eq!(applied.result.unwrap().what, What::Verdicts { changed: 0, ignored: 5 });
    assert_eq!(applied.effects, Effects::default());
    assert_eq!(bench.state.verdicts(), before.verdicts());
}

#[test]
fn the_same_transition_twice_in_a_command_is_applied_once() {
    let mut bench = Bench::new();
    let down = transition(&check(1), Verdict::Unknown, Verdict::Down);
    bench.tell(Body::Verdicts { changes: vec![down.clone(), down] });
    assert_eq!(bench.owed(), ["1D"]);
}

#[test]
fn an_incident_keeps_what_was_seen_at_both_ends() {
    let mut bench = Bench::new();
    bench.turn(&check(1), Verdict::Down);
    let start = bench.now();
    let open = bench.state.incidents();
    assert_eq!((open.len(), open[0].start, open[0].end.is_none()), (1, start, true));
    assert_eq!((open[0].detail(), open[0].seen.len()), ("connect: connection refused", 3));
    bench.turn(&check(1), Verdict::Up);
    let closed = bench.state.incident(open[0].id).unwrap();
    let end = closed.end.clone().unwrap();
    assert_eq!((end.at, end.how, end.seen.len()), (bench.now(), Ended::Recovered, 3));
    bench.turn(&check(1), Verdict::Down);
    let ids: Vec<u64> = bench.state.incidents().iter().map(|i| i.id.index).collect();
    assert_eq!(ids, [3, 1], "newest first");
}

#[test]
fn another_target_or_a_switch_ends_the_incident_silently_and_another_timing_does_not() {
    let target = Target::Icmp { host: "elsewhere".parse().unwrap() };
    let retarget = CheckEdit { target: Some(target), ..CheckEdit::default() };
    let retime = CheckEdit { interval: Some(Span::from_secs(60)), ..CheckEdit::default() };
    let id = check(1).id;
    for (change, ended) in [
        (Change::EditCheck { id, edit: retarget }, Some(Ended::Retargeted)),
        (set_enabled(false), Some(Ended::Disabled)),
        (Change::EditCheck { id, edit: retime }, None),
    ] {
        let mut bench = Bench::new();
        bench.turn(&check(1), Verdict::Down);
        let effects = bench.tell(Body::Change(change)).effects;
        assert_eq!(bench.owed(), ["1D"], "what is owed stays owed");
        let end = bench.state.incidents()[0].end.clone();
        assert_eq!(end.map(|end| end.how), ended);
        let verdict = bench.state.verdict(id).unwrap();
        assert_eq!(verdict, if ended.is_some() { Verdict::Unknown } else { Verdict::Down });
        assert_eq!(effects.transitions.len(), usize::from(ended.is_some()));
    }
}

#[test]
fn a_disabled_check_owes_nothing_and_begins_again_from_unknown() {
    let mut bench = Bench::new();
    bench.turn(&check(1), Verdict::Up);
    bench.change(set_enabled(false)).unwrap();
    assert_eq!(bench.state.verdict(check(1).id), Some(Verdict::Unknown));
    bench.turn(&check(1), Verdict::Down);
    assert_eq!(bench.owed(), [""; 0]);
    bench.change(set_enabled(true)).unwrap();
    assert_eq!(bench.state.verdict(check(1).id), Some(Verdict::Unknown));
    bench.turn(&check(1), Verdict::Down);
    assert_eq!(bench.owed(), ["1D"]);
}

#[test]
fn a_removed_check_takes_its_verdict_along_and_leaves_its_debts() {
    let mut bench = Bench::new();
    bench.turn(&check(1), Verdict::Down);
    bench.change(Change::RemoveCheck(check(1).id)).unwrap();
    assert_eq!(bench.state.verdict(check(1).id), None);
    assert_eq!(bench.state.incidents()[0].end.as_ref().map(|end| end.how), Some(Ended::Removed));
    assert_eq!(bench.deliver(1).as_deref(), Some("1D"));
}

#[test]
fn recovered_goes_to_those_who_were_told_down() {
    let mut bench = Bench::new();
    bench.turn(&check(1), Verdict::Down);
    bench.change(Change::AddAlert(Alert { default: true, ..alert(2) })).unwrap();
    bench.turn(&check(1), Verdict::Up);
    assert_eq!(bench.owed(), ["1D", "1R"]);
    bench.deliver(1);
    bench.deliver(1);
    bench.turn(&check(1), Verdict::Down);
    let off = AlertEdit { enabled: Some(false), ..AlertEdit::default() };
    bench.change(Change::EditAlert { id: alert(2).id, edit: off }).unwrap();
    bench.turn(&check(1), Verdict::Up);
    assert_eq!(bench.owed(), ["1D", "2D", "1R"], "a disabled alert is owed nothing new");
}

#[test]
fn a_request_that_comes_twice_is_applied_once_and_answered_twice() {
    let mut bench = Bench::new();
    let request = Some(RequestId::from_random(5));
    let add = Body::Change(Change::AddCheck(check(2)));
    let first = bench.tell_as(request, add.clone());
    let again = bench.tell_as(request, add);
    assert_eq!((again.result, again.repeated), (first.result, true));
    assert_eq!(again.effects, Effects::default());
    assert_eq!(bench.state.cluster().version, 2);
    let bad = Body::Change(Change::RemoveCheck(check(9).id));
    let request = Some(RequestId::from_random(6));
    let refused = bench.tell_as(request, bad.clone());
    assert!(refused.result.is_err());
    assert_eq!(bench.tell_as(request, bad).result, refused.result, "a refusal is a result, too");
    let request = RequestId::from_random(7);
    bench.tell_as(Some(request), Body::Verdicts { changes: vec![] });
    assert_eq!(bench.state.answer(request), None, "nobody asks for those again");
}

#[test]
fn an_entry_that_was_applied_is_not_applied_again() {
    let mut bench = Bench::new();
    bench.turn(&check(1), Verdict::Down);
    let before = bench.state.clone();
    let body = Body::Change(Change::AddCheck(check(2)));
    let command = Command { by: node(1), at: Wall(1), body };
    let applied = bench.state.apply(1, None, Some(&command));
    assert!(applied.repeated);
    assert_eq!(bench.state, before);
    assert_eq!(bench.state.apply(9, None, None).result.unwrap().what, What::Nothing);
    assert_eq!(bench.state.index(), 9);
}

fn silence(check: Option<CheckId>) -> Body {
    Body::Silence { check, length: Span::from_secs(7200), reason: "new disks".into() }
}

#[test]
fn a_silence_keeps_messages_back_and_its_end_tells_what_is_still_down() {
    let mut bench = Bench::new();
    let done = bench.tell(silence(None)).result.unwrap();
    let id = SilenceId(bench.index);
    let until = Wall(bench.now().0 + 7_200_000);
    assert_eq!(done.what, What::Silenced { id, check: None, until });
    bench.turn(&check(1), Verdict::Down);
    let down_at = bench.now();
    assert!(bench.owed().is_empty());
    assert!(bench.state.incidents()[0].silenced);
    bench.tell(Body::EndSilence { id }).result.unwrap();
    assert_eq!(bench.owed(), ["1D"]);
    let owed = bench.state.outbox().all().next().unwrap().clone();
    assert_eq!((owed.about.at, owed.about.seen.len()), (down_at, 3), "it tells of the outage");
    bench.turn(&check(1), Verdict::Up);
    assert_eq!(bench.owed(), ["1D", "1R"]);
}

#[test]
fn what_came_and_went_in_a_silence_is_not_told() {
    let mut bench = Bench::new();
    bench.tell(silence(Some(check(1).id)));
    let id = SilenceId(bench.index);
    bench.turn(&check(1), Verdict::Down);
    bench.turn(&check(1), Verdict::Up);
    bench.tell(Body::EndSilence { id });
    assert!(bench.owed().is_empty());
    assert!(bench.tell(Body::EndSilence { id }).result.is_err());
}

#[test]
fn who_was_told_down_before_a_silence_hears_of_the_recovery_after_it() {
    let mut bench = Bench::new();
    bench.turn(&check(1), Verdict::Down);
    bench.deliver(1);
    bench.tell(silence(None));
    let id = SilenceId(bench.index);
    bench.turn(&check(1), Verdict::Up);
    let up_at = bench.now();
    assert!(bench.owed().is_empty());
    bench.tell(Body::EndSilence { id });
    assert_eq!(bench.owed(), ["1R"]);
    let owed = bench.state.outbox().all().next().unwrap();
    assert_eq!((owed.about.at, owed.about.seen.len()), (up_at, 3));
    assert!(owed.reply_to.is_some() && owed.about.down_since.is_some());
}

#[test]
fn an_outage_that_outlasts_a_silence_is_not_told_twice() {
    let mut bench = Bench::new();
    bench.turn(&check(1), Verdict::Down);
    bench.tell(silence(None));
    let id = SilenceId(bench.index);
    bench.tell(Body::EndSilence { id });
    assert_eq!(bench.owed(), ["1D"]);
}

#[test]
fn a_second_outage_in_a_silence_is_told_after_it_although_the_first_was_told() {
    let mut bench = Bench::new();
    bench.turn(&check(1), Verdict::Down);
    bench.deliver(1);
    bench.tell(silence(None));
    let id = SilenceId(bench.index);
    bench.turn(&check(1), Verdict::Up);
    bench.turn(&check(1), Verdict::Down);
    let began = bench.now();
    bench.tell(Body::EndSilence { id });
    assert_eq!(bench.owed(), ["1D"]);
    assert_eq!(bench.state.outbox().all().next().unwrap().about.down_since, Some(began));
}

#[test]
fn a_removed_check_takes_its_silences_along() {
    let mut bench = Bench::new();
    bench.tell(silence(Some(check(1).id)));
    let effects = bench.tell(Body::Change(Change::RemoveCheck(check(1).id))).effects;
    assert!(effects.silences);
    assert_eq!(bench.state.silences().all().count(), 0);
}

#[test]
fn two_silences_end_with_the_last() {
    let mut bench = Bench::new();
    bench.tell(silence(None));
    bench.tell(silence(Some(check(1).id)));
    bench.turn(&check(1), Verdict::Down);
    bench.tell(Body::EndSilence { id: SilenceId(1) });
    assert!(bench.owed().is_empty());
    assert_eq!(bench.state.due(Wall(u64::MAX)), [Body::EndSilence { id: SilenceId(2) }]);
    bench.tell(Body::EndSilence { id: SilenceId(2) });
    assert_eq!(bench.owed(), ["1D"]);
}

#[test]
fn reminders_come_one_pause_after_the_last_message_and_end_with_the_outage() {
    let mut bench = Bench::new();
    let remind = AlertEdit { remind: Some(Some(Span::from_secs(60))), ..AlertEdit::default() };
    bench.change(Change::EditAlert { id: alert(1).id, edit: remind }).unwrap();
    bench.turn(&check(1), Verdict::Down);
    assert_eq!(bench.state.next_due(), None, "DOWN itself still waits");
    bench.deliver(1);
    let due_at = Wall(bench.now().0 + 60_000);
    assert_eq!(bench.state.next_due(), Some(due_at));
    assert!(bench.state.due(Wall(due_at.0 - 1)).is_empty());
    let due = bench.state.due(due_at);
    let first = Reminder { check: check(1).id, alert: alert(1).id, nth: 1 };
    assert_eq!(due, [Body::Remind { due: vec![first] }]);
    bench.tell(due[0].clone());
    bench.tell(due[0].clone());
    assert_eq!(bench.owed(), ["1M1"], "proposed twice, owed once");
    let reminder = bench.state.outbox().all().next().unwrap();
    assert!(reminder.reply_to.is_some());
    assert_eq!(bench.state.next_due(), None);
    bench.deliver(1);
    bench.tell(due[0].clone());
    assert!(bench.owed().is_empty(), "late, and of the past");
    assert_eq!(bench.state.next_due(), Some(Wall(bench.now().0 + 60_000 - 1_000)));
    bench.turn(&check(1), Verdict::Up);
    assert_eq!(bench.state.next_due(), None);
}

#[test]
fn a_clone_shares_its_parts_and_does_not_follow_what_comes() {
    let mut bench = Bench::new();
    let before = bench.state.clone();
    assert!(Arc::ptr_eq(before.verdicts(), bench.state.verdicts()));
    bench.turn(&check(1), Verdict::Down);
    assert_eq!(before.verdict(check(1).id), Some(Verdict::Unknown));
    assert!(Arc::ptr_eq(before.cluster(), bench.state.cluster()), "what did not change is still shared");
}

/// Ten thousand checks, all down, half of it undelivered: written and read in linear time. (The
/// bound is far above what it takes and far below what anything quadratic would.)
#[test]
fn ten_thousand_checks_are_written_and_read_quickly() {
    let mut world = cluster(3);
    let checks: Vec<Check> = (1..=10_000).map(check).collect();
    world.checks = checks.iter().map(|c| (c.id, Arc::new(c.clone()))).collect();
    world.alerts.insert(alert(1).id, Arc::new(Alert { default: true, ..alert(1) }));
    let mut state = State::found(world);
    for (batch, index) in checks.chunks(500).zip(1..) {
        let changes = batch.iter().map(|c| transition(c, Verdict::Unknown, Verdict::Down)).collect();
        let command = Command { by: node(1), at: Wall(index), body: Body::Verdicts { changes } };
        let applied = state.apply(index, None, Some(&command));
        assert_eq!(applied.effects.owed.len(), 500);
    }
    let text = snapshot::to_text(&state).unwrap();
    assert_eq!(snapshot::from_text(&text).unwrap(), state);
    let heads = state.outbox().heads(alert(1).id).count();
    assert_eq!(heads, 10_000);
}

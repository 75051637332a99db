//! Lanes beside each other, mastership that ends, stopping.

use super::*;

#[test]
fn a_silent_destination_delays_no_other() {
    let world = World::new();
    let silent = SmtpSink::start(SmtpOptions::default()).unwrap();
    silent.set_mood(SmtpMood::Silent);
    let silent_hook = WebhookSink::start().unwrap();
    silent_hook.set_mood(WebhookMood::Silent);
    let good = SmtpSink::start(SmtpOptions::default()).unwrap();
    world.offer(&mail_alert(1, &silent), 1, Kind::Down);
    world.offer(&webhook_alert(2, &silent_hook), 1, Kind::Down);
    let begun = world.clock.mono();
    let alert = mail_alert(3, &good);
    for index in 1..=5 {
        world.offer(&alert, index, Kind::Down);
    }
    for index in 1..=5 {
        assert_eq!(world.end(), (index, None));
    }
    assert!(world.clock.mono().since(begun) < 2000 * MS);
    assert_eq!(world.desk.status().iter().map(|s| s.queued).collect::<Vec<_>>(), [1, 1, 0]);
}

#[test]
fn down_comes_before_its_recovery_however_often_it_fails() {
    let (world, sink) = (World::new(), SmtpSink::start(SmtpOptions::default()).unwrap());
    sink.script(&[SmtpMood::Refuse(451), SmtpMood::Greet(421), SmtpMood::Refuse(451)]);
    let alert = mail_alert(1, &sink);
    world.offer(&alert, 1, Kind::Down);
    world.offer(&alert, 2, Kind::Recovered);
    assert_eq!((world.end(), world.end()), ((1, None), (2, None)));
    let ids: Vec<String> = sink.wait(4, LIMIT).iter().filter_map(|m| m.header("message-id")).collect();
    assert!(
        ids[..3].iter().all(|id| id == "<1.0.cluster@quptime>") && ids[3] == "<2.0.cluster@quptime>",
        "{ids:?}"
    );
}

#[test]
fn a_dead_destination_that_comes_back_gets_one_summary_instead_of_a_flood() {
    let world = World::with(Timing { fold_after: Duration::ZERO, ..quick() }, None);
    let sink = WebhookSink::start().unwrap();
    sink.set_mood(WebhookMood::Answer(Answer::status(503)));
    let alert = webhook_alert(1, &sink);
    world.may_send.store(false, Ordering::SeqCst);
    for index in 1..=5 {
        world.offer(&alert, index, if index % 2 == 1 { Kind::Down } else { Kind::Recovered });
    }
    world.may_send.store(true, Ordering::SeqCst);
    assert!(!sink.wait(1, LIMIT).is_empty());
    sink.set_mood(WebhookMood::Answer(Answer::status(204)));
    let mut ended: Vec<u64> = (1..=5).map(|_| world.end().0).collect();
    ended.sort_unstable();
    assert_eq!(ended, [1, 2, 3, 4, 5]);
    let accepted: Vec<_> = sink.posts().into_iter().filter(|p| p.answer == 204).collect();
    assert_eq!(accepted.len(), 1);
    assert!(accepted[0].body.contains("DOWN after 5 changes"), "{}", accepted[0].body);
}

#[test]
fn without_permission_nothing_is_sent_and_with_it_at_once() {
    let (world, sink) = (World::new(), SmtpSink::start(SmtpOptions::default()).unwrap());
    world.may_send.store(false, Ordering::SeqCst);
    let alert = mail_alert(1, &sink);
    world.offer(&alert, 1, Kind::Down);
    assert!(sink.wait(1, 300 * MS).is_empty());
    world.may_send.store(true, Ordering::SeqCst);
    assert_eq!(world.end(), (1, None));
}

#[test]
fn permission_is_asked_again_right_before_the_message_is_handed_over() {
    let sink = SmtpSink::start(SmtpOptions::default()).unwrap();
    let (tell, ends) = unbounded();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    // Yes at the beginning of each attempt, no at its last moment.
    let may: MaySend = Arc::new(move || count.fetch_add(1, Ordering::SeqCst).is_multiple_of(2));
    let desk = Desk::with(Arc::new(RealClock::new()), may, tell, quick(), None);
    let job = Job { id: id(1), owed_at: Wall(0), facts: facts(1, Kind::Down) };
    desk.offer(&mail_alert(1, &sink), job);
    until("four questions", || asked.load(Ordering::SeqCst) >= 4);
    assert!(sink.mails().is_empty() && ends.try_recv().is_err());
}

#[test]
fn the_end_of_mastership_empties_the_lanes_and_reports_what_was_in_flight() {
    let (world, sink) = (World::new(), WebhookSink::start().unwrap());
    sink.set_mood(WebhookMood::Answer(Answer::status(503)));
    let alert = webhook_alert(1, &sink);
    for index in 1..=3 {
        world.offer(&alert, index, Kind::Down);
    }
    assert!(!sink.wait(1, LIMIT).is_empty());
    world.desk.stop_all();
    let posts = sink.posts().len();
    sink.set_mood(WebhookMood::Answer(Answer::status(204)));
    assert!(sink.wait(posts + 2, 300 * MS).len() <= posts + 1, "one may have been on its way");
    assert_eq!(world.status(&alert).queued, 0);

    while world.ends.try_recv().is_ok() {}
    assert_ne!(world.offer(&alert, 9, Kind::Down), Offer::Stopped, "the next mastership offers again");
    assert_eq!(world.end(), (9, None));
}

#[test]
fn a_removed_alert_loses_its_lane_and_a_repaired_one_is_tried_at_once() {
    let timing =
        Timing { first_pause: Duration::from_secs(30), longest_pause: Duration::from_secs(30), ..quick() };
    let world = World::with(timing, None);
    let (sink, other) = (WebhookSink::start().unwrap(), WebhookSink::start().unwrap());
    sink.set_mood(WebhookMood::Answer(Answer::status(500)));
    let (broken, removed) = (webhook_alert(1, &sink), webhook_alert(2, &sink));
    world.offer(&broken, 1, Kind::Down);
    world.offer(&removed, 1, Kind::Down);
    until("two failures", || world.desk.status().iter().all(|s| s.next_try.is_some()));
    let repaired = webhook_alert(1, &other);
    world.desk.set_alerts(&BTreeMap::from([(repaired.id, repaired)]));
    assert_eq!(world.end(), (1, None));
    assert_eq!(other.posts().len(), 1);
    assert_eq!(world.desk.status().len(), 1);
}

#[test]
fn a_worker_without_work_ends_and_the_next_message_starts_another() {
    let world = World::with(Timing { idle: 20 * MS, ..quick() }, None);
    let sink = SmtpSink::start(SmtpOptions::default()).unwrap();
    let alert = mail_alert(1, &sink);
    for index in 1..=2 {
        world.offer(&alert, index, Kind::Down);
        assert_eq!(world.end(), (index, None));
        until("no worker", || *locked(&world.desk.shared.workers) == 0);
    }
}

#[test]
fn stopping_takes_a_second_even_when_a_destination_hangs_and_nothing_is_sent_after() {
    let (world, hanging) = (World::new(), SmtpSink::start(SmtpOptions::default()).unwrap());
    hanging.set_mood(SmtpMood::Silent);
    let alert = mail_alert(1, &hanging);
    world.offer(&alert, 1, Kind::Down);
    world.offer(&alert, 2, Kind::Recovered);
    until("the attempt", || *locked(&world.desk.shared.workers) == 1);
    let begun = world.clock.mono();
    world.desk.stop();
    assert!(world.clock.mono().since(begun) < 1500 * MS);
    hanging.set_mood(SmtpMood::Accept);
    assert_eq!(world.offer(&alert, 3, Kind::Down), Offer::Stopped);
    assert!(world.test(&alert, Kind::TestDown).is_err());
    until("the worker that was left behind", || *locked(&world.desk.shared.workers) == 0);
    assert!(hanging.mails().is_empty());
}

#[test]
fn a_full_channel_of_outcomes_blocks_no_offer() {
    let sink = SmtpSink::start(SmtpOptions::default()).unwrap();
    let (tell, ends) = bounded(1);
    let desk = Desk::with(Arc::new(RealClock::new()), Arc::new(|| true), tell, quick(), None);
    let alert = mail_alert(1, &sink);
    let job = |index| Job { id: id(index), owed_at: Wall(0), facts: facts(index, Kind::Down) };
    desk.offer(&alert, job(1));
    assert_eq!(sink.wait(1, LIMIT).len(), 1);
    until("the first outcome", || !ends.is_empty());
    // The channel is full now; an offer of what has ended must come back all the same.
    for _ in 0..3 {
        assert_eq!(desk.offer(&alert, job(1)), Offer::Known);
    }
    desk.offer(&alert, job(2));
    let ended: Vec<u64> = (0..2).map(|_| ends.recv_timeout(LIMIT).unwrap().id.index).collect();
    assert_eq!(ended, [1, 2]);
}

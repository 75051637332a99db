use super::*;
use crate::config::{Channel, Secret};

const SECOND: Duration = Duration::from_secs(1);
const NOON: Wall = Wall(1_778_598_000_000);

struct World {
    lane: Lane,
    timing: Timing,
    now: Mono,
    wall: Wall,
    rng: Rng,
}

fn alert(webhook: &str) -> Arc<Alert> {
    Arc::new(Alert {
        id: AlertId::from_random(7),
        name: "ops".parse().unwrap(),
        default: false,
        enabled: true,
        remind: None,
        subject_template: None,
        body_template: None,
        channel: Channel::Discord { webhook: Secret::new(webhook) },
    })
}

fn id(index: u64) -> DeliveryId {
    DeliveryId { index, n: 0 }
}

impl World {
    fn new() -> World {
        let lane = Lane::new(alert("http://127.0.0.1/"));
        World { lane, timing: Timing::default(), now: Mono(1 << 40), wall: NOON, rng: Rng::new(1) }
    }

    fn offer(&mut self, index: u64, kind: Kind) -> Offered {
        let facts = Facts { id: index.to_string(), ..Facts::sample(kind) };
        let job = Job { id: id(index), owed_at: self.wall, facts };
        let alert = Arc::clone(&self.lane.alert);
        self.lane.offer(&alert, job, self.now)
    }

    fn advance(&mut self, by: Duration) {
        self.now = self.now + by;
        self.wall = Wall(self.wall.0 + u64::try_from(by.as_millis()).unwrap());
    }

    /// The batch that is due, waiting for it if need be.
    fn next(&mut self) -> Option<Batch> {
        loop {
            match self.lane.next(&self.timing, self.now, self.wall) {
                Next::Idle => return None,
                Next::In(wait) => self.advance(wait),
                Next::Try(batch) => return Some(*batch),
            }
        }
    }

    fn settle(&mut self, batch: &Batch, tried: Tried) -> Vec<(DeliveryId, Fate)> {
        let now = (self.now, self.wall);
        let ended = self.lane.settle(AlertId::from_random(7), batch, tried, &self.timing, now, &mut self.rng);
        ended.into_iter().map(|o| (o.id, o.fate)).collect()
    }

    fn fail(&mut self) -> Vec<(DeliveryId, Fate)> {
        let batch = self.next().unwrap();
        self.settle(&batch, Tried::failed("no".to_owned()))
    }
}

fn sent() -> Tried {
    Tried::Sent { left: Vec::new(), note: None, pause: None }
}

#[test]
fn messages_leave_in_order_and_a_failing_one_holds_up_the_rest() {
    let mut w = World::new();
    assert!(matches!(w.offer(1, Kind::Down), Offered::Queued));
    assert!(matches!(w.offer(2, Kind::Recovered), Offered::Queued));
    assert!(matches!(w.offer(1, Kind::Down), Offered::Waiting));
    assert_eq!(w.fail(), []);
    let first = w.next().unwrap();
    assert_eq!(first.ids, [id(1)]);
    assert_eq!(w.settle(&first, sent()), [(id(1), Fate::Delivered)]);
    let second = w.next().unwrap();
    assert_eq!(second.ids, [id(2)]);
    assert_eq!(w.settle(&second, sent()), [(id(2), Fate::Delivered)]);
    assert!(w.next().is_none());
    assert!(matches!(w.offer(2, Kind::Recovered), Offered::Ended(Fate::Delivered)));
}

#[test]
fn pauses_grow_from_a_second_to_ten_minutes_and_end_after_a_day() {
    let mut w = World::new();
    w.offer(1, Kind::Down);
    let begun = w.now;
    let mut pauses = Vec::new();
    let ended = loop {
        let ended = w.fail();
        pauses.push(w.lane.next_try.since(w.now).as_secs_f64());
        if !ended.is_empty() {
            break ended;
        }
        assert!(w.now.since(begun) < Duration::from_secs(90_000));
    };
    assert!((0.7..1.3).contains(&pauses[0]) && (1.4..2.6).contains(&pauses[1]), "{pauses:?}");
    assert!(pauses[15..40].iter().all(|p| (450.0..=750.0).contains(p)), "{pauses:?}");
    let why = "not accepted within 1d: no".to_owned();
    assert_eq!(ended, [(id(1), Fate::GaveUp { why })]);
    assert!(w.now.since(begun) >= Duration::from_secs(86_400));
}

#[test]
fn what_waited_behind_for_a_day_is_given_up_with_the_front_and_the_younger_stays() {
    let mut w = World::new();
    w.offer(1, Kind::Down);
    w.offer(2, Kind::Down);
    w.fail();
    w.fail();
    w.advance(Duration::from_secs(86_300));
    w.lane.queue[1].facts.check_id = "another".to_owned();
    w.offer(3, Kind::Recovered);
    w.lane.queue[2].facts.check_id = "third".to_owned();
    w.advance(Duration::from_secs(200));
    let given_up: Vec<DeliveryId> = w.fail().into_iter().map(|(id, _)| id).collect();
    assert_eq!(given_up, [id(1), id(2)]);
    assert_eq!(w.next().unwrap().ids, [id(3)]);
}

#[test]
fn a_wall_clock_that_jumps_a_year_gives_nothing_up_at_once() {
    let mut w = World::new();
    w.wall = Wall(0);
    w.offer(1, Kind::Down);
    w.wall = NOON;
    for _ in 0..5 {
        assert_eq!(w.fail(), [], "a time before 2020 is no time to count from");
    }
    let mut w = World::new();
    w.offer(1, Kind::Down);
    w.wall = Wall(NOON.0 + 366 * 86_400_000);
    assert_eq!(w.fail(), []);
    assert_eq!(w.fail(), []);
    assert_eq!(w.fail().len(), 1);
}

#[test]
fn retry_after_is_obeyed_and_bounded() {
    let mut w = World::new();
    w.offer(1, Kind::Down);
    for (asked, least, most) in [(90, 90, 91), (0, 1, 2), (1_000_000_000, 86_400, 86_401)] {
        let batch = w.next().unwrap();
        let before = w.now;
        w.settle(
            &batch,
            Tried::Failed { why: "slow".to_owned(), retry_after: Some(Duration::from_secs(asked)) },
        );
        let pause = w.lane.next_try.since(before);
        assert!(
            (Duration::from_secs(least)..=Duration::from_secs(most)).contains(&pause),
            "{asked} {pause:?}"
        );
    }
}

#[test]
fn a_quota_that_is_used_up_delays_the_next_message() {
    let mut w = World::new();
    w.offer(1, Kind::Down);
    w.offer(2, Kind::Recovered);
    let batch = w.next().unwrap();
    w.settle(&batch, Tried::Sent { left: Vec::new(), note: None, pause: Some(5 * SECOND) });
    let before = w.now;
    assert_eq!(w.next().unwrap().ids, [id(2)]);
    assert_eq!(w.now.since(before), 5 * SECOND);
}

#[test]
fn a_refusal_is_final_and_the_next_message_follows() {
    let mut w = World::new();
    w.offer(1, Kind::Down);
    w.offer(2, Kind::Recovered);
    let batch = w.next().unwrap();
    let fate = Fate::GaveUp { why: "550 no".to_owned() };
    assert_eq!(w.settle(&batch, Tried::Refused { why: "550 no".to_owned() }), [(id(1), fate.clone())]);
    assert!(matches!(w.offer(1, Kind::Down), Offered::Ended(f) if f == fate));
    assert_eq!(w.next().unwrap().ids, [id(2)]);
}

#[test]
fn an_old_backlog_about_one_check_is_told_in_one_message() {
    let mut w = World::new();
    w.offer(1, Kind::Down);
    w.offer(2, Kind::Recovered);
    w.offer(3, Kind::Down);
    w.offer(4, Kind::Down);
    w.lane.queue[3].facts.check_id = "another".to_owned();
    assert_eq!(w.next().unwrap().ids, [id(1)], "a young backlog is told one by one");
    w.fail();
    w.advance(w.timing.fold_after);
    let batch = w.next().unwrap();
    assert_eq!(batch.ids, [id(1), id(2), id(3)]);
    assert_eq!((batch.facts.kind, batch.facts.id.as_str()), (Kind::Summary, "3"));
    w.offer(5, Kind::Recovered);
    w.settle(&batch, Tried::failed("no".to_owned()));
    let batch = w.next().unwrap();
    assert_eq!(batch.ids, [id(1), id(2), id(3), id(5)]);
    assert_eq!((batch.facts.folded.len(), batch.facts.id.as_str()), (4, "5"));
    let ended: Vec<DeliveryId> = w.settle(&batch, sent()).into_iter().map(|(id, _)| id).collect();
    assert_eq!(ended, [id(1), id(2), id(3), id(5)]);
    assert_eq!(w.next().unwrap().ids, [id(4)]);
}

#[test]
fn down_and_its_recovery_stay_two_messages_and_reminders_fall_away() {
    let mut w = World::new();
    w.offer(1, Kind::Down);
    w.offer(2, Kind::Reminder);
    w.offer(3, Kind::Reminder);
    w.advance(w.timing.fold_after);
    let batch = w.next().unwrap();
    assert_eq!((batch.facts.kind, batch.ids.len()), (Kind::Down, 3));
    w.settle(&batch, Tried::failed("no".to_owned()));
    w.offer(4, Kind::Recovered);
    assert_eq!(w.next().unwrap().facts.kind, Kind::Down);
}

#[test]
fn a_full_lane_takes_no_more_until_there_is_room() {
    let mut w = World::new();
    for index in 0..QUEUE as u64 {
        assert!(matches!(w.offer(index, Kind::Down), Offered::Queued));
    }
    assert!(matches!(w.offer(99, Kind::Down), Offered::Full));
    let batch = w.next().unwrap();
    w.settle(&batch, sent());
    assert!(matches!(w.offer(99, Kind::Down), Offered::Queued));
}

#[test]
fn recipients_that_put_the_message_off_are_tried_alone_and_not_for_ever() {
    let mut w = World::new();
    w.offer(1, Kind::Down);
    w.offer(2, Kind::Recovered);
    let late: Vec<Mailbox> = vec!["late@example.com".parse().unwrap()];
    let partly = Tried::Sent { left: late.clone(), note: Some("451 later".to_owned()), pause: None };
    let batch = w.next().unwrap();
    assert_eq!(batch.only, None);
    assert_eq!(w.settle(&batch, partly.clone()), []);
    let begun = w.now;
    let ended = loop {
        let batch = w.next().unwrap();
        assert_eq!((batch.ids.as_slice(), batch.only.as_ref()), ([id(1)].as_slice(), Some(&late)));
        let ended = w.settle(&batch, Tried::failed("451 still later".to_owned()));
        if !ended.is_empty() {
            break ended;
        }
    };
    assert_eq!(ended, [(id(1), Fate::Delivered)]);
    assert!((60..120).contains(&w.now.since(begun).as_secs()));
    let status = w.lane.status(AlertId::from_random(7), w.now, w.wall);
    assert_eq!(status.last_error.unwrap().1, "451 still later");
    assert_eq!(w.next().unwrap().ids, [id(2)]);

    let mut w = World::new();
    w.offer(1, Kind::Down);
    let batch = w.next().unwrap();
    w.settle(&batch, partly);
    let batch = w.next().unwrap();
    let refused = Tried::Refused { why: "550 never".to_owned() };
    assert_eq!(w.settle(&batch, refused), [(id(1), Fate::Delivered)], "others have it");
}

#[test]
fn what_was_cleared_while_it_was_tried_is_reported_when_it_got_there_and_else_forgotten() {
    let mut w = World::new();
    w.offer(1, Kind::Down);
    let batch = w.next().unwrap();
    w.lane.clear();
    assert_eq!(w.settle(&batch, sent()), [(id(1), Fate::Delivered)]);

    let mut w = World::new();
    w.offer(1, Kind::Down);
    let batch = w.next().unwrap();
    w.lane.clear();
    assert!(matches!(w.offer(1, Kind::Down), Offered::Queued), "the next mastership offers it again");
    assert_eq!(w.settle(&batch, sent()), [(id(1), Fate::Delivered)]);
    assert!(w.next().is_none(), "and it is not sent twice");

    let mut w = World::new();
    w.offer(1, Kind::Down);
    let batch = w.next().unwrap();
    w.lane.clear();
    assert_eq!(w.settle(&batch, Tried::failed("no".to_owned())), []);
    assert!(w.next().is_none());
}

#[test]
fn another_channel_is_tried_at_once_and_a_message_in_flight_is_not_withdrawn() {
    let mut w = World::new();
    w.offer(1, Kind::Down);
    for _ in 0..10 {
        w.fail();
    }
    let renamed = Arc::new(Alert { name: "new".parse().unwrap(), ..(*w.lane.alert).clone() });
    w.lane.set_alert(&renamed, w.now);
    assert!(w.lane.next_try > w.now, "another name repairs nothing");
    w.lane.set_alert(&alert("http://127.0.0.1/repaired"), w.now);
    let before = w.now;
    assert!(!w.lane.busy.contains(&id(1)));
    w.next().unwrap();
    assert_eq!(w.now, before);
    assert!(!w.lane.withdraw(id(1)));
    w.offer(2, Kind::Recovered);
    assert!(w.lane.withdraw(id(2)));
    assert_eq!(w.lane.waiting(), 1);
}

use super::super::command::Body;
use super::super::fixture::{Bench, alert, check};
use super::*;

fn turn(bench: &mut Bench, to: Verdict) {
    bench.turn(&check(1), to);
}

#[test]
fn only_the_first_of_a_lane_may_be_on_its_way() {
    let mut bench = Bench::new();
    turn(&mut bench, Verdict::Down);
    turn(&mut bench, Verdict::Up);
    assert_eq!(bench.owed(), ["1D", "1R"]);
    let heads: Vec<String> =
        bench.state.outbox().heads(alert(1).id).map(|delivery| bench.word(delivery)).collect();
    assert_eq!(heads, ["1D"]);
    assert_eq!(bench.deliver(1).as_deref(), Some("1D"));
    assert_eq!(bench.deliver(1).as_deref(), Some("1R"));
    assert_eq!(bench.deliver(1), None);
}

#[test]
fn recovered_answers_its_down() {
    let mut bench = Bench::new();
    turn(&mut bench, Verdict::Down);
    let down = bench.state.outbox().all().next().unwrap().clone();
    assert_eq!((down.reply_to, down.about.down_since), (None, Some(down.about.at)));
    bench.deliver(1);
    turn(&mut bench, Verdict::Up);
    let up = bench.state.outbox().all().next().unwrap().clone();
    assert_eq!(up.reply_to, Some(ReplyTo { id: down.id, at: down.owed_at }));
    assert_eq!(up.about.down_since, Some(down.about.at));
    assert_eq!(up.about.incident, down.about.incident);
}

#[test]
fn what_piles_up_behind_the_first_becomes_one_summary() {
    let mut bench = Bench::new();
    for to in [Verdict::Down, Verdict::Up, Verdict::Down] {
        turn(&mut bench, to);
    }
    assert_eq!(bench.owed(), ["1D", "1Sud0"]);
    let (first, folded) = {
        let mut all = bench.state.outbox().all();
        (all.next().unwrap().clone(), all.next().unwrap().clone())
    };
    assert_eq!(folded.reply_to.map(|r| r.id), Some(first.id));
    turn(&mut bench, Verdict::Up);
    assert_eq!(bench.owed(), ["1D", "1Sudu0"]);
    assert_eq!(bench.deliver(1).as_deref(), Some("1D"));
    turn(&mut bench, Verdict::Down);
    assert_eq!(bench.owed(), ["1Sudu0", "1D"], "the summary may be on its way: it is left alone");
    turn(&mut bench, Verdict::Up);
    assert_eq!(bench.owed(), ["1Sudu0", "1Sdu0"]);
}

#[test]
fn recovered_after_a_summary_that_ended_down_answers_the_summary() {
    let mut bench = Bench::new();
    for to in [Verdict::Down, Verdict::Up, Verdict::Down] {
        turn(&mut bench, to);
    }
    bench.deliver(1);
    let summary = bench.state.outbox().all().next().unwrap().id;
    bench.deliver(1);
    turn(&mut bench, Verdict::Up);
    let up = bench.state.outbox().all().next().unwrap();
    assert_eq!((up.kind.clone(), up.reply_to.map(|r| r.id)), (Kind::Recovered, Some(summary)));
}

#[test]
fn a_summary_tells_the_newest_and_counts_the_rest() {
    let mut bench = Bench::new();
    let mut steps = 0;
    for _ in 0..MOST_STEPS {
        turn(&mut bench, Verdict::Down);
        turn(&mut bench, Verdict::Up);
        steps += 2;
    }
    assert_eq!(bench.state.outbox().len(), 2);
    let Kind::Summary { steps: told, left_out } = &bench.state.outbox().all().nth(1).unwrap().kind else {
        panic!("no summary");
    };
    // The very first DOWN is the message before the summary.
    assert_eq!((told.len(), told.len() + *left_out as usize), (MOST_STEPS, steps - 1));
    assert_eq!(told.last().map(|s| s.to), Some(Verdict::Up));
}

#[test]
fn folding_says_what_became_of_the_folded() {
    let mut bench = Bench::new();
    turn(&mut bench, Verdict::Down);
    turn(&mut bench, Verdict::Up);
    let second = bench.state.outbox().all().nth(1).unwrap().id;
    let effects = bench.turn(&check(1), Verdict::Down).effects;
    assert_eq!(effects.settled, [(second, Settled::Folded(effects.owed[0]))]);
    assert!(effects.queues.contains(&alert(1).id));
    let late = bench.tell(Body::Delivered { delivery: second }).effects;
    assert!(late.settled.is_empty(), "it is not owed any more");
}

#[test]
fn settling_twice_is_settling_once() {
    let mut bench = Bench::new();
    turn(&mut bench, Verdict::Down);
    let id = bench.state.outbox().all().next().unwrap().id;
    bench.tell(Body::GaveUp { delivery: id, why: "550 no such user".into() });
    let at = bench.now();
    bench.tell(Body::GaveUp { delivery: id, why: "again".into() });
    bench.tell(Body::Delivered { delivery: id });
    let standing = bench.state.outbox().standing(alert(1).id);
    assert_eq!((standing.delivered, standing.given_up), (0, 1));
    assert_eq!(standing.last_error, Some((at, "550 no such user".to_owned())));
    turn(&mut bench, Verdict::Up);
    bench.deliver(1);
    let standing = bench.state.outbox().standing(alert(1).id);
    assert_eq!((standing.delivered, standing.last_success), (1, Some(bench.now())));
}

#[test]
fn beyond_the_bound_the_longest_queue_gives_up_its_oldest() {
    let message = |index: usize, to: u8| Delivery {
        id: DeliveryId { index: index as u64, n: 0 },
        owed_at: Wall(0),
        alert: alert(to).id,
        kind: Kind::Down,
        reply_to: None,
        about: Arc::new(About {
            check: CheckId::from_random((index as u128) << 96),
            name: "web".into(),
            check_type: String::new(),
            target: String::new(),
            incident: None,
            from: Verdict::Up,
            to: Verdict::Down,
            seen: vec![],
            peers: 1,
            at: Wall(0),
            by: super::super::fixture::node(1),
            down_since: None,
        }),
    };
    let mut outbox = Outbox::default();
    assert!(outbox.owe(message(0, 2), Wall(1)).is_empty());
    for index in 1..MOST_OWED {
        assert!(outbox.owe(message(index, 1), Wall(1)).is_empty());
    }
    let gone = outbox.owe(message(MOST_OWED, 2), Wall(2));
    assert!(
        matches!(gone.as_slice(), [(whose, id, Settled::GaveUp(_))] if *whose == alert(1).id && id.index == 1)
    );
    assert_eq!((outbox.len(), outbox.queue_length(alert(2).id)), (MOST_OWED, 2));
    assert!(outbox.standing(alert(1).id).last_error.unwrap().1.contains("were waiting"));
}

#[test]
fn a_removed_alert_is_owed_nothing() {
    let mut bench = Bench::new();
    turn(&mut bench, Verdict::Down);
    let removed = bench.tell(Body::Change(super::super::command::Change::RemoveAlert(alert(1).id)));
    assert!(matches!(removed.effects.settled.as_slice(), [(_, Settled::AlertRemoved)]));
    assert!(bench.state.outbox().is_empty());
    turn(&mut bench, Verdict::Up);
    assert!(bench.state.outbox().is_empty());
}

use super::*;
use crate::base::clock::Wall;
use crate::base::id::ClusterId;
use crate::base::rng::Rng;
use crate::base::units::HostPort;
use crate::config::{Peer, Settings, Target};
use crate::identity::Fingerprint;
use crate::verdict::Stage;

const T0: Mono = Mono(3_600_000_000_000);

fn at(seconds: u64) -> Mono {
    T0 + Duration::from_secs(seconds)
}

fn node(n: u8) -> NodeId {
    NodeId::from_random(u128::from(n) << 100)
}

fn check(n: u32) -> Check {
    Check {
        id: CheckId::from_random(u128::from(n) << 90),
        name: format!("check {n}").parse().unwrap(),
        target: Target::Tcp { to: "example.com:80".parse().unwrap() },
        interval: Span::from_secs(30),
        timeout: Span::from_secs(10),
        alert_ids: BTreeSet::new(),
        suppress_alert_ids: BTreeSet::new(),
        enabled: true,
    }
}

fn cluster(nodes: u8, checks: &[Check]) -> Cluster {
    let peer = |n: u8| Peer {
        node_id: node(n),
        advertise: format!("node{n}:9901").parse::<HostPort>().unwrap(),
        fingerprint: Fingerprint([n; 32]),
        cert_pem: String::new(),
    };
    Cluster {
        id: ClusterId::from_random(1),
        version: 1,
        updated_at: Wall(0),
        updated_by: None,
        settings: Settings::default(),
        peers: (1..=nodes).map(|n| (node(n), peer(n))).collect(),
        checks: checks.iter().map(|c| (c.id, Arc::new(c.clone()))).collect(),
        alerts: BTreeMap::new(),
    }
}

fn report(round: u64, ok: bool) -> Report {
    let failed = Outcome::Failed { stage: Stage::Connect, detail: "connect: connection refused".into() };
    Report {
        check: check(1).id,
        boot: 7,
        round,
        of: definition(&check(1)),
        took_ms: 5,
        outcome: if ok { Outcome::Ok } else { failed },
    }
}

/// A tally over one check and the verdict that the state would hold.
struct Bench {
    tally: Tally,
    cluster: Cluster,
    verdict: Verdict,
}

impl Bench {
    fn new(nodes: u8, verdict: Verdict) -> Bench {
        let cluster = cluster(nodes, &[check(1)]);
        Bench { tally: Tally::new(T0, &cluster), cluster, verdict }
    }

    fn hear(&mut self, seconds: u64, from: u8, round: u64, ok: bool) -> Taken {
        self.tally.take(at(seconds), node(from), &report(round, ok))
    }

    fn poll(&mut self, seconds: u64) -> Option<Transition> {
        let verdict = self.verdict;
        let mut changes = self.tally.poll(at(seconds), 100, |_| Some(verdict));
        assert!(changes.len() <= 1);
        changes.pop()
    }

    /// The change that is proposed, committed at once.
    fn turn(&mut self, seconds: u64) -> Option<Verdict> {
        let change = self.poll(seconds)?;
        assert_eq!(change.from, self.verdict);
        self.verdict = change.to;
        self.tally.clear(change.check);
        assert_eq!(self.poll(seconds), None, "applied, and still called for");
        Some(change.to)
    }
}

#[test]
fn two_rounds_of_a_majority_change_the_verdict_and_one_does_not() {
    let mut bench = Bench::new(3, Verdict::Up);
    bench.hear(1, 1, 1, false);
    bench.hear(2, 2, 1, false);
    assert_eq!(bench.turn(2), None, "one evaluation");
    bench.hear(3, 3, 1, false);
    assert_eq!(bench.turn(3), None, "the third of the same round is not another evaluation");
    bench.hear(31, 1, 2, false);
    let change = bench.poll(31).unwrap();
    assert_eq!((change.from, change.to, change.peers), (Verdict::Up, Verdict::Down, 3));
    assert_eq!(change.seen.iter().map(|s| s.node).collect::<Vec<_>>(), [node(1), node(2), node(3)]);
    assert_eq!(change.of, definition(&check(1)));
}

#[test]
fn the_same_report_twice_is_one_report() {
    let mut bench = Bench::new(3, Verdict::Up);
    for _ in 0..3 {
        bench.hear(1, 1, 1, false);
        bench.hear(2, 2, 1, false);
    }
    assert_eq!(bench.hear(3, 1, 1, false), Taken::Again);
    assert_eq!(bench.turn(3), None);
    bench.hear(31, 1, 2, false);
    assert_eq!(bench.turn(31), None, "one node's second round is not a quorum of second rounds");
    bench.hear(32, 2, 2, false);
    assert_eq!(bench.turn(32), Some(Verdict::Down));
}

#[test]
fn one_liar_and_one_dead_node_of_three_change_nothing() {
    let mut bench = Bench::new(3, Verdict::Up);
    for round in 1..20 {
        bench.hear(round * 30, 1, round, true);
        bench.hear(round * 30 + 1, 2, round, false);
        assert_eq!(bench.turn(round * 30 + 2), None);
    }
}

#[test]
fn a_node_that_died_does_not_hold_the_others_up() {
    let mut bench = Bench::new(3, Verdict::Up);
    for n in 1..=3 {
        bench.hear(u64::from(n), n, 1, false);
    }
    // Node 3 says nothing any more; its failure stays fresh for 90 s.
    bench.hear(31, 1, 2, false);
    bench.hear(32, 2, 2, false);
    assert_eq!(bench.turn(32), Some(Verdict::Down));
}

#[test]
fn a_moment_without_a_majority_ends_the_row() {
    let mut bench = Bench::new(3, Verdict::Up);
    bench.hear(1, 1, 1, false);
    bench.hear(2, 2, 1, false);
    bench.hear(32, 2, 2, true);
    bench.hear(33, 1, 2, false);
    bench.hear(62, 2, 3, false);
    assert_eq!(bench.turn(62), None, "the row began anew");
    bench.hear(63, 1, 3, false);
    bench.hear(92, 2, 4, false);
    assert_eq!(bench.turn(92), Some(Verdict::Down));
}

#[test]
fn hysteresis_is_the_number_of_evaluations() {
    for (hysteresis, rounds) in [(1, 1), (2, 2), (5, 5)] {
        let mut bench = Bench::new(1, Verdict::Unknown);
        bench.cluster.settings.hysteresis = hysteresis;
        let cluster = bench.cluster.clone();
        bench.tally.configure(T0, &cluster);
        for round in 1..=rounds {
            assert_eq!(bench.turn(round), None);
            bench.hear(round, 1, round, true);
        }
        assert_eq!(bench.turn(rounds), Some(Verdict::Up));
    }
}

#[test]
fn a_restarted_daemon_counts_its_rounds_from_one_again_and_is_heard() {
    let mut bench = Bench::new(1, Verdict::Up);
    bench.hear(1, 1, 900, true);
    let again = Report { boot: 8, ..report(1, false) };
    assert_eq!(bench.tally.take(at(31), node(1), &again), Taken::New);
    assert_eq!(bench.tally.take(at(32), node(1), &again), Taken::Again);
    assert_eq!(bench.hear(33, 1, 901, true), Taken::New, "a third life, as far as anybody can tell");
    assert_eq!(bench.hear(34, 1, 900, true), Taken::Again, "late, and of the past");
}

#[test]
fn strangers_other_checks_and_other_definitions_are_not_counted() {
    let mut bench = Bench::new(1, Verdict::Unknown);
    assert_eq!(bench.hear(1, 9, 1, false), Taken::NotAPeer);
    let elsewhere = Report { check: check(2).id, ..report(1, false) };
    assert_eq!(bench.tally.take(at(1), node(1), &elsewhere), Taken::NoSuchCheck);
    let before = Report { of: 1, ..report(1, false) };
    assert_eq!(bench.tally.take(at(1), node(1), &before), Taken::OtherDefinition);
    assert_eq!(bench.tally.said(at(1), check(1).id), Some(Said::default()));
}

#[test]
fn without_fresh_reports_the_verdict_becomes_unknown_when_the_last_goes_stale() {
    let mut bench = Bench::new(3, Verdict::Up);
    bench.hear(5, 1, 1, true);
    bench.hear(20, 2, 1, true);
    assert_eq!(bench.tally.next_deadline(), at(90), "the first look is at the end of the first window");
    assert_eq!(bench.turn(90), None);
    assert_eq!(bench.tally.next_deadline(), at(95));
    assert_eq!(bench.turn(95), None);
    assert_eq!(bench.tally.next_deadline(), at(110));
    assert_eq!(bench.turn(110), Some(Verdict::Unknown));
    assert_eq!(bench.tally.next_deadline(), Mono::FAR);
    bench.hear(200, 1, 2, true);
    bench.hear(201, 2, 2, true);
    bench.hear(230, 1, 3, true);
    bench.hear(231, 2, 3, true);
    assert_eq!(bench.turn(231), Some(Verdict::Up));
}

#[test]
fn a_new_master_gives_the_reports_a_whole_window_to_arrive() {
    let mut bench = Bench::new(3, Verdict::Down);
    assert_eq!(bench.turn(0), None);
    assert_eq!(bench.turn(89), None);
    assert_eq!(bench.turn(90), Some(Verdict::Unknown));
}

#[test]
fn a_node_that_listened_before_it_became_master_still_waits_a_window_for_what_is_missing() {
    let mut bench = Bench::new(3, Verdict::Down);
    // As a follower it heard nothing, and nobody asked what that means.
    assert!(bench.tally.poll(at(90), 0, |_| Some(Verdict::Down)).is_empty());
    bench.tally.begin(at(300));
    assert_eq!(bench.turn(300), None);
    assert_eq!(bench.tally.next_deadline(), at(390));
    assert_eq!(bench.turn(390), Some(Verdict::Unknown));
}

#[test]
fn a_follower_that_becomes_master_decides_from_the_reports_it_has() {
    let mut bench = Bench::new(3, Verdict::Up);
    for (second, from, round) in [(1, 1, 1), (2, 2, 1), (31, 1, 2), (32, 2, 2)] {
        bench.hear(second, from, round, false);
        assert!(bench.tally.poll(at(second), 0, |_| Some(Verdict::Up)).is_empty());
    }
    bench.tally.begin(at(33));
    assert_eq!(bench.turn(33), Some(Verdict::Down));
}

#[test]
fn what_a_node_heard_before_a_verdict_came_does_not_change_it_back() {
    let mut bench = Bench::new(3, Verdict::Up);
    for (round, seconds) in [(1, 0), (2, 30)] {
        (1..=3).for_each(|n| assert_eq!(bench.hear(seconds, n, round, false), Taken::New));
    }
    // A follower: another is master, finds it down and, while this one is cut off, up again.
    bench.tally.decided(check(1).id, Verdict::Down);
    bench.hear(40, 3, 3, true);
    bench.tally.decided(check(1).id, Verdict::Up);
    bench.tally.begin(at(45));
    assert_eq!(bench.poll(45), None, "the reports of two nodes are from before");
    bench.hear(50, 1, 3, false);
    bench.hear(50, 2, 3, false);
    assert_eq!(bench.poll(50), None, "one round");
    bench.hear(80, 1, 4, false);
    bench.hear(80, 2, 4, false);
    assert_eq!(bench.turn(80), Some(Verdict::Down), "two rounds since");
}

#[test]
fn a_process_that_stood_still_does_not_blame_the_nodes() {
    let mut bench = Bench::new(1, Verdict::Down);
    for round in 1..=2 {
        bench.hear(round, 1, round, false);
    }
    assert_eq!(bench.turn(90), None);
    // Ten minutes later, before anything that waits in the sockets has been read.
    assert_eq!(bench.turn(690), None);
    bench.hear(691, 1, 3, false);
    assert_eq!(bench.turn(691), None);
    assert_eq!(bench.turn(781), Some(Verdict::Unknown), "now it is the node");
}

#[test]
fn an_edited_check_starts_its_window_anew_and_a_renamed_one_does_not() {
    let mut bench = Bench::new(1, Verdict::Up);
    bench.hear(1, 1, 1, true);
    let renamed = Check { name: "other".parse().unwrap(), ..check(1) };
    bench.tally.configure(at(10), &cluster(1, &[renamed]));
    assert_eq!(bench.tally.said(at(10), check(1).id).unwrap().total, 1);
    let slower = Check { interval: Span::from_secs(60), ..check(1) };
    bench.tally.configure(at(20), &cluster(1, std::slice::from_ref(&slower)));
    assert_eq!(bench.tally.said(at(20), check(1).id).unwrap().total, 0);
    assert_eq!(bench.hear(21, 1, 2, false), Taken::OtherDefinition);
    assert_eq!(bench.turn(199), None);
    assert_eq!(bench.turn(200), Some(Verdict::Unknown));
}

#[test]
fn a_disabled_check_and_a_removed_peer_are_forgotten() {
    let mut bench = Bench::new(3, Verdict::Up);
    bench.hear(1, 3, 1, false);
    bench.tally.configure(at(2), &cluster(2, &[check(1)]));
    assert_eq!(bench.tally.said(at(2), check(1).id).unwrap().total, 0);
    let off = Check { enabled: false, ..check(1) };
    bench.tally.configure(at(3), &cluster(2, &[off]));
    assert_eq!(bench.tally.said(at(3), check(1).id), None);
    assert_eq!(bench.hear(4, 1, 1, true), Taken::NoSuchCheck);
    assert_eq!(bench.tally.next_deadline(), Mono::FAR);
}

#[test]
fn fewer_peers_mean_a_smaller_quorum_at_once() {
    let mut bench = Bench::new(4, Verdict::Up);
    for round in 1..=3 {
        bench.hear(round * 30, 1, round, false);
        bench.hear(round * 30, 2, round, false);
    }
    assert_eq!(bench.turn(91), None, "two of four are not a majority");
    bench.tally.configure(at(92), &cluster(3, &[check(1)]));
    assert_eq!(bench.turn(92), None, "the first evaluation by the new quorum");
    bench.hear(120, 1, 4, false);
    bench.hear(120, 2, 4, false);
    assert_eq!(bench.turn(120), Some(Verdict::Down));
}

#[test]
fn what_is_in_flight_is_not_proposed_again_until_its_fate_is_known() {
    let mut bench = Bench::new(1, Verdict::Unknown);
    bench.hear(1, 1, 1, false);
    bench.hear(31, 1, 2, false);
    assert!(bench.poll(31).is_some());
    bench.hear(61, 1, 3, false);
    assert_eq!(bench.poll(61), None);
    assert_eq!(bench.tally.next_deadline(), at(90), "nothing to do at once while it is in flight");
    bench.tally.clear(check(1).id);
    assert_eq!(bench.tally.next_deadline(), Mono(0));
    assert_eq!(bench.poll(62).map(|t| t.to), Some(Verdict::Down), "it was lost");
}

#[test]
fn batches_are_bounded_and_lose_nothing() {
    let checks: Vec<Check> = (1..=10).map(check).collect();
    let mut tally = Tally::new(T0, &cluster(1, &checks));
    for round in 1..=2 {
        for c in &checks {
            let of = definition(c);
            tally.take(at(round), node(1), &Report { check: c.id, of, ..report(round, false) });
        }
    }
    let mut seen = Vec::new();
    while tally.next_deadline() <= at(3) {
        let batch = tally.poll(at(3), 4, |_| Some(Verdict::Up));
        assert!(batch.len() <= 4);
        seen.extend(batch.into_iter().map(|t| t.check));
    }
    assert_eq!(seen, checks.iter().map(|c| c.id).collect::<Vec<_>>());
}

#[test]
fn the_picture_names_the_failing_node_with_the_lowest_id_even_when_up() {
    let mut bench = Bench::new(3, Verdict::Up);
    bench.hear(1, 3, 1, false);
    bench.hear(2, 1, 1, true);
    let mut second = report(1, false);
    second.outcome = Outcome::Failed { stage: Stage::Dns, detail: "dns: no such host".into() };
    bench.tally.take(at(3), node(2), &second);
    let said = bench.tally.said(at(4), check(1).id).unwrap();
    assert_eq!((said.ok, said.total, said.detail.as_str()), (1, 3, "dns: no such host"));
    assert_eq!(said.nodes.iter().map(|n| n.age.as_secs()).collect::<Vec<_>>(), [2, 1, 3]);
    assert_eq!(bench.tally.said(at(91), check(1).id).unwrap().total, 2, "stale ones are not shown");
}

#[test]
fn what_a_peer_says_is_made_short_and_harmless() {
    let mut bench = Bench::new(1, Verdict::Up);
    let detail = format!("\x1b[2J\r\n{}", "x".repeat(1_000_000));
    let loud = Report { outcome: Outcome::Failed { stage: Stage::Http, detail }, ..report(1, false) };
    bench.tally.take(at(1), node(1), &loud);
    let said = bench.tally.said(at(1), check(1).id).unwrap();
    assert!(said.detail.chars().count() <= 300, "{}", said.detail.len());
    assert!(said.detail.starts_with("\\u{1b}[2J") && !said.detail.contains(char::is_control));
}

/// However reports come in, a minority of failing nodes never takes a check down, and a minority
/// of succeeding ones never brings it up.
#[test]
fn a_minority_never_changes_a_verdict() {
    for seed in 0..200 {
        let mut rng = Rng::new(seed);
        let nodes = 1 + u8::try_from(rng.below(7)).unwrap();
        let minority = u8::try_from(rng.below(u64::from(nodes.div_ceil(2)))).unwrap();
        let truth = rng.chance(500);
        let mut bench = Bench::new(nodes, if truth { Verdict::Up } else { Verdict::Down });
        let mut rounds = vec![0_u64; usize::from(nodes) + 1];
        let mut second = 0;
        for _ in 0..300 {
            second += rng.below(12);
            let from = 1 + u8::try_from(rng.below(u64::from(nodes))).unwrap();
            let round = &mut rounds[usize::from(from)];
            *round += u64::from(rng.chance(800));
            let lie = from <= minority && rng.chance(900);
            let round = *round;
            bench.hear(second, from, round, truth != lie);
            let turned = bench.turn(second);
            assert!(
                matches!(turned, None | Some(Verdict::Unknown))
                    || turned == Some(if truth { Verdict::Up } else { Verdict::Down }),
                "seed {seed}: {turned:?} with {minority} of {nodes} against"
            );
        }
    }
}

/// Death to verdict: not more than two intervals, whatever the phases of the nodes are.
#[test]
fn a_death_is_found_within_two_intervals_of_all_phases() {
    for seed in 0..300 {
        let mut rng = Rng::new(seed);
        let nodes = 1 + 2 * u8::try_from(rng.below(3)).unwrap();
        let mut bench = Bench::new(nodes, Verdict::Up);
        let phases: Vec<u64> = (0..nodes).map(|_| rng.below(30)).collect();
        let mut found = None;
        for second in 0..120 {
            for (n, phase) in (1..).zip(&phases) {
                if second % 30 == *phase {
                    bench.hear(second, n, second / 30 + 1, second < 60);
                }
            }
            found = found.or(bench.turn(second).map(|to| (to, second)));
        }
        let (to, second) = found.unwrap();
        assert_eq!(to, Verdict::Down);
        // Not before some node has seen it twice, either.
        assert!((90..120).contains(&second), "seed {seed}: {second}");
    }
}

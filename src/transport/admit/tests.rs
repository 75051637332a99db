use super::*;

const START: Mono = Mono(3_600_000_000_000);

fn at(ms: u64) -> Mono {
    START + Duration::from_millis(ms)
}

fn source(n: u32) -> Source {
    Source::from(IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + n)))
}

fn enter(gate: &mut Gate, now: Mono, from: Source) -> StrangerId {
    match gate.admit(now, from) {
        Admission::Enter(id) | Admission::Instead { id, .. } => id,
        Admission::Refuse => panic!("refused"),
    }
}

#[test]
fn one_source_holds_four_places_and_a_fifth_takes_the_oldest_silent_one() {
    let mut gate = Gate::new(START, PLACES);
    let ids: Vec<_> = (0..4).map(|n| enter(&mut gate, at(n), source(1))).collect();
    gate.progress(ids[0], Progress::Asking);
    assert!(matches!(gate.admit(at(5), source(1)), Admission::Instead { of, .. } if of == ids[1]));
    assert_eq!(gate.strangers(), PER_SOURCE);
    assert!(matches!(gate.admit(at(5), source(2)), Admission::Enter(_)));
}

#[test]
fn who_is_getting_on_is_not_pushed_out_within_a_second() {
    let mut gate = Gate::new(START, PLACES);
    let ids: Vec<_> = (0..4).map(|n| enter(&mut gate, at(n), source(1))).collect();
    for (id, progress) in
        ids.iter().zip([Progress::Shaking, Progress::Shaking, Progress::Unknown, Progress::Asking])
    {
        gate.progress(*id, progress);
    }
    assert_eq!(gate.admit(at(500), source(1)), Admission::Refuse);
    // After the grace, the one with an unknown key goes first.
    assert!(matches!(gate.admit(at(2000), source(1)), Admission::Instead { of, .. } if of == ids[2]));
}

#[test]
fn the_world_holds_64_places_and_the_greediest_source_makes_room_for_a_new_one() {
    let mut gate = Gate::new(START, PLACES);
    for n in 0..60 {
        enter(&mut gate, at(u64::from(n)), source(100 + n));
    }
    let greedy: Vec<_> = (0..4).map(|n| enter(&mut gate, at(100 + n), source(1))).collect();
    assert_eq!(gate.strangers(), PLACES);
    assert!(matches!(gate.admit(at(200), source(2)), Admission::Instead { of, .. } if of == greedy[0]));
    // A source that has a place does not get a second one out of those who have one.
    let mut even = Gate::new(START, PLACES);
    for n in 0..64 {
        enter(&mut even, at(u64::from(n)), source(n));
    }
    assert_eq!(even.admit(at(100), source(1)), Admission::Refuse);
    assert!(matches!(even.admit(at(100), source(99)), Admission::Instead { of: 1, .. }));
    assert_eq!(even.strangers(), PLACES);
}

#[test]
fn a_full_house_does_not_touch_the_places_of_peers() {
    let mut gate = Gate::new(START, PLACES);
    gate.set_peers([source(7), source(7), source(8)]);
    for n in 0..64 {
        enter(&mut gate, at(0), source(1000 + n));
    }
    for _ in 0..8 {
        assert!(matches!(gate.admit(at(1), source(7)), Admission::Enter(_)), "four for each peer there");
    }
    assert!(matches!(gate.admit(at(1), source(7)), Admission::Instead { .. }));
    assert!(matches!(gate.admit(at(1), source(8)), Admission::Enter(_)));
    // And strangers never push a peer out.
    for n in 0..200 {
        gate.admit(at(5000 + n), source(2000 + u32::try_from(n).unwrap()));
    }
    let at_peers = gate.places.values().filter(|p| p.known).count();
    assert_eq!((at_peers, gate.strangers()), (9, PLACES + 9));
}

#[test]
fn an_address_of_ipv6_counts_with_its_network_and_a_mapped_one_as_ipv4() {
    let of = |text: &str| Source::from(text.parse::<IpAddr>().unwrap());
    assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::9"));
    assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
    assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
}

#[test]
fn costly_steps_are_rationed_and_peers_have_a_ration_of_their_own() {
    let mut gate = Gate::new(START, PLACES);
    gate.set_peers([source(7)]);
    let mut granted = 0;
    // One second of a flood of a thousand a second.
    for ms in 0..1000 {
        if let Admission::Enter(id) | Admission::Instead { id, .. } =
            gate.admit(at(ms), source(100 + u32::try_from(ms).unwrap()))
        {
            gate.progress(id, Progress::Asking);
        }
        while let Some(id) = gate.grant(at(ms)) {
            granted += 1;
            gate.leave(id);
        }
    }
    assert!((WORLD_RATE.1..=WORLD_RATE.1 + WORLD_RATE.0).contains(&granted), "{granted}");
    assert!(gate.next_grant().is_some_and(|d| d <= Duration::from_millis(50)));
    let peer = enter(&mut gate, at(1000), source(7));
    gate.progress(peer, Progress::Asking);
    assert_eq!(gate.grant(at(1000)), Some(peer));
}

#[test]
fn the_source_that_was_served_longest_ago_is_next() {
    let mut gate = Gate::new(START, PLACES);
    let greedy: Vec<_> = (0..3).map(|_| enter(&mut gate, at(0), source(1))).collect();
    let modest = enter(&mut gate, at(1), source(2));
    for id in greedy.iter().chain([&modest]) {
        gate.progress(*id, Progress::Asking);
    }
    assert_eq!(gate.grant(at(2)), Some(greedy[0]));
    assert_eq!(gate.grant(at(3)), Some(modest));
    assert_eq!(gate.grant(at(4)), Some(greedy[1]));
}

#[test]
fn each_failed_join_doubles_the_pause_of_its_source_and_success_or_time_forgives() {
    let mut gate = Gate::new(START, PLACES);
    let mut now = START;
    for want in [1, 2, 4, 8, 16, 32, 60, 60] {
        gate.join_failed(now, source(1));
        assert_eq!(gate.join_pause(now, source(1)), Duration::from_secs(want));
        now = now + Duration::from_secs(want);
    }
    assert_eq!(gate.join_pause(now, source(1)), Duration::ZERO);
    assert_eq!(gate.join_pause(now, source(2)), Duration::ZERO);
    gate.join_worked(source(1));
    gate.join_failed(now, source(1));
    assert_eq!(gate.join_pause(now, source(1)), Duration::from_secs(1));
    gate.join_failed(now, source(1));
    now = now + LONGEST_PAUSE * 3;
    gate.join_failed(now, source(1));
    assert_eq!(gate.join_pause(now, source(1)), Duration::from_secs(1));
}

#[test]
fn what_is_remembered_of_sources_is_bounded() {
    let mut gate = Gate::new(START, PLACES);
    for n in 0..5000 {
        gate.join_failed(at(u64::from(n)), source(n));
    }
    assert_eq!(gate.records.len(), REMEMBERED);
    assert!(gate.join_pause(at(5000), source(4999)) > Duration::ZERO, "the newest is remembered");
}

#[test]
fn few_descriptors_mean_few_places_and_never_none() {
    assert_eq!([0, 20, 100, 400, 512, 1 << 20].map(places_for), [4, 4, 12, 50, 64, 64]);
}

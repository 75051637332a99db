//! Many at once: the silent ones leave the healthy ones on time, and nothing is left behind.

use super::*;
use crate::base::units::Host;
use std::net::IpAddr;

fn every(ms: u64, c: Arc<Check>) -> Arc<Check> {
    Arc::new(Check { interval: Span::from_millis(ms), ..(*c).clone() })
}

#[test]
fn three_hundred_silent_targets_stop_none_of_fifty_healthy_ones() {
    let silent = Server::new("127.0.0.1:0", |mut s| wait_for_end(&mut s));
    let healthy = Server::http(|_| Some(b"HTTP/1.1 200 OK\r\n\r\n".to_vec()));
    let mut checks: Vec<_> =
        (0..300).map(|_| every(1000, check(http(&silent.url("/"), 200, None), 1000))).collect();
    let good: Vec<_> = (0..50).map(|_| every(250, check(http(&healthy.url("/"), 200, None), 250))).collect();
    let good_ids: BTreeSet<CheckId> = good.iter().map(|c| c.id).collect();
    checks.extend(good);
    let mut rig = Rig::plain();
    rig.prober.set_checks(all(&checks));
    let mut rounds: BTreeMap<CheckId, u64> = BTreeMap::new();
    // How late they are is for a quiet machine to say: benches/scale.rs.
    while rounds.len() < 350 || rounds.iter().any(|(id, n)| good_ids.contains(id) && *n < 12) {
        let report = rig.next();
        let healthy = good_ids.contains(&report.check);
        assert!(healthy || !report.outcome.is_ok(), "{report:?}");
        *rounds.entry(report.check).or_default() += u64::from(healthy == report.outcome.is_ok());
    }
    until("the silent ones are still waited for", || rig.prober.stats().in_flight >= 200);
    rig.prober.stop();
    assert_eq!(rig.prober.stats().sockets, 0);
}

#[test]
fn after_the_stop_descriptors_and_threads_are_as_before() {
    // In a process of its own, since other tests open descriptors meanwhile.
    const INSIDE: &str = "QU_TEST_PROBE_LEFTOVERS";
    if std::env::var_os(INSIDE).is_none() {
        let name = "probe::tests::load::after_the_stop_descriptors_and_threads_are_as_before";
        let ran = std::process::Command::new(std::env::current_exe().unwrap())
            .args([name, "--exact", "--test-threads=1"])
            .env(INSIDE, "1")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&ran.stdout);
        assert!(ran.status.success() && said.contains("1 passed"), "{said}");
        return;
    }
    let count = |dir: &str| std::fs::read_dir(dir).unwrap().count();
    let silent = Server::new("127.0.0.1:0", |mut s| wait_for_end(&mut s));
    let before = (count("/proc/self/fd"), count("/proc/self/task"));
    let mut rig = Rig::plain();
    let mut checks = vec![check(icmp("127.0.0.1"), 500), check(icmp("::1"), 500)];
    checks.push(check(http(&format!("https://{}/", silent.at), 200, None), 300));
    checks.extend((0..20).map(|_| check(tcp(&silent.at.to_string()), 500)));
    checks.extend((0..20).map(|_| check(http(&silent.url("/"), 200, None), 5000)));
    checks.push(check(tcp("web.example:80"), 500));
    rig.prober.set_checks(all(&checks));
    until("many probes in flight", || rig.prober.stats().in_flight >= 20);
    until("some rounds", || rig.prober.stats().done >= 100);
    // Checks that go away take their sockets along.
    rig.prober.set_checks(all(&[]));
    until("no probe in flight", || rig.prober.stats().in_flight == 0);
    assert_eq!(rig.prober.stats().sockets, 0);
    rig.prober.set_checks(all(&checks));
    until("probes in flight again", || rig.prober.stats().in_flight >= 20);
    rig.prober.stop();
    drop(rig);
    until("the server's side to see the ends", || {
        (count("/proc/self/fd"), count("/proc/self/task")) == before
    });
}

#[test]
fn without_descriptors_probes_wait_then_fail_as_local_and_recover() {
    // In a process of its own: the limit is the whole process's.
    const INSIDE: &str = "QU_TEST_PROBE_STARVED";
    if std::env::var_os(INSIDE).is_none() {
        let name = "probe::tests::load::without_descriptors_probes_wait_then_fail_as_local_and_recover";
        let command = format!(
            "ulimit -n 80; exec '{}' {name} --exact --test-threads=1",
            std::env::current_exe().unwrap().display()
        );
        let ran = std::process::Command::new("sh").args(["-c", &command]).env(INSIDE, "1").output().unwrap();
        let said = String::from_utf8_lossy(&ran.stdout);
        assert!(ran.status.success() && said.contains("1 passed"), "{said}");
        return;
    }
    let server = Server::http(|_| Some(b"HTTP/1.1 200 OK\r\n\r\n".to_vec()));
    let mut held = Vec::new();
    let rig = Rig::plain();
    while let Ok(file) = std::fs::File::open("/dev/null") {
        held.push(file);
    }
    let target = check(http(&server.url("/"), 200, None), 400);
    let report = rig.first_reports(std::slice::from_ref(&target)).remove(0);
    assert_eq!(detail(&report), "local: out of file descriptors (limit 80)");
    assert!(report.took_ms >= 390, "not before it has waited: {}", report.took_ms);
    assert!(rig.prober.stats().starved > 0);
    drop(held);
    until("a probe that succeeds again", || rig.next().outcome.is_ok());
}

#[test]
fn an_edited_check_is_reported_under_its_new_definition_only() {
    let silent = Server::new("127.0.0.1:0", |mut s| wait_for_end(&mut s));
    let rig = Rig::plain();
    let before = check(http(&silent.url("/"), 200, None), 30_000);
    rig.prober.set_checks(all(&[Arc::clone(&before)]));
    until("the first probe in flight", || rig.prober.stats().in_flight == 1);
    let host = Host::Ip(IpAddr::from([127, 0, 0, 1]));
    let to = crate::base::units::HostPort::new(host, silent.at.port());
    let after = Check { target: Target::Tcp { to }, timeout: Span::from_millis(900), ..(*before).clone() };
    rig.prober.set_checks(all(&[Arc::new(after)]));
    let report = rig.next();
    assert_eq!((report.of, report.round, detail(&report).as_str()), (900, 2, "up"));
}

#[test]
fn a_disabled_check_is_not_probed() {
    let server = Server::new("127.0.0.1:0", |mut s| wait_for_end(&mut s));
    let rig = Rig::plain();
    let on = check(tcp(&server.at.to_string()), 500);
    let off = Arc::new(Check { enabled: false, ..(*check(tcp(&server.at.to_string()), 500)).clone() });
    rig.prober.set_checks(all(&[Arc::clone(&on), off]));
    for _ in 0..5 {
        assert_eq!(rig.next().check, on.id);
    }
    assert!(server.accepted.load(Ordering::SeqCst) <= 6);
}

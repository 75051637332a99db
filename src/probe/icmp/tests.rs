use super::packet::{quoted, reply, request, unreachable};
use super::*;
use crate::base::rng::Rng;

const T0: Mono = Mono(3_600_000_000_000);

fn echo() -> Echo {
    Echo { id: 7, seq: 9, key: 0x0102_0304_0506_0708, token: *b"0123456789abcdef" }
}

fn as_reply(v6: bool) -> Vec<u8> {
    let mut m = request(&echo(), v6);
    m[0] = if v6 { 129 } else { 0 };
    m
}

/// An "unreachable" around the first `quoted` bytes of a request.
fn about(v6: bool, code: u8, quoted: usize) -> Vec<u8> {
    let mut m = vec![if v6 { 1 } else { 3 }, code, 0, 0, 0, 0, 0, 0];
    if v6 {
        let mut header = [0; 40];
        header[6] = 58;
        header[39] = 1;
        m.extend(header);
    } else {
        let mut header = [0; 20];
        (header[0], header[9]) = (0x45, 1);
        header[16..].copy_from_slice(&[127, 0, 0, 1]);
        m.extend(header);
    }
    m.extend(&request(&echo(), v6)[..quoted]);
    m
}

#[test]
fn a_request_comes_back_as_itself_and_has_a_right_checksum() {
    for v6 in [false, true] {
        assert_eq!(reply(&as_reply(v6), v6), Some(echo()));
        assert_eq!(reply(&request(&echo(), v6), v6), None, "a request is no reply");
    }
    let sum: u32 =
        request(&echo(), false).chunks(2).map(|p| u32::from(u16::from_be_bytes([p[0], p[1]]))).sum();
    assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff);
}

#[test]
fn unreachable_messages_name_target_and_reason_even_when_they_quote_little() {
    for (v6, code, why) in [
        (false, 1, "host unreachable"),
        (false, 0, "network unreachable"),
        (false, 13, "prohibited by a firewall"),
        (true, 0, "network unreachable"),
        (true, 3, "host unreachable"),
    ] {
        let to: IpAddr = if v6 { "::1" } else { "127.0.0.1" }.parse().unwrap();
        let (got, q, said) = unreachable(&about(v6, code, 40), v6).unwrap();
        assert_eq!((got, said, q.seq, q.payload), (to, why, 9, Some((echo().key, echo().token))));
        let (_, q, _) = unreachable(&about(v6, code, 8), v6).unwrap();
        assert_eq!((q.id, q.seq, q.payload), (7, 9, None));
    }
}

#[test]
fn no_bytes_whatever_stop_the_reader() {
    let mut rng = Rng::new(3);
    for round in 0..50_000_u32 {
        let v6 = round % 2 == 0;
        let mut m = if rng.chance(500) { as_reply(v6) } else { about(v6, 1, 40) };
        for _ in 0..rng.below(4) {
            let at = usize::try_from(rng.below(m.len() as u64)).unwrap();
            m[at] = u8::try_from(rng.below(256)).unwrap();
        }
        m.truncate(usize::try_from(rng.below(m.len() as u64 + 1)).unwrap());
        let _ = (reply(&m, v6), unreachable(&m, v6), quoted(&m));
    }
}

fn ping(addresses: &[&str]) -> Ping {
    let ips: Vec<IpAddr> = addresses.iter().map(|a| a.parse().unwrap()).collect();
    let mut p = Ping::new(T0, T0 + Duration::from_secs(9), &ips).unwrap();
    p.seqs.push(9);
    p
}

#[test]
fn three_echoes_are_spread_over_the_timeout() {
    let mut p = ping(&["127.0.0.1"]);
    let mut at = Vec::new();
    for tenth in 0..100 {
        if p.time(T0 + Duration::from_millis(100) * tenth) {
            at.push(tenth);
        }
    }
    assert_eq!(at, [0, 30, 60]);
    assert_eq!(p.wake(), Mono::FAR);
}

#[test]
fn a_reply_counts_only_with_a_known_number_and_the_token_of_this_probe() {
    let mut p = ping(&["127.0.0.1"]);
    let token = p.token;
    let mut forged = token;
    forged[0] ^= 1;
    assert_eq!(p.heard(Heard::Reply { seq: 9, token: forged }), Ok(false));
    assert_eq!(p.heard(Heard::Reply { seq: 8, token }), Ok(false));
    assert_eq!(p.heard(Heard::Reply { seq: 9, token }), Ok(true));
}

#[test]
fn a_probe_fails_early_only_when_no_address_can_be_reached() {
    let mut p = ping(&["127.0.0.1", "::1"]);
    let token = p.token;
    let lost = |to: &str, token| Heard::Unreachable {
        to: to.parse().unwrap(),
        seq: 9,
        token,
        why: "host unreachable",
    };
    assert_eq!(p.heard(lost("127.0.0.1", Some([0; TOKEN]))), Ok(false), "forged");
    assert_eq!(p.heard(lost("127.0.0.9", Some(token))), Ok(false), "about somebody else");
    assert_eq!(p.heard(lost("127.0.0.1", Some(token))), Ok(false), "the other family is left");
    let failure = p.heard(lost("::1", None)).unwrap_err();
    assert_eq!((failure.stage, failure.detail.as_str()), (Stage::Icmp, "icmp: host unreachable"));
}

#[test]
fn senders_are_paced() {
    let mut icmp = Icmp::new(T0, [0, 1]).unwrap();
    (0..5000).for_each(|key| icmp.enqueue(key));
    let mut sent = 0;
    for ms in 0..100 {
        while icmp.next_sender(T0 + Duration::from_millis(ms)).is_some() {
            sent += 1;
        }
    }
    assert!((990..=1064).contains(&sent), "{sent} in 99 ms");
    assert!(icmp.wake() < Mono::FAR);
}

#[test]
fn the_refusal_names_sysctl_group_and_capability() {
    let denied = || std::io::Error::from_raw_os_error(errno::EACCES);
    let detail = refused(&sys::Refused { datagram: denied(), raw: denied() }, false).detail;
    let group = format!("group {}", sys::group());
    for part in ["local: ", "net.ipv4.ping_group_range", "CAP_NET_RAW", group.as_str()] {
        assert!(detail.contains(part), "{detail}");
    }
    let none = || std::io::Error::from_raw_os_error(errno::EAFNOSUPPORT);
    let detail = refused(&sys::Refused { datagram: none(), raw: none() }, true).detail;
    assert_eq!(detail, "local: this host has no IPv6");
}

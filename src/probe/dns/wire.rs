//! DNS messages (RFC 1035, section 4): writing a question, reading its answer. Pure; any bytes may
//! come in.

use std::net::IpAddr;

/// Which kind of address is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// IPv4.
    A,
    /// IPv6.
    Aaaa,
}

impl Question {
    fn number(self) -> u16 {
        match self {
            Question::A => 1,
            Question::Aaaa => 28,
        }
    }
}

/// What a server answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// These addresses, one at least.
    Addresses(Vec<IpAddr>),
    /// The name exists, but has no address of this kind.
    NoData,
    /// The name does not exist.
    NoName,
    /// Too long for a datagram: to be asked again over TCP.
    Truncated,
    /// The server could not or would not; in words.
    Failed(&'static str),
}

/// A question as a message. `None` when the name cannot be written in DNS.
#[must_use]
pub fn question(id: u16, name: &str, kind: Question) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(18 + name.len());
    out.extend(id.to_be_bytes());
    // Flags: recursion desired. One question, nothing else.
    out.extend([0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.strip_suffix('.').unwrap_or(name).split('.') {
        let length = u8::try_from(label.len()).ok().filter(|n| (1..=63).contains(n))?;
        out.push(length);
        out.extend(label.as_bytes());
    }
    out.push(0);
    if out.len() > 12 + 255 {
        return None;
    }
    out.extend(kind.number().to_be_bytes());
    out.extend([0, 1]);
    Some(out)
}

/// Reads a message as the answer to [`question`]; `None` when it is not one: another number,
/// another question, or broken.
#[must_use]
pub fn answer(message: &[u8], id: u16, name: &str, kind: Question) -> Option<Answer> {
    let asked = question(id, name, kind)?;
    let head = message.get(..12)?;
    let word = |at: usize| Some(u16::from_be_bytes([*head.get(at)?, *head.get(at + 1)?]));
    let (flags, questions, answers) = (word(2)?, word(4)?, word(6)?);
    let is_reply = flags & 0x8000 != 0 && flags & 0x7800 == 0;
    let repeated = message.get(12..asked.len())?;
    if word(0)? != id || !is_reply || questions != 1 || !repeated.eq_ignore_ascii_case(asked.get(12..)?) {
        return None;
    }
    match flags & 0xf {
        0 => {}
        3 => return Some(Answer::NoName),
        1 => return Some(Answer::Failed("question not understood")),
        2 => return Some(Answer::Failed("server failure")),
        5 => return Some(Answer::Failed("refused to answer")),
        _ => return Some(Answer::Failed("answered with an unknown error")),
    }
    if flags & 0x0200 != 0 {
        return Some(Answer::Truncated);
    }
    let mut found = Vec::new();
    let mut at = asked.len();
    for _ in 0..answers {
        at = skip_name(message, at)?;
        let fixed = message.get(at..at + 10)?;
        let number = |i: usize| Some(u16::from_be_bytes([*fixed.get(i)?, *fixed.get(i + 1)?]));
        let (record, class, length) = (number(0)?, number(2)?, usize::from(number(8)?));
        let data = message.get(at + 10..at + 10 + length)?;
        at += 10 + length;
        if record == kind.number() && class == 1 {
            found.push(address(data)?);
        }
    }
    // Neither authoritative nor recursive and with nothing to say: it would refer us elsewhere.
    let refers = flags & 0x0480 == 0;
    Some(match found.is_empty() {
        false => Answer::Addresses(found),
        true if refers && answers == 0 => Answer::Failed("does not resolve for others"),
        true => Answer::NoData,
    })
}

fn address(data: &[u8]) -> Option<IpAddr> {
    if let Ok(four) = <[u8; 4]>::try_from(data) {
        return Some(IpAddr::from(four));
    }
    <[u8; 16]>::try_from(data).ok().map(IpAddr::from)
}

/// Where the name at `at` ends. Pointers end a name, so nothing is followed and nothing can loop.
fn skip_name(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        let length = *message.get(at)?;
        match length >> 6 {
            0 if length == 0 => return Some(at + 1),
            0 => at += 1 + usize::from(length),
            3 => return message.get(at + 1).map(|_| at + 2),
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;

    fn reply(kind: Question, flags: u16, records: &[(u16, &[u8])]) -> Vec<u8> {
        let mut m = question(7, "web.example.com", kind).unwrap();
        m[2..4].copy_from_slice(&flags.to_be_bytes());
        m[6..8].copy_from_slice(&u16::try_from(records.len()).unwrap().to_be_bytes());
        for (record, data) in records {
            m.extend([0xc0, 12]);
            m.extend(record.to_be_bytes());
            m.extend([0, 1, 0, 0, 0, 60]);
            m.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
            m.extend(*data);
        }
        m
    }

    fn read(message: &[u8]) -> Option<Answer> {
        answer(message, 7, "WEB.example.com", Question::A)
    }

    #[test]
    fn answers_are_read_through_aliases_and_each_failure_is_its_own() {
        let alias: &[u8] = &[1, b'x', 0xc0, 12];
        let ok = reply(Question::A, 0x8180, &[(5, alias), (1, &[10, 0, 0, 1]), (1, &[10, 0, 0, 2])]);
        let ips = vec![IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2])];
        assert_eq!(read(&ok), Some(Answer::Addresses(ips)));
        for (flags, want) in [
            (0x8183, Answer::NoName),
            (0x8180, Answer::NoData),
            (0x8380, Answer::Truncated),
            (0x8182, Answer::Failed("server failure")),
            (0x8185, Answer::Failed("refused to answer")),
            (0x8100, Answer::Failed("does not resolve for others")),
        ] {
            assert_eq!(read(&reply(Question::A, flags, &[])), Some(want), "{flags:x}");
        }
        let six = reply(Question::Aaaa, 0x8180, &[(28, &[0; 16])]);
        let want = Answer::Addresses(vec![IpAddr::from([0_u8; 16])]);
        assert_eq!(answer(&six, 7, "web.example.com", Question::Aaaa), Some(want));
    }

    #[test]
    fn what_does_not_repeat_number_and_question_is_no_answer() {
        let ok = reply(Question::A, 0x8180, &[(1, &[10, 0, 0, 1])]);
        assert!(answer(&ok, 8, "web.example.com", Question::A).is_none(), "other number");
        assert!(answer(&ok, 7, "web.example.org", Question::A).is_none(), "other name");
        assert!(answer(&ok, 7, "web.example.com", Question::Aaaa).is_none(), "other kind");
        assert!(read(&reply(Question::A, 0x0180, &[])).is_none(), "a question, not a reply");
        for cut in 0..ok.len() {
            assert!(read(&ok[..cut]).is_none(), "cut at {cut}");
        }
    }

    #[test]
    fn names_that_dns_cannot_carry_are_refused() {
        for bad in ["", "a..b", ".a", &"x".repeat(64), &["abcdefg"; 40].join(".")] {
            assert!(question(1, bad, Question::A).is_none(), "{bad}");
        }
        assert!(question(1, "a.b.", Question::A).is_some());
    }

    #[test]
    fn no_bytes_whatever_stop_the_reader() {
        let mut rng = Rng::new(5);
        let seed = reply(Question::A, 0x8180, &[(5, &[1, b'x', 0]), (1, &[10, 0, 0, 1])]);
        for _ in 0..100_000 {
            let mut m = seed.clone();
            for _ in 0..=rng.below(6) {
                let at = usize::try_from(rng.below(m.len() as u64)).unwrap();
                m[at] = u8::try_from(rng.below(256)).unwrap();
            }
            m.truncate(usize::try_from(rng.below(m.len() as u64 + 1)).unwrap());
            let _ = read(&m);
        }
    }
}

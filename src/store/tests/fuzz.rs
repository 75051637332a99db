//! Bytes from anywhere for every decoder.

use super::*;
use crate::base::rng::Rng;

fn decode_all(bytes: &[u8], confirmed: u64) {
    // Only that they come back counts.
    drop(wal::decode(bytes, confirmed));
    drop(snapshot::decode(bytes));
    drop(vote::decode(bytes));
    drop(mark::decode(bytes));
}

/// Some bytes changed, moved, doubled or taken away.
fn mangle(bytes: &mut Vec<u8>, rng: &mut Rng) {
    for _ in 0..=rng.below(4) {
        let at = usize::try_from(rng.below(bytes.len() as u64 + 1)).unwrap();
        let end = (at + usize::try_from(rng.below(40)).unwrap()).min(bytes.len());
        match rng.below(5) {
            0 => bytes.truncate(at),
            1 => drop(bytes.drain(at..end)),
            2 => drop(bytes.splice(at..at, rng.next_u64().to_le_bytes())),
            3 => bytes.extend_from_within(at..end),
            _ => bytes[at..end].fill(*rng.pick(&[0, 0xff, 0x7b, 0x22]).unwrap()),
        }
    }
}

#[test]
fn no_bytes_make_a_decoder_panic() {
    let disk = written();
    let files: Vec<Vec<u8>> = disk.names().iter().map(|n| disk.bytes(n).unwrap()).collect();
    let mut rng = Rng::new(5);
    for round in 0..20_000 {
        let mut bytes = if round % 4 == 0 {
            (0..rng.below(200)).map(|_| rng.next_u64().to_le_bytes()[0]).collect()
        } else {
            rng.pick(&files).unwrap().clone()
        };
        mangle(&mut bytes, &mut rng);
        decode_all(&bytes, rng.below(2000));
    }
}

#[test]
fn right_checksums_around_foreign_bodies_make_no_decoder_panic() {
    let mut rng = Rng::new(6);
    let magic = &disk_magic();
    let bodies: [&[u8]; 6] = [
        br#"{"log":1,"base":{"term":18446744073709551615,"index":18446744073709551615},"entries":[]}"#,
        br#"{"after":18446744073709551615,"entries":[{"index":0,"term":18446744073709551615}]}"#,
        br#"{"log":1,"base":{"term":0,"index":0},"entries":[{"index":1,"term":0}]}"#,
        br#"{"after":0,"entries":[]}"#,
        b"\xff\xff\xff\xff{}",
        br#"[[[[[[[["#,
    ];
    for _ in 0..20_000 {
        let mut log = magic.clone();
        for sequence in 0..rng.below(4) {
            let mut body = rng.pick(&bodies).unwrap().to_vec();
            if rng.chance(300) {
                mangle(&mut body, &mut rng);
            }
            log.extend(record::encode(sequence, &body).unwrap());
        }
        decode_all(&log, 0);
        let body = rng.pick(&bodies).unwrap();
        decode_all(&sealed::seal(*b"snap", body), 0);
        decode_all(&sealed::seal(*b"vote", body), 0);
    }
    let deep = [b"{\"after\":0,\"entries\":".to_vec(), vec![b'['; 200_000]].concat();
    let mut log = magic.clone();
    log.extend(record::encode(0, bodies[2]).unwrap());
    log.extend(record::encode(1, &deep).unwrap());
    assert!(wal::decode(&log, 0).is_err());
}

/// What a log begins with.
fn disk_magic() -> Vec<u8> {
    written().bytes("log-4").unwrap()[..8].to_vec()
}

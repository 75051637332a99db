//! Checksums set right after bytes were changed, so that what is behind them is reached too. Written
//! from the descriptions of the formats, not with the program's own functions: a second opinion.

/// Where the records of a log begin, and how long a record's head is.
const LOG_MAGIC: usize = 8;
const RECORD_HEAD: usize = 24;
const SEALED_HEAD: usize = 20;

/// CRC-32 of Ethernet and gzip, bit by bit.
pub fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |c, _| if c & 1 == 1 { (c >> 1) ^ 0xedb8_8320 } else { c >> 1 })
    };
    !bytes.iter().fold(u32::MAX, step)
}

fn put(bytes: &mut [u8], at: usize, value: u32) {
    if let Some(place) = bytes.get_mut(at..at + 4) {
        place.copy_from_slice(&value.to_le_bytes());
    }
}

/// A log file in which every record's sums are right as far as the lengths lead.
pub fn log(bytes: &[u8]) -> Vec<u8> {
    let mut out = bytes.to_vec();
    let mut at = LOG_MAGIC;
    while let Some(head) = out.get(at..at + RECORD_HEAD) {
        let length = head[4..8].try_into().map_or(0, u32::from_le_bytes) as usize;
        let end = (at + RECORD_HEAD).saturating_add(length).min(out.len());
        let body = end - at - RECORD_HEAD;
        put(&mut out, at + 4, u32::try_from(body).unwrap_or(0));
        let sum = crc32(&[&out[at..at + 16], &out[at + RECORD_HEAD..end]].concat());
        put(&mut out, at + 16, sum);
        let sum = crc32(&out[at..at + 20]);
        put(&mut out, at + 20, sum);
        at = end;
    }
    out
}

/// A sealed file (vote, snapshot) of which length and sum are right.
pub fn sealed(bytes: &[u8]) -> Vec<u8> {
    let mut out = bytes.to_vec();
    if out.len() >= SEALED_HEAD {
        let length = (out.len() - SEALED_HEAD) as u64;
        out[8..16].copy_from_slice(&length.to_le_bytes());
        let sum = crc32(&[&out[..16], &out[SEALED_HEAD..]].concat());
        put(&mut out, 16, sum);
    }
    out
}

/// A state machine's text whose first line fits what follows it.
pub fn state(body: &str) -> String {
    let body = body.split_once('\n').map_or(body, |(_, rest)| rest);
    format!("quptime-state 1 {} {:08x}\n{body}", body.len(), crc32(body.as_bytes()))
}

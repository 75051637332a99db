//! PEM (RFC 7468) for certificates that arrive as DER, and the base64 (RFC 4648) under it and under
//! the cluster secret. Reading PEM is `rustls-pki-types`'; writing is these few lines.

/// RFC 4648, section 4.
const STANDARD: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
/// RFC 4648, section 5: safe in a shell, a file name and an environment variable.
const URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
/// Characters in a line of PEM (RFC 7468, section 2).
const LINE: usize = 64;

/// Base64 for URLs, without padding.
#[must_use]
pub fn base64_url(bytes: &[u8]) -> String {
    encode(bytes, URL)
}

/// The first PEM label in a text (`CERTIFICATE`, `PRIVATE KEY`): what a file claims to hold.
#[must_use]
pub fn label(text: &str) -> Option<&str> {
    let after = text.split_once("-----BEGIN ")?.1;
    Some(after.split_once("-----")?.0)
}

/// One PEM block.
#[must_use]
pub fn write(label: &str, der: &[u8]) -> String {
    let mut body = encode(der, STANDARD);
    while !body.len().is_multiple_of(4) {
        body.push('=');
    }
    let mut text = format!("-----BEGIN {label}-----\n");
    let mut rest = body.as_str();
    while !rest.is_empty() {
        let (line, tail) = rest.split_at(rest.len().min(LINE));
        text.push_str(line);
        text.push('\n');
        rest = tail;
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text
}

fn encode(bytes: &[u8], alphabet: &[u8; 64]) -> String {
    let mut out = String::with_capacity(bytes.len() * 4 / 3 + 4);
    for chunk in bytes.chunks(3) {
        let mut bits = 0_u32;
        for at in 0..3 {
            bits = (bits << 8) | u32::from(chunk.get(at).copied().unwrap_or(0));
        }
        for digit in 0..=chunk.len() {
            let six = (bits >> (18 - 6 * digit)) & 63;
            out.push(alphabet[six as usize] as char);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;

    #[test]
    fn base64_is_that_of_the_rfc() {
        for (plain, coded) in [("", ""), ("f", "Zg"), ("fo", "Zm8"), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(encode(plain.as_bytes(), STANDARD), coded);
        }
        assert_eq!(base64_url(&[0xff, 0xef, 0xfe]), "_-_-");
    }

    #[test]
    fn what_is_written_as_pem_is_read_by_others_and_names_itself() {
        for length in [1, 2, 3, 47, 48, 49, 300] {
            let der = vec![0xa5; length];
            let text = write("CERTIFICATE", &der);
            assert_eq!(CertificateDer::from_pem_slice(text.as_bytes()).unwrap().as_ref(), der);
            assert!(text.lines().all(|line| line.len() <= 64));
            assert_eq!(label(&text), Some("CERTIFICATE"));
        }
        assert_eq!(label("nothing"), None);
    }
}

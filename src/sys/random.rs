//! Random bytes of the system, for ids. Keys, secrets and nonces come from the crypto provider,
//! whose own start costs more than a whole short-lived command may.

use std::io;

/// 128 random bits.
///
/// # Errors
/// The kernel's: a very old one, or one whose system call filter forbids it.
pub fn bits() -> io::Result<u128> {
    let mut bytes = [0_u8; 16];
    // SAFETY: the buffer is ours and of that length. Up to 256 bytes come whole (getrandom(2)).
    let got = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    if usize::try_from(got).is_ok_and(|n| n == bytes.len()) {
        Ok(u128::from_ne_bytes(bytes))
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn two_draws_differ() {
        assert_ne!(super::bits().unwrap(), super::bits().unwrap());
    }
}

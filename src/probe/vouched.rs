//! Signatures on certificates, each computed once.
//!
//! Model: whether a signature fits a key and a message never changes, and targets show the same
//! certificates at every probe. So the ones that fitted are remembered, by a digest of all that went
//! in, and with them most of what a handshake costs is spared: an elliptic curve takes a quarter of
//! a millisecond and more. What does change is judged at every probe as ever: dates, names, which
//! roots there are, which chain is shown. So is the signature of the handshake itself, by which a
//! server proves that it has the key; it is another one each time and does not come through here.
//!
//! Bounded: a full memory is emptied. What did not fit is not remembered.

use std::collections::BTreeSet;
use std::sync::{Mutex, OnceLock, PoisonError};

use aws_lc_rs::digest::{Context, SHA256};
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm};

/// Remembered at once: more than ten thousand targets have, since most share those above theirs.
const MOST: usize = 16 * 1024;

/// What fitted.
#[derive(Debug)]
struct Memory {
    digests: Mutex<BTreeSet<[u8; 32]>>,
    most: usize,
}

impl Memory {
    fn new(most: usize) -> Memory {
        Memory { digests: Mutex::new(BTreeSet::new()), most }
    }

    fn has(&self, digest: &[u8; 32]) -> bool {
        self.digests.lock().unwrap_or_else(PoisonError::into_inner).contains(digest)
    }

    fn put(&self, digest: [u8; 32]) {
        let mut digests = self.digests.lock().unwrap_or_else(PoisonError::into_inner);
        if digests.len() >= self.most {
            digests.clear();
        }
        digests.insert(digest);
    }
}

/// An algorithm that remembers.
#[derive(Debug)]
struct Remembering<'a> {
    inner: &'a dyn SignatureVerificationAlgorithm,
    memory: &'a Memory,
}

impl SignatureVerificationAlgorithm for Remembering<'_> {
    fn verify_signature(&self, key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
        let (public, signed) = (self.public_key_alg_id(), self.signature_alg_id());
        let digest = digest(&[public.as_ref(), signed.as_ref(), key, message, signature]);
        if self.memory.has(&digest) {
            return Ok(());
        }
        self.inner.verify_signature(key, message, signature)?;
        self.memory.put(digest);
        Ok(())
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        self.inner.public_key_alg_id()
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.inner.signature_alg_id()
    }
}

/// Of all parts, each with its length, so that none can lend bytes to its neighbour.
fn digest(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    let mut digest = [0; 32];
    digest.copy_from_slice(context.finish().as_ref());
    digest
}

/// The provider's algorithms, those for certificates with a memory that the whole program shares.
pub fn remembering(of: WebPkiSupportedAlgorithms) -> WebPkiSupportedAlgorithms {
    static MEMORY: OnceLock<Memory> = OnceLock::new();
    static WRAPPED: OnceLock<Vec<Remembering<'static>>> = OnceLock::new();
    static ALL: OnceLock<Vec<&'static dyn SignatureVerificationAlgorithm>> = OnceLock::new();
    let memory = MEMORY.get_or_init(|| Memory::new(MOST));
    let wrapped = WRAPPED.get_or_init(|| of.all.iter().map(|a| Remembering { inner: *a, memory }).collect());
    let all = ALL.get_or_init(|| wrapped.iter().map(|a| a as _).collect());
    WebPkiSupportedAlgorithms { all, mapping: of.mapping }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use rustls::pki_types::alg_id;

    use super::*;

    /// Takes every signature that ends as the message does, and counts.
    #[derive(Debug, Default)]
    struct Counting(AtomicUsize);

    impl SignatureVerificationAlgorithm for Counting {
        fn verify_signature(&self, _: &[u8], message: &[u8], sig: &[u8]) -> Result<(), InvalidSignature> {
            self.0.fetch_add(1, Ordering::SeqCst);
            if message.last() == sig.last() { Ok(()) } else { Err(InvalidSignature) }
        }

        fn public_key_alg_id(&self) -> AlgorithmIdentifier {
            alg_id::ECDSA_P256
        }

        fn signature_alg_id(&self) -> AlgorithmIdentifier {
            alg_id::ECDSA_SHA256
        }
    }

    #[test]
    fn what_fitted_is_computed_once_and_anything_else_every_time() {
        let (inner, memory) = (Counting::default(), Memory::new(MOST));
        let algorithm = Remembering { inner: &inner, memory: &memory };
        let computed = |key: &[u8], message: &[u8], signature: &[u8]| {
            let before = inner.0.load(Ordering::SeqCst);
            let fits = algorithm.verify_signature(key, message, signature).is_ok();
            (fits, inner.0.load(Ordering::SeqCst) - before)
        };
        assert_eq!(computed(b"key", b"message x", b"sig x"), (true, 1));
        assert_eq!(computed(b"key", b"message x", b"sig x"), (true, 0));
        // The same bytes, divided otherwise.
        assert_eq!(computed(b"keym", b"essage x", b"sig x"), (true, 1));
        assert_eq!(computed(b"key", b"message y", b"sig x"), (false, 1));
        assert_eq!(computed(b"key", b"message y", b"sig x"), (false, 1), "a failure is not remembered");
        assert_eq!(computed(b"key", b"message x", b"sig z"), (false, 1));
    }

    #[test]
    fn a_full_memory_is_emptied() {
        let memory = Memory::new(2);
        memory.put([1; 32]);
        memory.put([2; 32]);
        assert!(memory.has(&[1; 32]) && memory.has(&[2; 32]));
        memory.put([3; 32]);
        assert!(!memory.has(&[1; 32]) && memory.has(&[3; 32]));
    }
}

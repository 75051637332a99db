//! The node's key pair on disk: made once by `qu init`, loaded by every start.
//!
//! `keys/` (0700) holds `private.pem` (0600, PKCS#8), `cert.pem` (0644) and `public.pem` (0644, for
//! people; nothing here reads it but to notice that it belongs to another key). A private key that
//! does not belong to the certificate stops the start: with it every handshake would fail, and the
//! fingerprint that operators confirmed would be of a key that this node does not have.

use std::fmt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, RsaKeySize};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SigningKey};

use serde::{Deserialize, Serialize};

use super::fingerprint::Fingerprint;
use super::succession::Letter;
use super::{cert, pem};
use crate::base::file::{self, FileError};
use crate::base::text;

/// No key file is larger, bytes.
pub(super) const LARGEST: u64 = 64 * 1024;

/// Which kind of key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyKind {
    /// RSA of 3072 bits.
    #[default]
    Rsa3072,
    /// ECDSA on the NIST curve P-256: smaller and faster.
    EcdsaP256,
}

impl std::str::FromStr for KeyKind {
    type Err = String;
    fn from_str(text: &str) -> Result<KeyKind, String> {
        match text {
            "rsa3072" => Ok(KeyKind::Rsa3072),
            "ecdsa-p256" => Ok(KeyKind::EcdsaP256),
            _ => Err(format!("{text:?} is not a key type (rsa3072, ecdsa-p256)")),
        }
    }
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            KeyKind::Rsa3072 => "rsa3072",
            KeyKind::EcdsaP256 => "ecdsa-p256",
        })
    }
}

/// Where the three files are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFiles {
    /// `private.pem`.
    pub private: PathBuf,
    /// `public.pem`.
    pub public: PathBuf,
    /// `cert.pem`.
    pub cert: PathBuf,
}

impl KeyFiles {
    /// In this directory.
    #[must_use]
    pub fn in_dir(dir: &Path) -> KeyFiles {
        KeyFiles {
            private: dir.join("private.pem"),
            public: dir.join("public.pem"),
            cert: dir.join("cert.pem"),
        }
    }
}

/// A new key pair, not yet on disk.
#[derive(Clone)]
pub struct Made {
    /// PKCS#8.
    pub private_pem: String,
    /// SubjectPublicKeyInfo.
    pub public_pem: String,
    /// Self-signed.
    pub cert_pem: String,
}

/// Why there is no usable key.
#[derive(Debug)]
pub enum KeyError {
    /// A file could not be read or written.
    File(FileError),
    /// The provider could not make or use a key.
    Crypto(String),
    /// A file holds something else than its name says.
    Content {
        /// Which.
        path: PathBuf,
        /// What should be in it.
        want: &'static str,
        /// What is.
        got: String,
    },
    /// The private key is not that of the certificate.
    Mismatch {
        /// `private.pem`.
        private: PathBuf,
        /// `cert.pem`.
        cert: PathBuf,
    },
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyError::File(e) => write!(f, "{}", text::chain(e)),
            KeyError::Crypto(why) => write!(f, "making a key: {why}"),
            KeyError::Content { path, want, got } => write!(
                f,
                "{} should hold a {want} but {got}: restore the whole keys directory from a backup of this node",
                path.display()
            ),
            KeyError::Mismatch { private, cert } => write!(
                f,
                "the key in {} is not the key of the certificate in {}: \
                 they are files of two nodes; restore the whole keys directory from a backup of this node",
                private.display(),
                cert.display()
            ),
        }
    }
}

impl std::error::Error for KeyError {}

impl From<FileError> for KeyError {
    fn from(e: FileError) -> KeyError {
        KeyError::File(e)
    }
}

/// The loaded identity of this node.
#[derive(Clone)]
pub struct Keys {
    certified: Arc<CertifiedKey>,
    cert_pem: Arc<str>,
    fingerprint: Fingerprint,
    letters: Arc<[Letter]>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keys({})", self.fingerprint)
    }
}

impl Keys {
    /// The fingerprint of the own key.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// The letters that lead from earlier keys of this node to this one, oldest first.
    #[must_use]
    pub fn letters(&self) -> &[Letter] {
        &self.letters
    }

    /// The own certificate.
    #[must_use]
    pub fn cert_pem(&self) -> &str {
        &self.cert_pem
    }

    /// Certificate and signing key, as TLS wants them; the letters follow the certificate.
    #[must_use]
    pub fn certified(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.certified)
    }

    /// From what was just made, without a disk in between: for tests and for a first start.
    ///
    /// # Errors
    /// [`KeyError`] when the two do not belong together.
    pub fn from_made(made: &Made) -> Result<Keys, KeyError> {
        Keys::from_pem(&made.private_pem, &made.cert_pem, &KeyFiles::in_dir(Path::new("")))
    }

    fn from_pem(private: &str, certificate: &str, files: &KeyFiles) -> Result<Keys, KeyError> {
        let key = signing_key(private, &files.private)?;
        let not_cert = |got| KeyError::Content { path: files.cert.clone(), want: "certificate", got };
        let der: CertificateDer<'static> =
            cert::from_pem(certificate).map_err(|_| not_cert(holds(certificate)))?;
        let fingerprint = cert::fingerprint(&der).map_err(|e| not_cert(e.to_string()))?;
        let ours = key.public_key().map(|spki| Fingerprint::of_spki(spki.as_ref()));
        if ours != Some(fingerprint) {
            return Err(KeyError::Mismatch { private: files.private.clone(), cert: files.cert.clone() });
        }
        let letters: Vec<Letter> =
            letter_lines(certificate).filter_map(|l| Letter::from_bytes(l.as_bytes())).collect();
        let alone = if letters.is_empty() { certificate.to_owned() } else { cert::to_pem(&der) };
        let mut shown = vec![der];
        for letter in &letters {
            shown.push(CertificateDer::from(letter.to_bytes().map_err(KeyError::Crypto)?));
        }
        Ok(Keys {
            certified: Arc::new(CertifiedKey::new(shown, key)),
            cert_pem: alone.into(),
            fingerprint,
            letters: letters.into(),
        })
    }
}

/// Letters stand after the certificate, one a line: what is outside of the blocks of a PEM file is
/// for people (RFC 7468, section 2), and the two are replaced at once.
fn letter_lines(certificate: &str) -> impl Iterator<Item = &str> {
    certificate.lines().filter(|line| line.starts_with('{'))
}

/// A certificate's text with these letters after it.
///
/// # Errors
/// [`KeyError::Crypto`]: a letter cannot be written.
pub fn with_letters(cert_pem: &str, letters: &[Letter]) -> Result<String, KeyError> {
    let mut text = cert_pem.to_owned();
    for letter in letters {
        let bytes = letter.to_bytes().map_err(KeyError::Crypto)?;
        if !text.ends_with('\n') {
            text.push('\n');
        }
        text.push_str(&String::from_utf8_lossy(&bytes));
    }
    text.push('\n');
    Ok(text)
}

fn signing_key(private: &str, path: &Path) -> Result<Arc<dyn SigningKey>, KeyError> {
    let bad = |got| KeyError::Content { path: path.to_owned(), want: "private key", got };
    let der = PrivateKeyDer::from_pem_slice(private.as_bytes()).map_err(|_| bad(holds(private)))?;
    // What the library says about a key that does not parse is left out: it is about secret bytes.
    rustls::crypto::aws_lc_rs::sign::any_supported_type(&der)
        .map_err(|_| bad("what is in it is no RSA or ECDSA key".to_owned()))
}

/// What a file holds instead of what it should.
fn holds(content: &str) -> String {
    match pem::label(content) {
        Some(label) => format!("holds a {}", text::harmless(&text::shorten(&label.to_lowercase(), 40))),
        None if content.trim().is_empty() => "is empty".to_owned(),
        None => "holds no PEM block".to_owned(),
    }
}

/// Makes a key pair and its certificate. RSA takes a second or so on a small machine.
///
/// # Errors
/// [`KeyError::Crypto`].
pub fn make(kind: KeyKind) -> Result<Made, KeyError> {
    let pair = match kind {
        KeyKind::Rsa3072 => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_3072),
        KeyKind::EcdsaP256 => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256),
    };
    let pair = pair.map_err(|e| KeyError::Crypto(e.to_string()))?;
    let cert_pem = cert::self_signed(&pair).map_err(KeyError::Crypto)?;
    Ok(Made { private_pem: pair.serialize_pem(), public_pem: pair.public_key_pem(), cert_pem })
}

/// Writes a new key pair; the directory is made when it is missing. Files that exist stay and are
/// the error: an identity is never overwritten.
///
/// # Errors
/// [`KeyError::File`].
pub fn write(dir: &Path, made: &Made) -> Result<(), KeyError> {
    file::directory(dir, 0o700)?;
    let files = KeyFiles::in_dir(dir);
    // The private key last: a start that finds it finds the other two as well.
    file::create(&files.cert, made.cert_pem.as_bytes(), 0o644)?;
    file::create(&files.public, made.public_pem.as_bytes(), 0o644)?;
    file::create(&files.private, made.private_pem.as_bytes(), 0o600)?;
    Ok(())
}

/// Loads the key pair, with warnings for the log: modes that let others read the private key, and
/// a `public.pem` of another key.
///
/// # Errors
/// [`KeyError`]; every one names the file and the remedy.
pub fn load(dir: &Path) -> Result<(Keys, Vec<String>), KeyError> {
    let files = KeyFiles::in_dir(dir);
    let private = file::read_text(&files.private, LARGEST)?;
    let certificate = file::read_text(&files.cert, LARGEST)?;
    let keys = Keys::from_pem(&private, &certificate, &files)?;
    let mut warnings = Vec::new();
    if letter_lines(&certificate).count() > keys.letters.len() {
        warnings.push(format!(
            "{} holds a line that is no letter of an earlier key: it is left out",
            files.cert.display()
        ));
    }
    for (path, allowed) in [(dir, 0o700), (files.private.as_path(), 0o600)] {
        warnings.extend(too_open(path, allowed)?);
    }
    // A missing public.pem harms nobody.
    if let Ok(public) = file::read_text(&files.public, LARGEST)
        && !is_key(&public, keys.fingerprint)
    {
        warnings.push(format!(
            "{} is not the key of {} (nothing reads it, but people may)",
            files.public.display(),
            files.cert.display()
        ));
    }
    Ok((keys, warnings))
}

fn is_key(public_pem: &str, fingerprint: Fingerprint) -> bool {
    rustls::pki_types::SubjectPublicKeyInfoDer::from_pem_slice(public_pem.as_bytes())
        .is_ok_and(|spki| Fingerprint::of_spki(spki.as_ref()) == fingerprint)
}

fn too_open(path: &Path, allowed: u32) -> Result<Option<String>, FileError> {
    let mode = std::fs::metadata(path).map_err(file::at("read the mode of", path))?.permissions().mode();
    let open = mode & 0o777 & !allowed != 0;
    Ok(open.then(|| {
        let path = path.display();
        format!(
            "{path} has mode {:04o}: other users can use this node's key (chmod {allowed:04o} {path})",
            mode & 0o777
        )
    }))
}

#[cfg(test)]
mod tests;

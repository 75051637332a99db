//! The self-signed certificate of a node: the envelope in which TLS carries its public key.
//!
//! Nothing in it but the key means anything: not the name, not the dates (RFC 5280, section
//! 4.1.2.5, has a date for "never expires"), not the serial number.

use std::fmt;

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::fingerprint::Fingerprint;
use super::pem;

/// Why bytes are not a certificate that this program can work with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotACertificate(pub String);

impl fmt::Display for NotACertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not a certificate: {}", self.0)
    }
}

impl std::error::Error for NotACertificate {}

/// A certificate for `key`, signed by it, as PEM.
///
/// # Errors
/// The provider's, as text.
pub fn self_signed(key: &KeyPair) -> Result<String, String> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "quptime node");
    params.not_before = rcgen::date_time_ymd(2000, 1, 1);
    params.not_after = rcgen::date_time_ymd(9999, 12, 31);
    params.self_signed(key).map(|cert| cert.pem()).map_err(|e| e.to_string())
}

/// The first certificate in a PEM text, as DER.
///
/// # Errors
/// [`NotACertificate`].
pub fn from_pem(text: &str) -> Result<CertificateDer<'static>, NotACertificate> {
    CertificateDer::from_pem_slice(text.as_bytes()).map_err(|e| NotACertificate(format!("{e:?}")))
}

/// A certificate as PEM.
#[must_use]
pub fn to_pem(cert: &CertificateDer<'_>) -> String {
    pem::write("CERTIFICATE", cert)
}

/// The fingerprint of a certificate's key.
///
/// # Errors
/// [`NotACertificate`] when the structure does not parse as X.509 version 3.
pub fn fingerprint(cert: &CertificateDer<'_>) -> Result<Fingerprint, NotACertificate> {
    let parsed = webpki::EndEntityCert::try_from(cert).map_err(|e| NotACertificate(e.to_string()))?;
    Ok(Fingerprint::of_spki(parsed.subject_public_key_info().as_ref()))
}

/// The fingerprint of the key in a PEM certificate.
///
/// # Errors
/// [`NotACertificate`].
pub fn fingerprint_of_pem(text: &str) -> Result<Fingerprint, NotACertificate> {
    fingerprint(&from_pem(text)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fingerprint_is_of_the_key_and_not_of_the_certificate() {
        use rcgen::PublicKeyData as _;
        let key = KeyPair::generate().unwrap();
        let one = self_signed(&key).unwrap();
        let mut other = CertificateParams::new(vec!["elsewhere.example".to_owned()]).unwrap();
        other.not_after = rcgen::date_time_ymd(2001, 1, 1);
        let other = other.self_signed(&key).unwrap();
        assert_ne!(one, other.pem());
        let print = fingerprint_of_pem(&one).unwrap();
        assert_eq!(print, fingerprint(other.der()).unwrap());
        assert_eq!(print, Fingerprint::of_spki(&key.subject_public_key_info()));
        assert_eq!(fingerprint_of_pem(&to_pem(&from_pem(&one).unwrap())).unwrap(), print);
    }

    #[test]
    fn what_is_no_certificate_is_refused_and_not_a_panic() {
        let cut = {
            let pem = self_signed(&KeyPair::generate().unwrap()).unwrap();
            let der = from_pem(&pem).unwrap();
            to_pem(&CertificateDer::from(der[..der.len() / 2].to_vec()))
        };
        for bad in ["", "hello", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", &cut] {
            assert!(fingerprint_of_pem(bad).is_err(), "{bad:?}");
        }
    }
}

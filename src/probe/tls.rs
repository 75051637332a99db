//! TLS towards targets: one configuration and one root store for all probes, and names for what
//! can go wrong.
//!
//! Model: TLS 1.2 and 1.3; certificates are verified against the system's roots
//! (`SSL_CERT_FILE` and `SSL_CERT_DIR` are honoured), loaded when the first handshake needs them
//! and kept. Every handshake is a full one: a resumed session would not see that the certificate
//! has expired since. Only the signatures on certificates that were seen before are not computed
//! anew (`vouched.rs`).

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{CertificateError, ClientConfig, Error, OtherError, RootCertStore};

use crate::base::clock::Wall;
use crate::base::text::rfc3339;
use crate::base::units::Host;
use crate::identity::verifier::{Judge, Shown, Verifier};
use crate::verdict::Stage;

use super::socket::Failure;
use super::vouched;

/// Whom certificates may come from.
#[derive(Clone, Debug, Default)]
pub enum Roots {
    /// The authorities that this system trusts.
    #[default]
    System,
    /// These only: for tests.
    Given(Arc<RootCertStore>),
}

/// The configuration of all handshakes, made when first needed.
#[derive(Debug)]
pub struct Tls {
    roots: Roots,
    config: OnceLock<Arc<ClientConfig>>,
}

impl Tls {
    /// Loads nothing yet.
    #[must_use]
    pub fn new(roots: Roots) -> Tls {
        Tls { roots, config: OnceLock::new() }
    }

    /// The configuration; the first call may read the system's roots from disk.
    ///
    /// # Errors
    /// There are no roots to verify with.
    pub fn config(&self) -> Result<Arc<ClientConfig>, Failure> {
        if let Some(config) = self.config.get() {
            return Ok(Arc::clone(config));
        }
        let roots = match &self.roots {
            Roots::Given(roots) => Arc::clone(roots),
            Roots::System => system_roots()?,
        };
        let made = Arc::new(build(roots).map_err(|why| Failure::at(Stage::Local, why))?);
        Ok(Arc::clone(self.config.get_or_init(|| made)))
    }
}

fn system_roots() -> Result<Arc<RootCertStore>, Failure> {
    let found = rustls_native_certs::load_native_certs();
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(found.certs);
    if store.is_empty() {
        let why = "no root certificates on this host (install ca-certificates, or set SSL_CERT_FILE)";
        return Err(Failure::at(Stage::Local, why));
    }
    Ok(Arc::new(store))
}

/// The provider with key exchanges and ciphers in the order of their price: a probe has no secret that
/// somebody could want to decrypt in twenty years. Post-quantum shares cost every probe, and so does
/// SHA-384, for which processors have no instructions as they have for SHA-256.
fn provider() -> CryptoProvider {
    use aws_lc_rs::kx_group::{SECP256R1, SECP384R1, X25519, X25519MLKEM768};
    let default = aws_lc_rs::default_provider();
    let mut cipher_suites = default.cipher_suites;
    // Otherwise as the provider has them.
    cipher_suites.sort_by_key(|suite| suite.suite().as_str().is_some_and(|name| name.ends_with("SHA384")));
    CryptoProvider { kx_groups: vec![X25519, SECP256R1, SECP384R1, X25519MLKEM768], cipher_suites, ..default }
}

fn build(roots: Arc<RootCertStore>) -> Result<ClientConfig, String> {
    let provider = Arc::new(provider());
    let mut remembering = (*provider).clone();
    remembering.signature_verification_algorithms =
        vouched::remembering(provider.signature_verification_algorithms);
    let inner = WebPkiServerVerifier::builder_with_provider(roots, Arc::new(remembering))
        .build()
        .map_err(|e| format!("no certificate verifier: {e}"))?;
    let verifier = Verifier::new(&provider, Naming { inner });
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|e| format!("no TLS configuration: {e}"))?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.resumption = rustls::client::Resumption::disabled();
    Ok(config)
}

/// Verifies exactly as webpki does, and only names one failure more precisely.
#[derive(Debug)]
struct Naming {
    inner: Arc<WebPkiServerVerifier>,
}

/// The certificate vouches for itself only.
#[derive(Debug)]
struct SelfSigned;

impl fmt::Display for SelfSigned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("self-signed certificate")
    }
}

impl std::error::Error for SelfSigned {}

fn is_self_signed(certificate: &CertificateDer<'_>) -> bool {
    webpki::EndEntityCert::try_from(certificate).is_ok_and(|c| c.issuer() == c.subject())
}

impl Judge for Naming {
    fn judge(&self, shown: &Shown<'_>) -> Result<(), Error> {
        let Some(name) = shown.name else { return Err(CertificateError::NotValidForName.into()) };
        let verified =
            self.inner.verify_server_cert(shown.own, shown.beside, name, shown.ocsp, shown.now).map(drop);
        verified.map_err(|error| match error {
            Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::Other(_))
                if is_self_signed(shown.own) =>
            {
                Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(SelfSigned))))
            }
            other => other,
        })
    }
}

/// The name that a host's certificate must carry.
///
/// # Errors
/// It cannot stand in a certificate.
pub fn server_name(host: &Host) -> Result<ServerName<'static>, Failure> {
    match host {
        Host::Ip(ip) => Ok(ServerName::IpAddress((*ip).into())),
        Host::Name(name) => ServerName::try_from(name.trim_end_matches('.').to_owned())
            .map_err(|_| Failure::at(Stage::Tls, format!("no certificate can carry the name {name}"))),
    }
}

/// An error of a handshake or of a connection after it, in words.
#[must_use]
pub fn failure(error: &Error) -> Failure {
    let cause = match error {
        Error::InvalidCertificate(why) => certificate(why),
        Error::AlertReceived(alert) => format!("the server refused the handshake ({alert:?})"),
        Error::PeerIncompatible(why) => {
            format!("nothing in common with the server, TLS 1.2 is needed at least ({why:?})")
        }
        Error::InvalidMessage(_) => "the answer is not TLS (http:// instead?)".to_owned(),
        Error::NoCertificatesPresented => "the server has no certificate".to_owned(),
        Error::PeerMisbehaved(why) => format!("the server breaks the protocol ({why:?})"),
        other => other.to_string(),
    };
    Failure::at(Stage::Tls, cause)
}

fn certificate(error: &CertificateError) -> String {
    match error {
        CertificateError::Expired => "certificate expired".to_owned(),
        CertificateError::ExpiredContext { time, not_after } => {
            let since = time.as_secs().saturating_sub(not_after.as_secs());
            format!("certificate expired {} ago", coarse(Duration::from_secs(since)))
        }
        CertificateError::NotValidYet => "certificate not valid yet".to_owned(),
        CertificateError::NotValidYetContext { not_before, .. } => format!(
            "certificate not valid before {} (is this host's clock right?)",
            rfc3339(Wall(not_before.as_secs().saturating_mul(1000)))
        ),
        CertificateError::NotValidForName => "certificate not valid for this name".to_owned(),
        CertificateError::NotValidForNameContext { expected, presented } => {
            let names: Vec<&str> = presented.iter().take(3).map(|n| bare(n)).collect();
            let whose = if names.is_empty() { "no name".to_owned() } else { names.join(", ") };
            format!("certificate not valid for name {} (it is for {whose})", expected.to_str())
        }
        CertificateError::UnknownIssuer => {
            "unknown issuer (a private CA, or an intermediate certificate is missing)".to_owned()
        }
        CertificateError::Revoked => "certificate revoked".to_owned(),
        CertificateError::BadEncoding => "certificate cannot be read".to_owned(),
        CertificateError::BadSignature => "certificate with a wrong signature".to_owned(),
        CertificateError::Other(OtherError(why)) => why.to_string(),
        other => format!("certificate not accepted: {other}"),
    }
}

/// `DnsName("a.example")` as `a.example`.
fn bare(name: &str) -> &str {
    name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')')).map_or(name, |n| n.trim_matches('"'))
}

/// `3 days`, `1 hour`: one unit is enough to know what happened.
fn coarse(d: Duration) -> String {
    let (count, unit) = match d.as_secs() {
        s if s >= 2 * 86_400 => (s / 86_400, "day"),
        s if s >= 2 * 3600 => (s / 3600, "hour"),
        s if s >= 120 => (s / 60, "minute"),
        s => (s, "second"),
    };
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_told_in_one_unit() {
        for (secs, want) in [
            (1, "1 second"),
            (119, "119 seconds"),
            (150, "2 minutes"),
            (90_000, "25 hours"),
            (3 * 86_400 + 7, "3 days"),
        ] {
            assert_eq!(coarse(Duration::from_secs(secs)), want);
        }
    }

    #[test]
    fn names_in_certificates_are_shown_without_their_type() {
        assert_eq!(bare("DnsName(\"a.example\")"), "a.example");
        assert_eq!(bare("IpAddress(127.0.0.1)"), "127.0.0.1");
        assert_eq!(bare("x"), "x");
    }

    #[test]
    fn an_address_and_a_name_with_a_final_dot_can_be_verified() {
        assert!(server_name(&"::1".parse().unwrap()).is_ok());
        let dotted = server_name(&"web.example.".parse().unwrap()).unwrap();
        assert_eq!(dotted.to_str(), "web.example");
    }
}

//! What every certificate verifier of this program has in common: the other end must have the
//! private key of the certificate that it shows. What else is asked of it is a [`Judge`]'s: between
//! nodes which key it is (`transport::tls`), at a target who vouches for its name (`probe::tls`).

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};

/// What the other end shows.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a> {
    /// Its certificate.
    pub own: &'a CertificateDer<'a>,
    /// What came beside it.
    pub beside: &'a [CertificateDer<'a>],
    /// Whom this side wanted to reach; nobody at the side that was reached.
    pub name: Option<&'a ServerName<'a>>,
    /// A stapled answer about revocation; may be empty.
    pub ocsp: &'a [u8],
    /// The time of the handshake.
    pub now: UnixTime,
}

/// Whether what is shown is enough, apart from the proof of having the key.
pub trait Judge: fmt::Debug + Send + Sync {
    /// Judges it.
    ///
    /// # Errors
    /// The handshake ends with it.
    fn judge(&self, shown: &Shown<'_>) -> Result<(), Error>;
}

/// A verifier for either side of a handshake.
#[derive(Debug)]
pub struct Verifier<J> {
    algorithms: WebPkiSupportedAlgorithms,
    judge: J,
}

impl<J: Judge> Verifier<J> {
    /// With this provider's algorithms.
    #[must_use]
    pub fn new(provider: &CryptoProvider, judge: J) -> Arc<Verifier<J>> {
        Arc::new(Verifier { algorithms: provider.signature_verification_algorithms, judge })
    }
}

/// The proof of having the key, the same for both sides.
macro_rules! signatures {
    () => {
        fn verify_tls12_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            verify_tls12_signature(message, cert, signed, &self.algorithms)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            verify_tls13_signature(message, cert, signed, &self.algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.algorithms.supported_schemes()
        }
    };
}

impl<J: Judge> ServerCertVerifier for Verifier<J> {
    fn verify_server_cert(
        &self,
        own: &CertificateDer<'_>,
        beside: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let shown = Shown { own, beside, name: Some(name), ocsp, now };
        self.judge.judge(&shown).map(|()| ServerCertVerified::assertion())
    }

    signatures!();
}

impl<J: Judge> ClientCertVerifier for Verifier<J> {
    /// No authority is asked for: every client may show what it has.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        own: &CertificateDer<'_>,
        beside: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let shown = Shown { own, beside, name: None, ocsp: &[], now };
        self.judge.judge(&shown).map(|()| ClientCertVerified::assertion())
    }

    signatures!();
}

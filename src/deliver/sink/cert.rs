//! A certificate authority that lives as long as a test or a sandbox.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// An authority with a fresh key; nobody trusts it but who is given [`TestAuthority::ca_pem`].
pub struct TestAuthority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl TestAuthority {
    /// Makes one.
    ///
    /// # Errors
    /// A sentence, when the crypto provider fails.
    pub fn new() -> Result<TestAuthority, String> {
        let why = |e: rcgen::Error| format!("make a test authority: {e}");
        let key = KeyPair::generate().map_err(why)?;
        let mut params = CertificateParams::new(Vec::new()).map_err(why)?;
        // Two authorities of one name would be taken for each other.
        let mark: String = key.public_key_raw().iter().rev().take(4).map(|b| format!("{b:02x}")).collect();
        params.distinguished_name.push(DnType::CommonName, format!("quptime test authority {mark}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let certificate = params.self_signed(&key).map_err(why)?;
        Ok(TestAuthority { pem: certificate.pem(), issuer: Issuer::new(params, key) })
    }

    /// The authority's certificate.
    #[must_use]
    pub fn ca_pem(&self) -> &str {
        &self.pem
    }

    /// TLS for a server of these names and addresses.
    ///
    /// # Errors
    /// A sentence, when a name is none or the crypto provider fails.
    pub fn server(&self, names: &[&str]) -> Result<Arc<ServerConfig>, String> {
        let why = |e: rcgen::Error| format!("make a test certificate: {e}");
        let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
        let key = KeyPair::generate().map_err(why)?;
        let params = CertificateParams::new(names).map_err(why)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(why)?;
        let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|b| b.with_no_client_auth().with_single_cert(vec![certificate.der().clone()], private))
            .map(Arc::new)
            .map_err(|e| format!("use a test certificate: {e}"))
    }
}

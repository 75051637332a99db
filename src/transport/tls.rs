//! TLS between nodes: version 1.3 only, a self-signed certificate at either end, no authority.
//!
//! The usual question of a certificate verifier, "does somebody I trust vouch for this name?", is
//! not asked here. What is verified is that the other end has the private key of the certificate
//! it shows (the handshake signature); who that makes it is decided by the key's fingerprint:
//! * `AnyClientKeyIfProved` lets every key in, because a node that wants to join is not known
//!   yet. The listener looks the key up in the trust store before it reads a byte of a message.
//! * `PinnedServerKey` lets the one expected key pass and ends the handshake for every other,
//!   before this node has shown its own certificate. For a peer that key is the one of the
//!   configuration, or one to which that one's letters lead (`identity::succession`).
//! * `AnyServerKeyForOperator` lets every key pass, for the first step of an addition alone: a
//!   person confirms the fingerprint before anything else is sent there.
//!
//! What the client wants is said by ALPN, so that the server knows it before it reads a message:
//! [`PEERS`] or [`JOIN`]. No tickets, no resumption, no early data: every connection proves its
//! keys anew.

use std::fmt;
use std::sync::{Arc, OnceLock};

use rustls::client::danger::ServerCertVerifier;
use rustls::client::{Resumption, Tls12Resumption};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self, kx_group};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::{NoServerSessionStorage, ServerConfig};
use rustls::sign::SingleCertAndKey;
use rustls::{CertificateError, ClientConfig, ClientConnection, Connection, Error, SupportedCipherSuite};

use crate::base::id::{ClusterId, NodeId};
use crate::identity::secret::{EXPORTER_LABEL, EXPORTER_LENGTH, Session};
use crate::identity::verifier::{self, Judge, Verifier};
use crate::identity::{Fingerprint, Keys, Letter, cert, succession};

/// ALPN of a connection between peers.
pub const PEERS: &[u8] = b"quptime/1";
/// ALPN of a connection that asks to join.
pub const JOIN: &[u8] = b"quptime-join/1";

/// The library refused our own settings: a fault of this build, found at start.
#[derive(Clone, Debug)]
pub struct TlsSetup(Error);

impl fmt::Display for TlsSetup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "setting up TLS: {}", self.0)
    }
}

impl std::error::Error for TlsSetup {}

impl From<Error> for TlsSetup {
    fn from(e: Error) -> TlsSetup {
        TlsSetup(e)
    }
}

/// Everything that connections of this node are made of.
#[derive(Clone)]
pub struct Tls {
    provider: Arc<CryptoProvider>,
    own: Arc<SingleCertAndKey>,
    server: Arc<ServerConfig>,
    fingerprint: Fingerprint,
}

/// What a dialled server must show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// This key.
    Key(Fingerprint),
    /// This key of this peer, or one that it has named as its successor.
    Peer {
        /// In which cluster.
        cluster: ClusterId,
        /// Whose.
        node: NodeId,
        /// The key that is known.
        key: Fingerprint,
    },
    /// Any key, which the caller has confirmed by a person before sending anything.
    AskTheOperator,
}

/// The provider with what is used of it: TLS 1.3 suites, and X25519 with ML-KEM-768 first, so that
/// what is recorded today is not read when quantum computers come.
fn provider() -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites.retain(|suite| matches!(suite, SupportedCipherSuite::Tls13(_)));
    provider.kx_groups = vec![kx_group::X25519MLKEM768, kx_group::X25519];
    provider
}

impl Tls {
    /// For a node with these keys.
    ///
    /// # Errors
    /// [`TlsSetup`].
    pub fn new(keys: &Keys) -> Result<Tls, TlsSetup> {
        let provider = Arc::new(provider());
        let own = Arc::new(SingleCertAndKey::from(keys.certified()));
        let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(Verifier::new(&provider, AnyClientKeyIfProved))
            .with_cert_resolver(Arc::clone(&own) as _);
        server.alpn_protocols = vec![PEERS.to_vec(), JOIN.to_vec()];
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        server.max_early_data_size = 0;
        Ok(Tls { provider, own, server: Arc::new(server), fingerprint: keys.fingerprint() })
    }

    /// The own key.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// For accepted connections.
    #[must_use]
    pub fn server(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.server)
    }

    /// A connection to be dialled, and where the key that the server showed can be seen afterwards,
    /// whether it was the expected one or not.
    ///
    /// # Errors
    /// [`TlsSetup`].
    pub fn dial(&self, expect: Expect, alpn: &[u8]) -> Result<(Connection, Arc<Shown>), TlsSetup> {
        let shown = Arc::new(Shown::default());
        let seen = Arc::clone(&shown);
        let verifier: Arc<dyn ServerCertVerifier> = match expect {
            Expect::Key(expected) => {
                Verifier::new(&self.provider, PinnedServerKey { expected, of: None, seen })
            }
            Expect::Peer { cluster, node, key } => {
                let of = Some((cluster, node));
                Verifier::new(&self.provider, PinnedServerKey { expected: key, of, seen })
            }
            Expect::AskTheOperator => Verifier::new(&self.provider, AnyServerKeyForOperator { seen }),
        };
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_client_cert_resolver(Arc::clone(&self.own) as _);
        config.alpn_protocols = vec![alpn.to_vec()];
        config.resumption = Resumption::disabled().tls12_resumption(Tls12Resumption::Disabled);
        config.enable_sni = false;
        // A name is demanded by the library and, without SNI, never sent.
        let name = ServerName::try_from("quptime.invalid").map_err(|e| Error::General(e.to_string()))?;
        Ok((ClientConnection::new(Arc::new(config), name)?.into(), shown))
    }
}

/// The key that a server showed.
#[derive(Debug, Default)]
pub struct Shown(OnceLock<Fingerprint>);

impl Shown {
    /// The key, once the server has shown one.
    #[must_use]
    pub fn key(&self) -> Option<Fingerprint> {
        self.0.get().copied()
    }

    fn note(&self, key: Fingerprint) {
        // One connection shows one key; a second call could only repeat the first.
        let _ = self.0.set(key);
    }
}

/// The certificate of the other end, after the handshake.
#[must_use]
pub fn other_end(connection: &Connection) -> Option<(Fingerprint, CertificateDer<'static>)> {
    let first = connection.peer_certificates()?.first()?;
    Some((cert::fingerprint(first).ok()?, first.clone().into_owned()))
}

/// The letters that the other end showed beside its certificate, at most as many as are looked at.
#[must_use]
pub fn letters(connection: &Connection) -> Vec<Letter> {
    connection
        .peer_certificates()
        .map(|shown| letters_in(shown.get(1..).unwrap_or_default()))
        .unwrap_or_default()
}

fn letters_in(beside: &[CertificateDer<'_>]) -> Vec<Letter> {
    beside.iter().take(succession::MOST).filter_map(|der| Letter::from_bytes(der)).collect()
}

/// The session that a join proof is tied to. `None` before the end of the handshake.
#[must_use]
pub fn session(connection: &Connection, own: Fingerprint) -> Option<Session> {
    let (other, _) = other_end(connection)?;
    let exporter = connection.export_keying_material([0; EXPORTER_LENGTH], EXPORTER_LABEL, None).ok()?;
    let (asker, answerer) = match connection {
        Connection::Client(_) => (own, other),
        Connection::Server(_) => (other, own),
    };
    Some(Session { exporter, asker, answerer })
}

fn key_of(cert: &CertificateDer<'_>) -> Result<Fingerprint, Error> {
    cert::fingerprint(cert).map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))
}

/// At the server: every key passes that the client proves to have. Trust is looked up afterwards.
#[derive(Debug)]
struct AnyClientKeyIfProved;

impl Judge for AnyClientKeyIfProved {
    fn judge(&self, shown: &verifier::Shown<'_>) -> Result<(), Error> {
        key_of(shown.own).map(drop)
    }
}

/// At the client: one key passes.
#[derive(Debug)]
struct PinnedServerKey {
    expected: Fingerprint,
    /// Whose it is, where its successors pass too.
    of: Option<(ClusterId, NodeId)>,
    seen: Arc<Shown>,
}

impl Judge for PinnedServerKey {
    fn judge(&self, shown: &verifier::Shown<'_>) -> Result<(), Error> {
        let key = key_of(shown.own)?;
        self.seen.note(key);
        let follows =
            |(cluster, node)| succession::leads(&letters_in(shown.beside), cluster, node, self.expected, key);
        if key == self.expected || self.of.is_some_and(follows) {
            Ok(())
        } else {
            Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
        }
    }
}

/// At the client that identifies a node: every key passes that the server proves to have, and a
/// person is asked about it before a second connection pins it.
#[derive(Debug)]
struct AnyServerKeyForOperator {
    seen: Arc<Shown>,
}

impl Judge for AnyServerKeyForOperator {
    fn judge(&self, shown: &verifier::Shown<'_>) -> Result<(), Error> {
        self.seen.note(key_of(shown.own)?);
        Ok(())
    }
}

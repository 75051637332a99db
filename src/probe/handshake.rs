//! The TLS handshake of one probe: the socket stays here, the arithmetic goes to the workers.

use std::io;

use rustls::ClientConnection;

use crate::base::units::Host;
use crate::verdict::Stage;

use super::http::exchange::Stream;
use super::socket::{Ctx, Failure, Sock, connection_failure};
use super::tls;
use super::workers::{Computed, Work};

/// A handshake going on.
#[derive(Debug)]
pub struct Handshake {
    /// Taken out when it is over.
    sock: Option<Sock>,
    /// `None` while a worker has it.
    tls: Option<Box<ClientConnection>>,
}

impl Handshake {
    /// Begins one towards this host.
    ///
    /// # Errors
    /// The host's name cannot stand in a certificate.
    pub fn start(ctx: &mut Ctx<'_>, sock: Sock, host: &Host) -> Result<Handshake, Failure> {
        let name = tls::server_name(host)?;
        ctx.workers.submit(ctx.key, Work::Begin(name));
        Ok(Handshake { sock: Some(sock), tls: None })
    }

    /// A worker has given the connection back.
    ///
    /// # Errors
    /// The handshake failed.
    pub fn computed(&mut self, ctx: &mut Ctx<'_>, computed: Computed) -> Result<Option<Stream>, Failure> {
        match computed {
            Ok(tls) => {
                self.tls = Some(tls);
                self.drive(ctx)
            }
            Err((failure, tls)) => {
                // The other side is told why, if it takes it at once.
                if let (Some(sock), Some(mut tls)) = (&self.sock, tls) {
                    drop(tls.write_tls(&mut &sock.socket));
                }
                Err(failure)
            }
        }
    }

    /// Sends and reads as far as the connection lets us.
    ///
    /// # Errors
    /// The connection broke.
    pub fn drive(&mut self, ctx: &mut Ctx<'_>) -> Result<Option<Stream>, Failure> {
        let (Some(sock), Some(tls)) = (&self.sock, &mut self.tls) else { return Ok(None) };
        while tls.wants_write() {
            match tls.write_tls(&mut &sock.socket) {
                Ok(_) => {}
                // Blocked, or broken: what there is to read decides.
                Err(_) => break,
            }
        }
        if !tls.is_handshaking() {
            let (sock, tls) = (self.sock.take(), self.tls.take());
            return Ok(sock.zip(tls).map(|(sock, tls)| Stream::Tls(sock, tls)));
        }
        let mut came = false;
        loop {
            match tls.read_tls(&mut &sock.socket) {
                Ok(0) if came => break,
                Ok(0) => return Err(Failure::at(Stage::Tls, "connection closed during the handshake")),
                Ok(_) => came = true,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                // rustls takes no more before it has processed what it has.
                Err(_) if came => break,
                Err(e) => {
                    let failure = connection_failure(Stage::Tls, &e);
                    return Err(Failure {
                        detail: format!("{} during the handshake", failure.detail),
                        ..failure
                    });
                }
            }
        }
        if came && let Some(tls) = self.tls.take() {
            ctx.workers.submit(ctx.key, Work::Advance(tls));
        }
        Ok(None)
    }
}

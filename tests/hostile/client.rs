//! Clients that keep to no rules: from any address of loopback, with any key, saying anything.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use quptime::base::frame;
use quptime::identity::keys::{self, KeyKind, Keys};
use quptime::transport::tls::{Expect, Tls};
use rustls::{ClientConnection, Connection, StreamOwned};
use socket2::{Domain, Socket, Type};

use super::siege::LIMIT;
use super::support::Node;

/// A TLS client that is free to send anything.
pub type Raw = StreamOwned<ClientConnection, TcpStream>;

/// A key that nobody knows.
pub fn fresh_keys() -> Keys {
    Keys::from_made(&keys::make(KeyKind::EcdsaP256).expect("a key")).expect("a key")
}

pub fn address(node: &Node) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], node.port))
}

/// The `n`th address of loopback that is no peer's.
fn source(n: usize) -> SocketAddr {
    let part = |n: usize| u8::try_from(n % 250).unwrap_or(0) + 1;
    SocketAddr::from(([127, 1, part(n / 250), part(n)], 0))
}

/// A socket that is bound to the `n`th address.
pub fn socket_from(n: usize) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&source(n).into())?;
    Ok(socket)
}

/// Connects from the `n`th address.
pub fn connect_from(n: usize, node: &Node) -> io::Result<TcpStream> {
    let socket = socket_from(n)?;
    socket.connect_timeout(&address(node).into(), Duration::from_secs(5))?;
    Ok(socket.into())
}

/// A TLS client with these keys over this connection; the handshake is made with the first use.
pub fn tls_over(socket: TcpStream, keys: &Keys, node: &Node, alpn: &[u8]) -> Raw {
    socket.set_read_timeout(Some(LIMIT)).expect("a timeout");
    socket.set_write_timeout(Some(LIMIT)).expect("a timeout");
    StreamOwned::new(hello_of(keys, node, alpn), socket)
}

/// The client's side of a handshake with a node.
pub fn hello_of(keys: &Keys, node: &Node, alpn: &[u8]) -> ClientConnection {
    let expected = node.fingerprint.parse().expect("a fingerprint");
    let tls = Tls::new(keys).expect("TLS");
    match tls.dial(Expect::Key(expected), alpn).expect("TLS").0 {
        Connection::Client(client) => client,
        Connection::Server(_) => unreachable!("dialled"),
    }
}

/// A body behind its length.
pub fn framed(body: &[u8]) -> Vec<u8> {
    [&u32::try_from(body.len()).expect("small").to_be_bytes()[..], body].concat()
}

/// Says something and waits for the other side to close; whether it did.
pub fn is_closed_after(stream: &mut (impl io::Read + io::Write), said: &[u8]) -> bool {
    // It may close before it has heard everything.
    drop(stream.write_all(said).and_then(|()| stream.flush()));
    let mut rest = [0; 4096];
    loop {
        match stream.read(&mut rest) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(e) => return !matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut),
        }
    }
}

/// Whether the other side has closed a connection on which nothing was said.
pub fn has_ended(socket: &TcpStream) -> bool {
    socket.set_nonblocking(true).expect("a socket");
    match (&*socket).read(&mut [0; 64]) {
        Ok(n) => n == 0,
        Err(e) => e.kind() != io::ErrorKind::WouldBlock,
    }
}

/// A few ordinary strangers, so that what a node does for the first time is done.
pub fn warm_up(node: &Node) {
    let keys = fresh_keys();
    for n in 0..12 {
        let Ok(socket) = connect_from(n, node) else { continue };
        let alpn = if n % 2 == 0 { quptime::transport::tls::JOIN } else { quptime::transport::tls::PEERS };
        let mut raw = tls_over(socket, &keys, node, alpn);
        drop(raw.write_all(&framed(&[b' '; 30_000])).and_then(|()| raw.flush()));
        while frame::read(&mut raw, frame::LARGEST).is_ok() {}
    }
}

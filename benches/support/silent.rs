//! A target that swallows packets: a listener whose queue is full, so that the kernel answers no
//! further connection; whoever tries waits until his own patience ends.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

/// Silent as long as it is kept.
pub struct Silent {
    pub address: SocketAddr,
    _listener: Socket,
    _waiting: Vec<TcpStream>,
}

impl Silent {
    pub fn start() -> Silent {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).expect("a socket");
        let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
        listener.bind(&any.into()).expect("a port");
        listener.listen(1).expect("listening");
        let address = listener.local_addr().ok().and_then(|a| a.as_socket()).expect("its address");
        let mut waiting = Vec::new();
        while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(500)) {
            waiting.push(stream);
            assert!(waiting.len() < 100, "the queue of a listener is longer than it was asked to be");
        }
        Silent { address, _listener: listener, _waiting: waiting }
    }
}

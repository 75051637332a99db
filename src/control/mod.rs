//! Layer 3: the local socket.
#![forbid(unsafe_code)]

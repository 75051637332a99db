//! Layer 3: bytes between nodes.
#![forbid(unsafe_code)]

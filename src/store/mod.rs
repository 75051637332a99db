//! Layer 3: what must survive.
#![forbid(unsafe_code)]

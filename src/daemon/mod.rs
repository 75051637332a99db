//! Layer 4: the wiring.
#![forbid(unsafe_code)]

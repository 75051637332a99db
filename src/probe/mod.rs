//! Layer 3: one attempt at one target.
#![forbid(unsafe_code)]

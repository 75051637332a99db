//! Layer 2: what to say.
#![forbid(unsafe_code)]

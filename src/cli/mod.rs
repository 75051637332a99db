//! Layer 5: the person's side.
#![forbid(unsafe_code)]

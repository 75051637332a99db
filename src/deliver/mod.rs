//! Layer 3: owed alerts out of the door.
#![forbid(unsafe_code)]

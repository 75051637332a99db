//! `qu sandbox`.

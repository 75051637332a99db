//! Disks that fail: every single failure in a model of the disk, and real ones under real daemons.

mod daemons;
mod every_failure;
mod rig;
// Each test target uses a part of it.
#[allow(dead_code, unused_imports)]
#[path = "../cluster/support/mod.rs"]
mod support;
mod trio;

//! Layer 2: one immutable picture of node and cluster, for `qu status` and `--json`.

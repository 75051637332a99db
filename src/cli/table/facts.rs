//! What is neither a command nor a flag and belongs in the manual all the same: environment,
//! cluster settings, exit statuses. One row each, printed by `qu --generate table`.

/// Environment variables: name, meaning.
pub const ENVIRONMENT: &[(&str, &str)] = &[
    ("QUPTIME_DIR", "data directory"),
    ("QUPTIME_SOCKET", "control socket"),
    ("QUPTIME_LOG", "log level of qu serve: error, warn, info, debug, trace"),
    ("QUPTIME_NODE_ID", "overrides node_id of node.yaml"),
    ("QUPTIME_BIND_ADDR", "overrides bind_addr of node.yaml"),
    ("QUPTIME_BIND_PORT", "overrides bind_port of node.yaml"),
    ("QUPTIME_ADVERTISE", "overrides advertise of node.yaml"),
    ("QUPTIME_CLUSTER_SECRET", "overrides cluster_secret of node.yaml"),
    ("CREDENTIALS_DIRECTORY", "set by systemd: where the file cluster-secret may be, for qu serve"),
    ("RUNTIME_DIRECTORY", "set by systemd: where the control socket is"),
    ("XDG_CONFIG_HOME", "where the data directory of a user is"),
    ("XDG_RUNTIME_DIR", "where the control socket of a user is"),
    ("VISUAL", "the editor of qu cluster edit"),
    ("EDITOR", "likewise, when VISUAL is not set"),
    ("TMPDIR", "where the copy for the editor is"),
    ("NO_COLOR", "honoured in that output is never coloured"),
];

/// Cluster settings for `qu cluster set`: name in `cluster.yaml`, other names that are understood,
/// meaning.
pub const SETTINGS: &[(&str, &[&str], &str)] = &[
    ("heartbeat", &[], "how often every node tells every peer that it lives"),
    (
        "dead_after",
        &["dead-after"],
        "a peer not heard from for this long is not live; three heartbeats at least",
    ),
    (
        "master_cooldown",
        &["master-cooldown", "cooldown"],
        "how long a returning node of lower NodeID must be live before it takes over",
    ),
    ("hysteresis", &[], "evaluations in a row that change a verdict"),
];

/// Exit statuses: number, meaning.
pub const STATUSES: &[(u8, &str)] = &[
    (0, "done; for qu status: the cluster has a quorum and a master"),
    (1, "refused or failed; the reason is on standard error; for qu cluster diff: there is a difference"),
    (2, "wrong usage"),
    (3, "no quorum or no master just now; nothing was changed, worth trying again"),
];

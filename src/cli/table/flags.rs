//! Every flag, said once.

use super::{Flag, Value};

/// Most flags: a value, once, without a default.
const PLAIN: Flag = Flag { name: "", letter: None, value: Value::None, many: false, doc: "", default: "" };

const fn text(name: &'static str, what: &'static str, doc: &'static str) -> Flag {
    Flag { name, value: Value::Text(what), doc, ..PLAIN }
}

const fn file(name: &'static str, doc: &'static str) -> Flag {
    Flag { name, value: Value::File, doc, ..PLAIN }
}

const fn bare(name: &'static str, doc: &'static str) -> Flag {
    Flag { name, doc, ..PLAIN }
}

/// For every command, and for `qu` alone.
pub static HELP: Flag = Flag { letter: Some('h'), ..bare("help", "Show help and do nothing else") };
/// For `qu` alone.
pub static VERSION: Flag = Flag { letter: Some('V'), ..bare("version", "Show the version") };

pub(super) static JSON: Flag = bare("json", "Print JSON for programs instead of text");

// Where and how the daemon runs.
pub(super) static DIR: Flag = Flag {
    name: "dir",
    value: Value::Directory,
    doc: "Data directory (environment: QUPTIME_DIR)",
    default: "/etc/quptime for root, else ~/.config/quptime",
    ..PLAIN
};
pub(super) static ADVERTISE: Flag = Flag {
    default: "host name and port of this machine",
    ..text("advertise", "HOST:PORT", "Where the other nodes reach this one")
};
pub(super) static BIND: Flag =
    Flag { default: "all IPv4 addresses", ..text("bind", "ADDR", "Address to listen on for other nodes") };
pub(super) static PORT: Flag =
    Flag { default: "9901", ..text("port", "PORT", "Port to listen on for other nodes") };
pub(super) static SECRET: Flag = text(
    "secret",
    "SECRET",
    "Cluster secret of the cluster to join; other users can read it in the process list",
);
pub(super) static SECRET_FILE: Flag =
    file("secret-file", "Read the cluster secret from a file (- is standard input)");
pub(super) static NEW_SECRET_FILE: Flag =
    file("secret-file", "Read the new cluster secret from a file (- is standard input)");
pub(super) static KEY_TYPE: Flag = Flag {
    name: "key-type",
    value: Value::Word(&["rsa3072", "ecdsa-p256"]),
    doc: "Kind of this node's key",
    default: "rsa3072",
    ..PLAIN
};
pub(super) static NEW_KEY_TYPE: Flag = Flag { doc: "Kind of the new key", ..KEY_TYPE };
pub(super) static FORCE: Flag = bare("force", "Replace what is there already");
pub(super) static RECOVER: Flag =
    bare("recover", "Start a lost cluster again with a majority of the peers in cluster.yaml");
pub(super) static LOG_LEVEL: Flag = Flag {
    name: "log-level",
    value: Value::Word(&["error", "warn", "info", "debug", "trace"]),
    doc: "How much to log (environment: QUPTIME_LOG)",
    default: "info",
    ..PLAIN
};
pub(super) static LOG_FORMAT: Flag = Flag {
    name: "log-format",
    value: Value::Word(&["text", "json"]),
    doc: "What a log line looks like",
    default: "text",
    ..PLAIN
};
pub(super) static SANDBOX_DIR: Flag = Flag {
    name: "dir",
    value: Value::Directory,
    doc: "Where the nodes' directories go",
    default: "a fresh one under the temporary directory",
    ..PLAIN
};
pub(super) static NODES: Flag = Flag { default: "3", ..text("nodes", "N", "How many nodes, 1 to 7") };
pub(super) static BREAK_AFTER: Flag = text(
    "break-after",
    "DURATION",
    "Stop the HTTP and TCP targets once, so long after all is up, and start them again after as long",
);

// Looking.
pub(super) static CHECK: Flag = text("check", "CHECK", "Only this check, by name or id");
pub(super) static STATE: Flag = Flag {
    name: "state",
    value: Value::Word(&["up", "down", "unknown"]),
    doc: "Only checks in this state",
    ..PLAIN
};
pub(super) static LIMIT: Flag = text("limit", "N", "At most so many");
pub(super) static MESH: Flag = bare("mesh", "Who hears whom, asked of every node, in place of the checks");
pub(super) static WAIT: Flag = Flag {
    name: "wait",
    value: Value::MaybeWord(&["quorum", "live", "synced"]),
    doc: "Wait until the cluster is so: quorum and master; every peer live; this node up to date",
    ..PLAIN
};
pub(super) static WAIT_TIMEOUT: Flag = Flag {
    default: "60s",
    ..text("timeout", "DURATION", "With --wait: how long at most; then exit status 3")
};
pub(super) static SINCE: Flag =
    text("since", "DURATION", "Only those that were open at some time within this long (7d)");

pub(super) static FOR: Flag = text("for", "DURATION", "How long");
pub(super) static REASON: Flag = text("reason", "TEXT", "Why, for whoever looks");

// Nodes.
pub(super) static YES: Flag =
    Flag { letter: Some('y'), ..bare("yes", "Trust the peer without asking: only on a network you trust") };
pub(super) static FINGERPRINT: Flag = text(
    "fingerprint",
    "SHA256:...",
    "Trust the peer without asking if its key has this fingerprint, else refuse",
);
pub(super) static ADDRESS: Flag = text("address", "HOST:PORT", "Where the other nodes reach it from now on");

// Checks.
pub(super) static NAME: Flag = text("name", "NAME", "Another name");
pub(super) static TARGET: Flag =
    text("target", "TARGET", "Another URL, host:port or host, as the check's type wants it");
pub(super) static EXPECT: Flag =
    Flag { default: "200", ..text("expect", "STATUS", "HTTP status that means up; 0: any 2xx") };
pub(super) static BODY_MATCH: Flag =
    text("body-match", "TEXT", "Text that the first MiB of the body must contain");
pub(super) static NEW_EXPECT: Flag =
    text("expect", "STATUS", "http only: another status that means up; 0: any 2xx");
pub(super) static NEW_BODY_MATCH: Flag =
    text("body-match", "TEXT", "http only: another text that the body must contain; '' for none");
pub(super) static INTERVAL: Flag =
    Flag { default: "30s", ..text("interval", "DURATION", "How often each node probes") };
pub(super) static TIMEOUT: Flag = Flag {
    default: "10s, or the interval when that is shorter",
    ..text("timeout", "DURATION", "How long one probe may take")
};
pub(super) static ALERTS: Flag =
    text("alerts", "A,B", "Alerts of its own, beside the default ones, by name or id");
pub(super) static SUPPRESS: Flag = text("suppress", "A,B", "Default alerts that it does not want");
pub(super) static NEW_INTERVAL: Flag = text("interval", "DURATION", "Another interval");
pub(super) static NEW_TIMEOUT: Flag = text("timeout", "DURATION", "Another timeout");
pub(super) static NEW_ALERTS: Flag = text("alerts", "A,B", "Another list of own alerts; '' for none");
pub(super) static NEW_SUPPRESS: Flag =
    text("suppress", "A,B", "Another list of unwanted default alerts; '' for none");
pub(super) static TEST_STATE: Flag = Flag {
    name: "state",
    value: Value::Word(&["down", "recovered"]),
    doc: "What the message says",
    default: "down",
    ..PLAIN
};

// Alerts.
pub(super) static HOST: Flag = text("host", "HOST", "Mail relay");
pub(super) static MAIL_PORT: Flag = Flag {
    default: "587; 465 with --tls, 25 with --starttls=false",
    ..text("port", "PORT", "Port of the relay")
};
pub(super) static FROM: Flag = text("from", "ADDRESS", "Sender");
pub(super) static TO: Flag =
    Flag { many: true, ..text("to", "ADDRESS[,ADDRESS]", "Recipients; may be given several times") };
pub(super) static USER: Flag = text("user", "USER", "Log in to the relay as");
pub(super) static PASSWORD: Flag =
    text("password", "PASSWORD", "Password; other users can read it in the process list");
pub(super) static PASSWORD_FILE: Flag =
    file("password-file", "Read the password from a file (- is standard input)");
pub(super) static STARTTLS: Flag = Flag {
    name: "starttls",
    value: Value::Switch,
    doc: "Encrypt by STARTTLS, and refuse a relay without it; false: send in the clear",
    default: "true unless --tls",
    ..PLAIN
};
pub(super) static TLS: Flag = Flag {
    name: "tls",
    value: Value::Switch,
    doc: "Encrypt from the first byte",
    default: "true on port 465",
    ..PLAIN
};
pub(super) static CA_FILE: Flag =
    file("ca-file", "Certificates (PEM) to check the relay's against, beside the system's");
pub(super) static HEADER: Flag =
    Flag { many: true, ..text("header", "'NAME: VALUE'", "Further header; may be given several times") };
pub(super) static WEBHOOK: Flag =
    text("webhook", "URL", "Webhook; other users can read it in the process list");
pub(super) static WEBHOOK_FILE: Flag =
    file("webhook-file", "Read the webhook's URL from a file (- is standard input)");
pub(super) static DEFAULT: Flag = bare("default", "Use it for every check that does not suppress it");
pub(super) static REMIND: Flag =
    text("remind", "DURATION", "Repeat DOWN this often while it lasts; off ends that");
pub(super) static SUBJECT_FILE: Flag =
    file("subject-file", "Template for the subject in place of the built-in text; empty: the built-in");
pub(super) static BODY_FILE: Flag =
    file("body-file", "Template for the body in place of the built-in text; empty: the built-in");

// The configuration as a file.
pub(super) static WITH_SECRETS: Flag =
    bare("with-secrets", "Print passwords and webhooks too, in place of \"(unchanged)\"");
pub(super) static DRY_RUN: Flag = bare("dry-run", "Only show the difference and whether it would be taken");
pub(super) static UNASKED: Flag = Flag { letter: Some('y'), ..bare("yes", "Do not ask") };

//! YAML out: `cluster.yaml`, `node.yaml`, and what operators keep in version control, as this program
//! writes them.
//!
//! Written by hand and not by a YAML library, so that the same configuration gives the same bytes
//! for ever: operators keep these files in version control and compare them. Everything is plain,
//! double-quoted, or, for texts of several lines, a literal block. A text that another reader of
//! YAML could take for something else than a text (`yes`, `1e3`) is quoted.

use std::fmt::Write as _;

use super::model::{Alert, Channel, Check, Cluster, MailTls, Peer, Secret};
use crate::base::clock::Wall;
use crate::base::id::AlertId;
use crate::base::text::rfc3339;

/// How every text that this program writes begins. Who keeps it keeps the promise that [`END`] is
/// the last line.
pub(super) const BEGIN: &str = "# Configuration of the cluster, ";
/// The last line: by it a file that was cut short is told from one whose last items were deleted.
pub(super) const END: &str = "# end";

const HEADER: &str = "\
# Configuration of the cluster, written by qu on every node.
# Hand edits are welcome, on any node: save the file, and qu checks all of it and commits the
# change within 2 s, or says in its log why not. Comments are not kept. Do not change cluster_id,
# version, updated_at, updated_by, cert_pem or the last line. What may be here: quptime.yaml(5)
";

const KEPT_HEADER: &str = "\
# Configuration of the cluster, as it should be; printed by qu cluster export, to be kept.
# qu cluster diff says what applying this file would change, qu cluster apply does it: checks and
# alerts that are not here are removed, and what is without an id is known by its name.
# \"(unchanged)\" leaves a secret as the cluster has it. Peers are here to be seen: they come and go
# by qu node add and qu node remove. What may be here: quptime.yaml(5)
";

const COPY_HEADER: &str = "\
# Configuration of the cluster, for editing. Save it and leave the editor: it is checked, compared
# with what the cluster has, and committed as one change when you say so. Leave it as it is, and
# nothing happens. Comments are not kept. \"(unchanged)\" leaves a secret as it is. Peers, cluster_id
# and version are not for editing. What may be here: quptime.yaml(5)
";

/// In place of a secret: as the cluster has it.
pub const UNCHANGED: &str = "(unchanged)";

/// For whom a configuration is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// For the daemons: everything.
    File,
    /// For version control: what an operator decides, and nothing that changes by itself.
    Kept {
        /// Passwords and webhooks too, in place of [`UNCHANGED`].
        secrets: bool,
    },
    /// For an editor: likewise, without secrets, with the version that it starts from.
    Copy,
}

/// `cluster.yaml`: always the same bytes for the same configuration.
#[must_use]
pub fn to_yaml(cluster: &Cluster) -> String {
    written(cluster, Form::File)
}

/// A configuration in one of its forms: always the same bytes for the same configuration.
#[must_use]
pub fn written(cluster: &Cluster, form: Form) -> String {
    let header = match form {
        Form::File => HEADER,
        Form::Kept { .. } => KEPT_HEADER,
        Form::Copy => COPY_HEADER,
    };
    let mut out = Writer { text: header.to_owned(), form };
    out.line(0, "cluster_id", &cluster.id.to_string());
    if matches!(form, Form::File | Form::Copy) {
        out.line(0, "version", &cluster.version.to_string());
    }
    if form == Form::File {
        out.line(0, "updated_at", &time(cluster.updated_at));
        if let Some(by) = cluster.updated_by {
            out.line(0, "updated_by", &by.to_string());
        }
    }
    out.text.push_str("settings:\n");
    out.line(1, "heartbeat", &cluster.settings.heartbeat.to_string());
    out.line(1, "dead_after", &cluster.settings.dead_after.to_string());
    out.line(1, "master_cooldown", &cluster.settings.master_cooldown.to_string());
    out.line(1, "hysteresis", &cluster.settings.hysteresis.to_string());
    out.list("peers", cluster.peers.values(), Writer::peer);
    let mut checks: Vec<&Check> = cluster.checks.values().map(AsRef::as_ref).collect();
    checks.sort_by(|a, b| (&a.name, a.id).cmp(&(&b.name, b.id)));
    out.list("checks", checks.into_iter(), |out, c| out.check(c, cluster));
    let mut alerts: Vec<&Alert> = cluster.alerts.values().map(AsRef::as_ref).collect();
    alerts.sort_by(|a, b| (&a.name, a.id).cmp(&(&b.name, b.id)));
    out.list("alerts", alerts.into_iter(), Writer::alert);
    out.text.push_str(END);
    out.text.push('\n');
    out.text
}

/// RFC 3339 with milliseconds where there are some; times after the year 9999, which only a
/// broken clock gives, are written as its end.
pub(super) fn time(at: Wall) -> String {
    const LAST: u64 = 253_402_300_799_999;
    let at = Wall(at.0.min(LAST));
    let whole = rfc3339(at);
    match (at.0 % 1000, whole.strip_suffix('Z')) {
        (ms, Some(seconds)) if ms > 0 => format!("{seconds}.{ms:03}Z"),
        _ => whole,
    }
}

/// Collects lines.
pub(super) struct Writer {
    pub text: String,
    pub form: Form,
}

impl Writer {
    /// A field whose value is written as it is: an id, a number, a duration.
    pub fn line(&mut self, level: usize, field: &str, value: &str) {
        let _ = writeln!(self.text, "{:pad$}{field}: {value}", "", pad = level * 2);
    }

    /// A field whose value is any text.
    pub fn any(&mut self, level: usize, field: &str, value: &str) {
        if !is_block(value) {
            return self.line(level, field, &scalar(value));
        }
        let keep = if value.ends_with('\n') { "|" } else { "|-" };
        self.line(level, field, keep);
        for line in value.lines() {
            if !line.is_empty() {
                let _ = write!(self.text, "{:pad$}{line}", "", pad = level * 2 + 2);
            }
            self.text.push('\n');
        }
    }

    fn maybe(&mut self, level: usize, field: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.any(level, field, value);
        }
    }

    /// A list of things with fields; each writes its fields at level 2, and the first line of it
    /// gets the dash.
    fn list<T>(&mut self, field: &str, items: impl Iterator<Item = T>, mut one: impl FnMut(&mut Writer, T)) {
        let before = self.text.len();
        for item in items {
            if self.text.len() == before {
                let _ = writeln!(self.text, "{field}:");
            }
            let at = self.text.len();
            one(self, item);
            self.text.replace_range(at + 2..at + 3, "-");
        }
        if self.text.len() == before {
            self.line(0, field, "[]");
        }
    }

    fn peer(&mut self, peer: &Peer) {
        self.line(2, "node_id", &peer.node_id.to_string());
        self.any(2, "advertise", &peer.advertise.to_string());
        self.line(2, "fingerprint", &peer.fingerprint.to_string());
        if self.form == Form::File {
            self.any(2, "cert_pem", &peer.cert_pem);
        }
    }

    fn check(&mut self, check: &Check, cluster: &Cluster) {
        self.line(2, "id", &check.id.to_string());
        self.any(2, "name", check.name.as_str());
        self.line(2, "type", check.target.kind());
        self.any(2, "target", &check.target.address());
        self.line(2, "interval", &check.interval.to_string());
        self.line(2, "timeout", &check.timeout.to_string());
        if let super::Target::Http { expect_status, body_match, .. } = &check.target {
            self.line(2, "expect_status", &expect_status.to_string());
            self.maybe(2, "body_match", body_match.as_deref());
        }
        self.ids("alert_ids", check.alert_ids.iter(), cluster);
        self.ids("suppress_alert_ids", check.suppress_alert_ids.iter(), cluster);
        if !check.enabled {
            self.line(2, "enabled", "false");
        }
    }

    /// Ids of alerts, with the name beside each for who reads the file; names alone where people
    /// keep it, but for one that could be taken for an id.
    fn ids<'i>(&mut self, field: &str, ids: impl Iterator<Item = &'i AlertId>, cluster: &Cluster) {
        let before = self.text.len();
        for id in ids {
            if self.text.len() == before {
                let _ = writeln!(self.text, "    {field}:");
            }
            let name = cluster.alerts.get(id).map(|a| a.name.as_str());
            if let Some(name) = name.filter(|n| self.form != Form::File && n.parse::<AlertId>().is_err()) {
                let _ = writeln!(self.text, "      - {}", scalar(name));
                continue;
            }
            let remark = name.filter(|n| is_plain(n)).map(|n| format!("  # {n}")).unwrap_or_default();
            let _ = writeln!(self.text, "      - {id}{remark}");
        }
    }

    fn texts(&mut self, field: &str, texts: impl Iterator<Item = String>) {
        let _ = writeln!(self.text, "    {field}:");
        for text in texts {
            let _ = writeln!(self.text, "      - {}", scalar(&text));
        }
    }

    fn alert(&mut self, alert: &Alert) {
        self.line(2, "id", &alert.id.to_string());
        self.any(2, "name", alert.name.as_str());
        self.line(2, "type", alert.channel.kind());
        self.line(2, "default", if alert.default { "true" } else { "false" });
        if !alert.enabled {
            self.line(2, "enabled", "false");
        }
        if let Some(remind) = alert.remind {
            self.line(2, "remind", &remind.to_string());
        }
        self.channel(&alert.channel);
        self.maybe(2, "subject_template", alert.subject_template.as_deref());
        self.maybe(2, "body_template", alert.body_template.as_deref());
    }

    fn secret(&mut self, field: &str, secret: &Secret) {
        let shown = matches!(self.form, Form::File | Form::Kept { secrets: true });
        self.any(2, field, if shown { secret.reveal() } else { UNCHANGED });
    }

    fn channel(&mut self, channel: &Channel) {
        match channel {
            Channel::Smtp { host, port, user, password, from, to, tls, ca_pem, headers } => {
                self.any(2, "smtp_host", &host.to_string());
                self.line(2, "smtp_port", &port.to_string());
                self.maybe(2, "smtp_user", user.as_deref());
                if let Some(password) = password {
                    self.secret("smtp_password", password);
                }
                self.any(2, "smtp_from", from.as_str());
                self.texts("smtp_to", to.iter().map(|t| t.as_str().to_owned()));
                self.line(2, "smtp_starttls", if *tls == MailTls::StartTls { "true" } else { "false" });
                self.line(2, "smtp_tls", if *tls == MailTls::Implicit { "true" } else { "false" });
                self.maybe(2, "smtp_ca_pem", ca_pem.as_deref());
                if !headers.is_empty() {
                    self.texts("smtp_headers", headers.iter().map(ToString::to_string));
                }
            }
            Channel::Discord { webhook } => self.secret("discord_webhook", webhook),
        }
    }
}

/// A text on one line: plain where nobody can take it for something else, else in quotes.
fn scalar(text: &str) -> String {
    if is_plain(text) { text.to_owned() } else { quoted(text) }
}

/// Words that some reader of YAML takes for no text.
const TAKEN: &[&str] = &["null", "true", "false", "yes", "no", "on", "off", "y", "n"];

fn is_plain(text: &str) -> bool {
    let first = text.chars().next().unwrap_or(' ');
    // What begins with a digit could be a number, except an IPv4 address (with a port or not).
    let address =
        text.matches('.').count() == 3 && text.bytes().all(|b| b.is_ascii_digit() || b".:".contains(&b));
    let starts = first.is_alphabetic() || first == '/' || address;
    let inside = |c: char| c.is_alphanumeric() || " _./+@:;=?&%~()<>!$^*-|'".contains(c);
    starts
        && text.chars().all(|c| inside(c) && is_printable(c))
        && !text.contains(": ")
        && !text.ends_with([':', ' '])
        && text.len() <= 2000
        && !TAKEN.contains(&text.to_ascii_lowercase().as_str())
}

/// Double quotes, with escapes that every reader knows.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if is_printable(c) => out.push(c),
            c if (c as u32) < 0x100 => drop(write!(out, "\\x{:02x}", c as u32)),
            c if (c as u32) < 0x1_0000 => drop(write!(out, "\\u{:04x}", c as u32)),
            c => drop(write!(out, "\\U{:08x}", c as u32)),
        }
    }
    out.push('"');
    out
}

/// Shown as itself by every editor and taken as itself by every reader: no controls, no further
/// line ends, nothing invisible or reordering, no private or unassigned ends of planes.
fn is_printable(c: char) -> bool {
    let hidden = matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}');
    !c.is_control() && !hidden && (c as u32) & 0xfffe != 0xfffe
}

/// Whether a text of several lines can be written as a literal block without a letter of it
/// changing: no blanks that an editor may strip, a clear first line, at most one line end last.
fn is_block(text: &str) -> bool {
    let lines = text.strip_suffix('\n').unwrap_or(text);
    let clean = |l: &str| !l.ends_with([' ', '\t']) && l.chars().all(|c| is_printable(c) || c == '\t');
    text.contains('\n')
        && !lines.is_empty()
        && !lines.starts_with(['\n', ' ', '\t'])
        && !lines.ends_with('\n')
        && lines.split('\n').all(clean)
}

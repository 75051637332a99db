//! `node.yaml`: what this node is, and the environment and flags that override it.
//!
//! Three sources say the same five things: flags over the environment over the file. Each is an
//! [`Overrides`] in which everything may be missing; put on top of each other they make a
//! [`NodeConfig`], in which nothing is. Nothing here reads a file, the environment or a clock: the
//! caller passes texts.
//!
//! The secret is written last and in quotes, so that a file that was cut short never yields a
//! shorter secret: it is not valid YAML any more.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use super::Secret;
use super::document::{Document, Shape, YamlError, text};
use super::model::DEFAULT_PORT;
use super::write::{Form, Writer, quoted};
use crate::base::id::NodeId;
use crate::base::text::shorten;
use crate::base::units::{BadHost, Host, HostPort};

#[cfg(test)]
mod tests;

static FILE: Shape = Shape::Fields(&[
    text("node_id"),
    text("bind_addr"),
    text("bind_port"),
    text("advertise"),
    text("cluster_secret"),
]);

const HEADER: &str = "\
# This node, written by qu. Not replicated: every node has its own. The secret is the cluster's;
# keep it to yourself. A change takes effect when qu is started again.
";

/// Where a node listens unless told otherwise: every IPv4 address. Not `::`, which cannot be bound
/// on hosts that have IPv6 switched off, and which takes or leaves IPv4 by a system setting; who
/// has IPv6 between the hosts says `bind_addr: "::"`.
pub const DEFAULT_BIND: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// This node, complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeConfig {
    /// Who.
    pub node_id: NodeId,
    /// The address to listen on.
    pub bind: IpAddr,
    /// The port to listen on.
    pub port: u16,
    /// Where the other nodes reach this one.
    pub advertise: HostPort,
    /// What nodes of one cluster know.
    pub secret: Secret,
}

/// What one source says about this node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// Who.
    pub node_id: Option<NodeId>,
    /// The address to listen on.
    pub bind: Option<IpAddr>,
    /// The port to listen on.
    pub port: Option<u16>,
    /// Where the others reach it.
    pub advertise: Option<Advertise>,
    /// The cluster's secret.
    pub secret: Option<Secret>,
}

/// A host, and a port when it is not the one listened on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advertise {
    /// Name or address.
    pub host: Host,
    /// None: the bind port.
    pub port: Option<u16>,
}

impl FromStr for Advertise {
    type Err = BadHost;
    fn from_str(text: &str) -> Result<Advertise, BadHost> {
        match text.parse::<HostPort>() {
            Ok(both) => Ok(Advertise { host: both.host, port: Some(both.port) }),
            Err(BadHost::NoPort(_)) => Ok(Advertise { host: text.parse()?, port: None }),
            Err(e) => Err(e),
        }
    }
}

/// Reads an address to listen on, an IPv6 one with or without brackets.
///
/// # Errors
/// A sentence.
pub fn bind_address(text: &str) -> Result<IpAddr, String> {
    let inside = text.strip_prefix('[').and_then(|t| t.strip_suffix(']'));
    let read = match inside {
        Some(inside) => inside.parse::<Ipv6Addr>().map(IpAddr::V6),
        None => text.parse(),
    };
    read.map_err(|_| {
        format!("{:?} is not an address to listen on (examples: 0.0.0.0, ::)", shorten(text, 60))
    })
}

/// Reads a port.
///
/// # Errors
/// A sentence.
pub fn port(text: &str) -> Result<u16, String> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let number = text.parse().ok().filter(|n| digits && *n > 0);
    number.ok_or_else(|| format!("{:?} is not a port (want 1 to 65535)", shorten(text, 60)))
}

/// Judges a cluster secret: 16 to 256 printable ASCII characters. Whoever knows it can join.
///
/// # Errors
/// A sentence that does not show it.
pub fn cluster_secret(text: &str) -> Result<Secret, String> {
    let printable = text.bytes().all(|b| (b' '..=b'~').contains(&b));
    if printable && (16..=256).contains(&text.len()) {
        Ok(Secret::new(text))
    } else {
        Err("the cluster secret must have 16 to 256 printable ASCII characters".to_owned())
    }
}

impl Overrides {
    /// What a `node.yaml` says. `file_name` is for messages.
    ///
    /// # Errors
    /// What is wrong, with line and column; the secret is not shown.
    pub fn from_file(file_name: &str, text: &str) -> Result<Overrides, YamlError> {
        let document = Document::read(file_name, text, &FILE)?;
        let top = document.top();
        let bind = top.text("bind_addr").map(bind_address).transpose();
        let port = top.text("bind_port").map(port).transpose();
        let secret = top.text("cluster_secret").map(cluster_secret).transpose();
        Ok(Overrides {
            node_id: top.parse("node_id")?,
            bind: bind.map_err(|e| top.bad("bind_addr", &e))?,
            port: port.map_err(|e| top.bad("bind_port", &e))?,
            advertise: top.parse("advertise")?,
            secret: secret.map_err(|e| top.bad("cluster_secret", &e))?,
        })
    }

    /// What the environment says; empty values say nothing.
    ///
    /// # Errors
    /// A sentence that begins with the name of the variable.
    pub fn from_env(variable: &dyn Fn(&str) -> Option<String>) -> Result<Overrides, String> {
        Ok(Overrides {
            node_id: from_variable(variable, "QUPTIME_NODE_ID", |t| t.parse().map_err(said))?,
            bind: from_variable(variable, "QUPTIME_BIND_ADDR", bind_address)?,
            port: from_variable(variable, "QUPTIME_BIND_PORT", port)?,
            advertise: from_variable(variable, "QUPTIME_ADVERTISE", |t| t.parse().map_err(said))?,
            secret: from_variable(variable, "QUPTIME_CLUSTER_SECRET", cluster_secret)?,
        })
    }

    /// This, and what it does not say from below.
    #[must_use]
    pub fn over(self, below: Overrides) -> Overrides {
        Overrides {
            node_id: self.node_id.or(below.node_id),
            bind: self.bind.or(below.bind),
            port: self.port.or(below.port),
            advertise: self.advertise.or(below.advertise),
            secret: self.secret.or(below.secret),
        }
    }

    /// Fills in the defaults. `host_name` is advertised when nothing else is said.
    ///
    /// # Errors
    /// A sentence: there is no node id or no secret, or the host name cannot be advertised.
    pub fn complete(self, host_name: &str) -> Result<NodeConfig, String> {
        let missing = |field: &str, variable: &str| {
            format!("{field} is missing in node.yaml; restore the file from a backup, or set {variable}")
        };
        let port = self.port.unwrap_or(DEFAULT_PORT);
        let advertise = match self.advertise {
            Some(a) => HostPort::new(a.host, a.port.unwrap_or(port)),
            None => HostPort::new(own_host(host_name)?, port),
        };
        Ok(NodeConfig {
            node_id: self.node_id.ok_or_else(|| missing("node_id", "QUPTIME_NODE_ID"))?,
            bind: self.bind.unwrap_or(DEFAULT_BIND),
            port,
            advertise,
            secret: self.secret.ok_or_else(|| missing("cluster_secret", "QUPTIME_CLUSTER_SECRET"))?,
        })
    }
}

/// The text of a `node.yaml` with another secret in it; everything else, comments too, stays as it
/// is.
///
/// # Errors
/// A sentence without a secret: the text cannot be read, or the secret stands in it in a way in
/// which a line cannot take its place.
pub fn with_secret(text: &str, secret: &Secret) -> Result<String, String> {
    let before = Overrides::from_file("node.yaml", text).map_err(said)?;
    let line = format!("cluster_secret: {}", quoted(secret.reveal()));
    let mut lines: Vec<&str> = text.lines().collect();
    match lines.iter_mut().find(|l| l.starts_with("cluster_secret:")) {
        Some(found) => *found = &line,
        None => lines.push(&line),
    }
    let new = lines.join("\n") + "\n";
    let after = Overrides::from_file("node.yaml", &new).ok();
    let wanted = Overrides { secret: Some(secret.clone()), ..before };
    if after == Some(wanted) {
        return Ok(new);
    }
    Err("cluster_secret in node.yaml is written in a way that is not understood here: write it on one line, in quotes"
        .to_owned())
}

fn own_host(name: &str) -> Result<Host, String> {
    name.parse().map_err(|_| {
        let name = shorten(name, 100);
        format!("the host name {name:?} cannot be advertised; give an address with --advertise or QUPTIME_ADVERTISE")
    })
}

fn said(e: impl fmt::Display) -> String {
    e.to_string()
}

fn from_variable<T>(
    variable: &dyn Fn(&str) -> Option<String>,
    name: &str,
    read: impl Fn(&str) -> Result<T, String>,
) -> Result<Option<T>, String> {
    let text = variable(name).filter(|t| !t.is_empty());
    text.map(|t| read(&t).map_err(|e| format!("{name}: {}", shorten(&e, 300)))).transpose()
}

impl NodeConfig {
    /// The node as its file, the environment and the flags together say.
    ///
    /// # Errors
    /// One line: where in the file, or which variable, and what to do.
    pub fn load(
        file_name: &str,
        text: &str,
        variable: &dyn Fn(&str) -> Option<String>,
        flags: Overrides,
        host_name: &str,
    ) -> Result<NodeConfig, String> {
        let file = Overrides::from_file(file_name, text).map_err(said)?;
        flags.over(Overrides::from_env(variable)?).over(file).complete(host_name)
    }

    /// `node.yaml`.
    #[must_use]
    pub fn to_yaml(&self) -> String {
        let mut out = Writer { text: HEADER.to_owned(), form: Form::File };
        out.line(0, "node_id", &self.node_id.to_string());
        out.any(0, "bind_addr", &self.bind.to_string());
        out.line(0, "bind_port", &self.port.to_string());
        out.any(0, "advertise", &self.advertise.to_string());
        out.line(0, "cluster_secret", &quoted(self.secret.reveal()));
        out.text
    }
}

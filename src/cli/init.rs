//! `qu init`: this host becomes a node.

use std::path::PathBuf;

use crate::base::id::NodeId;
use crate::base::units::HostPort;
use crate::config::Secret;
use crate::config::node::{self, Overrides};
use crate::identity::secret;
use crate::identity::{Fingerprint, KeyKind};

use super::parse::Said;
use super::{Failure, Session, input, wiring};

/// A node to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewNode {
    /// Data directory.
    pub dir: PathBuf,
    /// What flags and environment say; defaults fill the rest.
    pub given: Overrides,
    /// Kind of its key.
    pub key: KeyKind,
}

/// A node that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// Who it is.
    pub node: NodeId,
    /// Its data directory.
    pub dir: PathBuf,
    /// Where the others reach it.
    pub advertise: HostPort,
    /// Its key.
    pub fingerprint: Fingerprint,
    /// The secret, when one was made: the operator needs it for the next node.
    pub new_secret: Option<Secret>,
}

/// `qu init`.
pub fn run(session: &mut Session<'_>, said: &Said) -> Result<(), Failure> {
    let given = input::secret(session, said, "secret")?;
    let flags = flags(said, given)?;
    let below = Overrides::from_env(&wiring::variable(session)).map_err(Failure::Usage)?;
    if let Some(warning) = flags.secret.as_ref().and_then(|s| secret::weakness(s.reveal())) {
        session.say(&format!("warning: {warning}"));
    }
    let new = NewNode {
        dir: wiring::data_dir(session, said)?,
        given: flags.over(below),
        key: said.parse("key-type")?.unwrap_or_default(),
    };
    let made = wiring::init(&new)?;
    session.print(&render(&made))
}

/// What the flags say about a node; `qu serve` has the same ones.
pub fn flags(said: &Said, secret: Option<Secret>) -> Result<Overrides, Failure> {
    let flag = |name: &str, why: String| Failure::Usage(format!("--{name}: {why}"));
    Ok(Overrides {
        node_id: None,
        bind: said.text("bind").map(node::bind_address).transpose().map_err(|e| flag("bind", e))?,
        port: said.text("port").map(node::port).transpose().map_err(|e| flag("port", e))?,
        advertise: said.parse("advertise")?,
        secret: match secret {
            Some(s) => {
                let name = if said.text("secret").is_some() { "secret" } else { "secret-file" };
                Some(node::cluster_secret(s.reveal()).map_err(|e| flag(name, e))?)
            }
            None => None,
        },
    })
}

fn render(made: &Made) -> String {
    let mut text = format!(
        "node        {}\ndata dir    {}\nadvertise   {}\nfingerprint {}\n",
        made.node,
        made.dir.display(),
        made.advertise,
        made.fingerprint
    );
    if let Some(secret) = &made.new_secret {
        // The one place where it is shown, to the one who made it.
        text.push_str(&format!("secret      {}\n", secret.reveal()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_the_node_is_is_printed_and_the_secret_only_when_it_was_made() {
        let mut made = Made {
            node: NodeId::from_random(1),
            dir: "/etc/quptime".into(),
            advertise: "alpha.example.com:9901".parse().unwrap(),
            fingerprint: Fingerprint([0; 32]),
            new_secret: None,
        };
        let text = render(&made);
        assert_eq!(
            text,
            "node        00000000-0000-4000-8000-000000000001\ndata dir    /etc/quptime\n\
             advertise   alpha.example.com:9901\nfingerprint SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n"
        );
        made.new_secret = Some(Secret::new("s3cret"));
        assert!(render(&made).ends_with("secret      s3cret\n"));
    }
}

//! `qu init`: this host becomes a node.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use crate::base::id::NodeId;
use crate::base::units::HostPort;
use crate::config::Secret;
use crate::identity::Fingerprint;

use super::parse::Said;
use super::{Failure, Session, input, wiring};

/// What kind of key a node gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeyType {
    /// RSA, 3072 bits.
    #[default]
    Rsa3072,
    /// ECDSA on P-256.
    EcdsaP256,
}

impl FromStr for KeyType {
    type Err = String;
    fn from_str(text: &str) -> Result<KeyType, String> {
        match text {
            "rsa3072" => Ok(KeyType::Rsa3072),
            "ecdsa-p256" => Ok(KeyType::EcdsaP256),
            _ => Err(format!("{text:?} is not a key type (rsa3072, ecdsa-p256)")),
        }
    }
}

impl fmt::Display for KeyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            KeyType::Rsa3072 => "rsa3072",
            KeyType::EcdsaP256 => "ecdsa-p256",
        })
    }
}

/// A node to be made. What the flags leave open comes from the environment, then from defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewNode {
    /// Data directory.
    pub dir: PathBuf,
    /// Where the others reach it.
    pub advertise: Option<HostPort>,
    /// What to listen on.
    pub bind: Option<IpAddr>,
    /// What to listen on.
    pub port: Option<u16>,
    /// The secret of the cluster to join; one is made when there is none.
    pub secret: Option<Secret>,
    /// Kind of its key.
    pub key_type: KeyType,
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
    let new = NewNode {
        dir: wiring::data_dir(session, said)?,
        advertise: said.parse("advertise")?,
        bind: bind(said)?,
        port: port(said)?,
        secret: input::secret(session, said, "secret")?,
        key_type: said.parse("key-type")?.unwrap_or_default(),
    };
    let made = wiring::init(session, &new)?;
    session.print(&render(&made))
}

/// `--bind`, an address of this machine.
pub fn bind(said: &Said) -> Result<Option<IpAddr>, Failure> {
    let Some(text) = said.text("bind") else { return Ok(None) };
    let wrong = |_| Failure::Usage(format!("--bind: {text:?} is not an IP address"));
    text.parse().map(Some).map_err(wrong)
}

/// `--port`, from 1 to 65535.
pub fn port(said: &Said) -> Result<Option<u16>, Failure> {
    let Some(text) = said.text("port") else { return Ok(None) };
    let port: Option<u16> = text.parse().ok().filter(|p| *p > 0);
    port.map(Some).ok_or_else(|| Failure::Usage(format!("--port: {text:?} is not a port (1 to 65535)")))
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

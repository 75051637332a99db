//! The fields of `check edit` and `alert edit` as an operator gives them, and what they make of
//! the item that is there.
//!
//! The command line does not know the item, so it sends the parts that were typed; the daemon puts
//! them together with what the cluster has. A part that does not apply to the item's type is
//! refused by name, as a flag that does not apply is.

use serde::{Deserialize, Serialize};

use crate::base::units::{Host, Span};
use crate::config::{Channel, Header, MailTls, Mailbox, Name, Secret, Target};

/// The parts of a check that change; `None` stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CheckFields {
    /// Another name.
    pub name: Option<Name>,
    /// Another URL, `host:port` or host, as the check's type wants it.
    pub target: Option<String>,
    /// http only: another expected status.
    pub expect_status: Option<u16>,
    /// http only: another text that the body must contain; empty: none any more.
    pub body_match: Option<String>,
    /// Another interval. When it is shorter than the timeout in force and no timeout comes with it,
    /// the timeout follows it down.
    pub interval: Option<Span>,
    /// Another timeout.
    pub timeout: Option<Span>,
    /// Another list of own alerts, as typed.
    pub alerts: Option<Vec<String>>,
    /// Another list of suppressed alerts, as typed.
    pub suppress: Option<Vec<String>>,
}

impl CheckFields {
    /// The target that the check gets; `None` when it keeps its own.
    ///
    /// # Errors
    /// A sentence that names the flag that does not apply or the value that is wrong.
    pub fn target(&self, old: &Target) -> Result<Option<Target>, String> {
        if self.target.is_none() && self.expect_status.is_none() && self.body_match.is_none() {
            return Ok(None);
        }
        if let Target::Http { url, expect_status, body_match } = old {
            let url = match &self.target {
                Some(text) => text.parse()?,
                None => url.clone(),
            };
            let body_match = match &self.body_match {
                Some(text) if text.is_empty() => None,
                Some(text) => Some(text.clone()),
                None => body_match.clone(),
            };
            let expect_status = self.expect_status.unwrap_or(*expect_status);
            return Ok(Some(Target::Http { url, expect_status, body_match }));
        }
        let kind = old.kind();
        for (flag, given) in
            [("--expect", self.expect_status.is_some()), ("--body-match", self.body_match.is_some())]
        {
            if given {
                return Err(format!("{flag} does not apply to a check of type {kind}"));
            }
        }
        let Some(text) = &self.target else { return Ok(None) };
        let wrong = |e: &dyn std::fmt::Display| format!("{e} (the target of a check of type {kind})");
        Ok(Some(match old {
            Target::Icmp { .. } => Target::Icmp { host: text.parse::<Host>().map_err(|e| wrong(&e))? },
            Target::Tcp { .. } | Target::Http { .. } => {
                Target::Tcp { to: text.parse().map_err(|e| wrong(&e))? }
            }
        }))
    }
}

/// The parts of an alert that change; `None` stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AlertFields {
    /// Another name.
    pub name: Option<Name>,
    /// DOWN is repeated; `Some(Remind::Off)` ends it.
    pub remind: Option<Remind>,
    /// Another subject template; empty: the built-in one again.
    pub subject_template: Option<String>,
    /// Another body template; empty: the built-in one again.
    pub body_template: Option<String>,
    /// discord only: another webhook.
    pub webhook: Option<Secret>,
    /// smtp only: another relay.
    pub host: Option<Host>,
    /// smtp only: another port.
    pub port: Option<u16>,
    /// smtp only: log in as; empty: not at all, and without a password.
    pub user: Option<String>,
    /// smtp only: with.
    pub password: Option<Secret>,
    /// smtp only: another sender.
    pub from: Option<Mailbox>,
    /// smtp only: other recipients.
    pub to: Option<Vec<Mailbox>>,
    /// smtp only: another protection.
    pub tls: Option<MailTls>,
    /// smtp only: another CA file's content; empty: none.
    pub ca_pem: Option<String>,
    /// smtp only: other further headers, all of them; empty: none.
    pub headers: Option<Vec<Header>>,
}

/// How often DOWN is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Remind {
    /// This often.
    Every(Span),
    /// Not at all.
    Off,
}

impl AlertFields {
    /// The channel that the alert gets; `None` when it keeps its own.
    ///
    /// # Errors
    /// A sentence that names the flag that does not apply, or the part that is missing.
    pub fn channel(&self, old: &Channel) -> Result<Option<Channel>, String> {
        let for_mail = self.mail_flags();
        match old {
            Channel::Discord { .. } => match (for_mail.first(), &self.webhook) {
                (Some(flag), _) => Err(format!("{flag} does not apply to an alert of type discord")),
                (None, webhook) => Ok(webhook.clone().map(|webhook| Channel::Discord { webhook })),
            },
            Channel::Smtp { .. } if self.webhook.is_some() => {
                Err("--webhook does not apply to an alert of type smtp".to_owned())
            }
            Channel::Smtp { .. } if for_mail.is_empty() => Ok(None),
            Channel::Smtp { host, port, user, password, from, to, tls, ca_pem, headers } => {
                let ends_login = self.user.as_ref().is_some_and(String::is_empty);
                let user = self.user.clone().or_else(|| user.clone()).filter(|u| !u.is_empty());
                let password = self.password.clone().or_else(|| password.clone().filter(|_| !ends_login));
                if user.is_some() != password.is_some() {
                    return Err("a user needs a password and a password needs a user".to_owned());
                }
                Ok(Some(Channel::Smtp {
                    host: self.host.clone().unwrap_or_else(|| host.clone()),
                    port: self.port.unwrap_or(*port),
                    user,
                    password,
                    from: self.from.clone().unwrap_or_else(|| from.clone()),
                    to: self.to.clone().unwrap_or_else(|| to.clone()),
                    tls: self.tls.unwrap_or(*tls),
                    ca_pem: self.ca_pem.clone().or_else(|| ca_pem.clone()).filter(|p| !p.is_empty()),
                    headers: self.headers.clone().unwrap_or_else(|| headers.clone()),
                }))
            }
        }
    }

    /// The flags given that only mail has.
    fn mail_flags(&self) -> Vec<&'static str> {
        [
            ("--host", self.host.is_some()),
            ("--port", self.port.is_some()),
            ("--user", self.user.is_some()),
            ("--password", self.password.is_some()),
            ("--from", self.from.is_some()),
            ("--to", self.to.is_some()),
            ("--starttls or --tls", self.tls.is_some()),
            ("--ca-file", self.ca_pem.is_some()),
            ("--header", self.headers.is_some()),
        ]
        .into_iter()
        .filter_map(|(flag, given)| given.then_some(flag))
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn http() -> Target {
        Target::Http {
            url: "https://example.com/".parse().unwrap(),
            expect_status: 200,
            body_match: Some("ok".into()),
        }
    }

    fn mail() -> Channel {
        Channel::Smtp {
            host: "mail.example.com".parse().unwrap(),
            port: 587,
            user: Some("qu".into()),
            password: Some(Secret::new("hush")),
            from: "qu@example.com".parse().unwrap(),
            to: vec!["ops@example.com".parse().unwrap()],
            tls: MailTls::StartTls,
            ca_pem: None,
            headers: Vec::new(),
        }
    }

    #[test]
    fn a_part_of_a_target_changes_and_the_rest_stays() {
        let edit = CheckFields { expect_status: Some(204), ..CheckFields::default() };
        let Some(Target::Http { url, expect_status, body_match }) = edit.target(&http()).unwrap() else {
            panic!("another type")
        };
        assert_eq!((url.as_str(), expect_status), ("https://example.com/", 204));
        assert_eq!(body_match.as_deref(), Some("ok"));
        let edit = CheckFields { body_match: Some(String::new()), ..CheckFields::default() };
        assert!(matches!(edit.target(&http()).unwrap(), Some(Target::Http { body_match: None, .. })));
        assert_eq!(CheckFields::default().target(&http()).unwrap(), None);
    }

    #[test]
    fn a_part_that_the_type_does_not_have_is_refused_by_name() {
        let tcp = Target::Tcp { to: "db:5432".parse().unwrap() };
        let edit = CheckFields { expect_status: Some(204), ..CheckFields::default() };
        assert_eq!(edit.target(&tcp).unwrap_err(), "--expect does not apply to a check of type tcp");
        let edit = CheckFields { target: Some("db".into()), ..CheckFields::default() };
        assert!(edit.target(&tcp).unwrap_err().contains("has no port"));
        let edit = AlertFields { webhook: Some(Secret::new("https://d/x")), ..AlertFields::default() };
        assert!(edit.channel(&mail()).unwrap_err().starts_with("--webhook does not apply"));
        let edit = AlertFields { port: Some(1), ..AlertFields::default() };
        let discord = Channel::Discord { webhook: Secret::new("https://d/x") };
        assert!(edit.channel(&discord).unwrap_err().starts_with("--port does not apply"));
    }

    #[test]
    fn a_part_of_a_mail_alert_changes_and_the_password_stays() {
        let edit = AlertFields { port: Some(25), tls: Some(MailTls::Plain), ..AlertFields::default() };
        let Some(Channel::Smtp { port, password, tls, .. }) = edit.channel(&mail()).unwrap() else {
            panic!("another type")
        };
        assert_eq!((port, tls), (25, MailTls::Plain));
        assert_eq!(password.unwrap().reveal(), "hush");
    }

    #[test]
    fn an_empty_user_ends_the_login_and_takes_the_password_along() {
        let edit = AlertFields { user: Some(String::new()), ..AlertFields::default() };
        let changed = edit.channel(&mail()).unwrap();
        assert!(matches!(changed, Some(Channel::Smtp { user: None, password: None, .. })), "{changed:?}");
        let edit = AlertFields {
            user: Some(String::new()),
            password: Some(Secret::new("x")),
            ..AlertFields::default()
        };
        assert!(edit.channel(&mail()).is_err());
    }
}

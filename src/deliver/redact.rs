//! Reasons without secrets: what a relay or a webhook answered may repeat what it was told.

use super::base64;
use crate::base::text::{harmless, shorten};
use crate::config::Channel;

/// A reason is a line in a log and a cell in a table.
const LONGEST_REASON: usize = 300;
/// Parts of a webhook's path that are at least this long are taken for secrets.
const TELLING: usize = 8;

/// Knows the secrets of one channel.
pub(super) struct Redactor(Vec<String>);

impl Redactor {
    /// For this channel.
    pub(super) fn of(channel: &Channel) -> Redactor {
        let mut secrets = match channel {
            Channel::Smtp { user, password: Some(password), .. } => {
                let password = password.reveal();
                let user = user.as_deref().unwrap_or("");
                vec![
                    password.to_owned(),
                    base64::encode(password.as_bytes()),
                    base64::encode(format!("\0{user}\0{password}").as_bytes()),
                ]
            }
            Channel::Smtp { .. } => Vec::new(),
            Channel::Discord { webhook } => {
                let url = webhook.reveal();
                let path = url.splitn(4, '/').nth(3).unwrap_or("");
                let parts = path.split(['/', '?', '&', '=', '#']).filter(|p| p.len() >= TELLING);
                let mut secrets: Vec<String> = parts.map(str::to_owned).collect();
                secrets.extend([url.to_owned(), path.to_owned()]);
                secrets
            }
        };
        secrets.retain(|s| s.len() >= 3);
        // The longest first, so that no part is replaced inside a whole.
        secrets.sort_by_key(|s| std::cmp::Reverse(s.len()));
        Redactor(secrets)
    }

    /// One harmless line without secrets.
    pub(super) fn line(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in &self.0 {
            text = text.replace(secret, "(secret)");
        }
        let words: Vec<&str> = text.split_whitespace().collect();
        shorten(&harmless(&words.join(" ")), LONGEST_REASON)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{MailTls, Secret};

    #[test]
    fn neither_password_nor_webhook_path_survives_in_a_reason() {
        let smtp = Redactor::of(&Channel::Smtp {
            host: "relay.example.com".parse().unwrap(),
            port: 25,
            user: Some("qu".to_owned()),
            password: Some(Secret::new("hunter22")),
            from: "qu@example.com".parse().unwrap(),
            to: Vec::new(),
            tls: MailTls::Plain,
            ca_pem: None,
            headers: Vec::new(),
        });
        let plain = base64::encode(b"\0qu\0hunter22");
        let line = smtp.line(&format!("535 no: hunter22\r\n{plain} {}\x1b", base64::encode(b"hunter22")));
        assert_eq!(line, "535 no: (secret) (secret) (secret)\\u{1b}");

        let webhook =
            Secret::new("https://discord.example/api/webhooks/123456789/tok_en-SECRET?x=abcdefghij");
        let discord = Redactor::of(&Channel::Discord { webhook: webhook.clone() });
        for text in [
            webhook.reveal().to_owned(),
            "no route for /api/webhooks/123456789/tok_en-SECRET".to_owned(),
            "token tok_en-SECRET abcdefghij".to_owned(),
        ] {
            let line = discord.line(&text);
            assert!(!line.contains("SECRET") && !line.contains("abcdefghij"), "{line}");
        }
        assert!(discord.line(&"x".repeat(2000)).len() <= LONGEST_REASON);
    }
}

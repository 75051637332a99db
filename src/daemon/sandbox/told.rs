//! What arrived, for a person to read.

use crate::base::text::harmless;
use crate::deliver::sink::{Post, ReceivedMail};

/// A mail: who, what about, and the text.
#[must_use]
pub fn mail(mail: &ReceivedMail) -> String {
    let subject = mail.header("Subject").unwrap_or_default();
    let quoted = mail.header("Content-Transfer-Encoding").is_some_and(|e| e.contains("quoted-printable"));
    let body = if quoted { unquoted(mail.body()) } else { mail.body().to_owned() };
    block(&format!("mail from {} to {}", mail.from, mail.to.join(", ")), &format!("{subject}\n\n{body}"))
}

/// A post: its text, or the body as it came when it has none.
#[must_use]
pub fn post(post: &Post) -> String {
    let json: Option<serde_json::Value> = serde_json::from_str(&post.body).ok();
    let content = json.as_ref().and_then(|j| j.get("content")).and_then(|c| c.as_str());
    block(&format!("post to {}", post.path), content.unwrap_or(&post.body))
}

fn block(head: &str, body: &str) -> String {
    let mut text = format!("\n+-- {}\n", harmless(head));
    for line in body.trim_end().lines() {
        text.push_str(format!("| {}", harmless(line)).trim_end());
        text.push('\n');
    }
    text.push_str("+--\n\n");
    text
}

/// RFC 2045 section 6.7, as far as mails of our own need it.
fn unquoted(body: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = body.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        match (first, tail) {
            (b'=', [b'\n', after @ ..]) => rest = after,
            (b'=', [high, low, after @ ..]) => {
                let digits = [*high, *low];
                let value = std::str::from_utf8(&digits).ok().and_then(|d| u8::from_str_radix(d, 16).ok());
                bytes.push(value.unwrap_or(b'='));
                if value.is_some() {
                    rest = after;
                }
            }
            _ => bytes.push(*first),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_arrives_is_shown_as_a_block_and_obeyed_by_no_terminal() {
        let post = Post {
            path: "/hook".to_owned(),
            headers: Vec::new(),
            body: r#"{"content":"web DOWN\n\u001b[2Jbad"}"#.to_owned(),
            answer: 204,
        };
        let text = super::post(&post);
        assert!(text.starts_with("\n+-- post to /hook\n| web DOWN\n| "), "{text}");
        assert!(!text.contains('\u{1b}'), "{text:?}");
        let none = Post { body: "plain".to_owned(), ..post };
        assert_eq!(super::post(&none), "\n+-- post to /hook\n| plain\n+--\n\n");
    }

    #[test]
    fn quoted_text_is_read_as_what_it_says() {
        assert_eq!(unquoted("caf=C3=A9 =3D one=\nline\nx=zz"), "café = oneline\nx=zz");
    }
}

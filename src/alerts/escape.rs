//! Foreign text made harmless for the place it goes to: a header line, a mail's body, a chat
//! message. The words of targets, nodes and names pass through here whoever wrote them.
//!
//! What it leaves out: encoding for transport (RFC 2047, JSON), which `deliver` does.

use crate::base::text;

/// A zero-width space: seen by nobody, it keeps chat programs from recognising a mention.
const BREAK: char = '\u{200b}';

/// One line of at most `limit` characters: line breaks and tabs become blanks, other control
/// characters are shown and not obeyed, runs of blanks shrink to one.
#[must_use]
pub fn one_line(text: &str, limit: usize) -> String {
    let spaced: String =
        text.chars().map(|c| if matches!(c, '\n' | '\r' | '\t') { ' ' } else { c }).collect();
    let words: Vec<&str> = spaced.split(' ').filter(|w| !w.is_empty()).collect();
    text::shorten(&text::harmless(&words.join(" ")), limit)
}

/// Text of several lines and at most `limit` characters: line breaks stay (all become `\n`), tabs
/// become blanks, the rest is as in [`one_line`].
#[must_use]
pub fn lines(text: &str, limit: usize) -> String {
    let text = text.replace("\r\n", "\n").replace('\r', "\n").replace('\t', "    ");
    let lines: Vec<String> = text.split('\n').map(|l| text::harmless(l).trim_end().to_owned()).collect();
    text::shorten(lines.join("\n").trim_end(), limit)
}

/// Text that markdown shows as it is.
#[must_use]
pub fn markdown(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if matches!(c, '\\' | '*' | '_' | '~' | '`' | '|' | '<' | '>' | '#' | '[' | ']' | '(' | ')' | '-') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// Text as a markdown code span, in which nothing is markup; one line.
#[must_use]
pub fn code(text: &str, limit: usize) -> String {
    let inside = one_line(text, limit).replace('`', "'");
    if inside.is_empty() { "`-`".to_owned() } else { format!("`{inside}`") }
}

/// No mention of a person, a role, a channel or everybody is left; the text looks the same.
#[must_use]
pub fn no_mentions(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    let mut before = ' ';
    for (at, c) in text.char_indices() {
        let everybody = c == '@' && names_everybody(&text[at..]);
        if matches!(c, '@' | '#' | ':' | '/') && before == '<' {
            out.push(BREAK);
        }
        out.push(c);
        if everybody || c == '@' && before == '<' {
            out.push(BREAK);
        }
        before = c;
    }
    out
}

fn names_everybody(from_at_sign: &str) -> bool {
    let name: String = from_at_sign.trim_start_matches('@').chars().take(8).collect();
    let name = name.to_ascii_lowercase();
    name.starts_with("everyone") || name.starts_with("here")
}

/// Cuts a text to `limit` UTF-16 units (which are at least as many as its characters, however
/// they are counted); a cut is shown by `...` and leaves neither half an escape nor an open code
/// span behind.
#[must_use]
pub fn cut_utf16(text: &str, limit: usize) -> String {
    if text.encode_utf16().count() <= limit {
        return text.to_owned();
    }
    let room = limit.saturating_sub(5);
    let mut used = 0;
    let mut kept = String::new();
    for c in text.chars() {
        used += c.len_utf16();
        if used > room {
            break;
        }
        kept.push(c);
    }
    let slashes = kept.chars().rev().take_while(|c| *c == '\\').count();
    if slashes % 2 == 1 {
        kept.pop();
    }
    // A code span never contains a line break here, so only the last line can hold an open one.
    let open = kept.rsplit('\n').next().is_some_and(|line| unescaped_ticks(line) % 2 == 1);
    kept.push_str(if open { "`\n..." } else { "\n..." });
    kept
}

fn unescaped_ticks(line: &str) -> usize {
    let mut ticks = 0;
    let mut escaped = false;
    for c in line.chars() {
        if c == '`' && !escaped {
            ticks += 1;
        }
        escaped = c == '\\' && !escaped;
    }
    ticks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_break_or_control_character_survives_in_a_line() {
        let nasty = "web\r\nBcc: all@example.com\n\n\x1b[31m\u{202e}\u{2028}x\0";
        let line = one_line(nasty, 200);
        assert_eq!(line, "web Bcc: all@example.com \\u{1b}[31m\\u{202e}\\u{2028}x\\u{0}");
        assert!(!line.chars().any(char::is_control));
        assert_eq!(one_line(&"x".repeat(50), 10), "xxxxxxx...");
        assert_eq!(lines("a\r\nb\rc\x07  \n", 100), "a\nb\nc\\u{7}");
    }

    #[test]
    fn markup_is_shown_not_obeyed() {
        assert_eq!(markdown("a_b *c* <@1> [x](y)"), r"a\_b \*c\* \<@1\> \[x\]\(y\)");
        assert_eq!(code("a`b\n@everyone", 100), "`a'b @everyone`");
        assert_eq!(code("", 100), "`-`");
    }

    #[test]
    fn every_form_of_mention_is_broken_and_addresses_are_left_alone() {
        for mention in ["@everyone", "@HERE", "<@123>", "<@&5>", "<@!7>", "<#9>", "@@everyone", "</run:1>"] {
            let safe = no_mentions(mention);
            assert_ne!(safe, mention);
            assert_eq!(safe.replace(BREAK, ""), mention);
            for bad in ["@everyone", "@here", "<@", "<#", "</"] {
                assert!(!safe.to_lowercase().contains(bad), "{safe:?} {bad}");
            }
        }
        assert_eq!(no_mentions("ops@example.com"), "ops@example.com");
    }

    #[test]
    fn a_cut_counts_utf16_and_leaves_no_half_escape() {
        let long = "\u{1f525}".repeat(1500);
        let cut = cut_utf16(&long, 2000);
        assert!(cut.encode_utf16().count() <= 2000 && cut.ends_with("..."));
        for length in 1990..2010 {
            let text = format!("{}{}", "x".repeat(length), "\\*".repeat(30));
            let cut = cut_utf16(&text, 2000);
            assert!(cut.encode_utf16().count() <= 2000);
            let body = cut.strip_suffix("\n...").unwrap();
            assert_eq!(body.chars().rev().take_while(|c| *c == '\\').count() % 2, 0);
        }
        assert!(cut_utf16(&format!("`{}`", "y".repeat(2100)), 2000).ends_with("y`\n..."));
        assert_eq!(cut_utf16("short", 2000), "short");
    }
}

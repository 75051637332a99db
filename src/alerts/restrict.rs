//! Which part of the template language is let through: a scan of the text before the engine sees
//! it.
//!
//! Model: a template is text with `{{ expressions }}`, `{# comments #}` and the tags `if`, `elif`,
//! `else`, `endif`, `for`, `endfor`. What could build a value larger than the message itself is
//! refused: `set` and its kin, `~` `+` `*`, lists, tuples and maps written out, recursive loops.
//! With that every value is a fact of the message or the result of a bounded filter, and the
//! engine's fuel bounds the rest; a template can be useless, but it cannot take the memory or the
//! time of the master (and, after it, of the next master). The engine works by recursion, so the
//! number of tags and the length of an expression are bounded too, for the stack's sake.
//!
//! It judges no syntax: what it lets through the engine still parses.

/// Tags that are let through.
const TAGS: &[&str] = &["if", "elif", "else", "endif", "for", "endfor"];

/// Tags in one template. Each may nest in the one before (an `elif` does).
const MOST_TAGS: usize = 100;
/// Words and signs in one expression, each of which may be a level of recursion.
const MOST_WORDS: usize = 100;

/// What is refused: the byte where it stands and a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Byte offset into the template.
    pub at: usize,
    /// What and why.
    pub why: String,
}

/// Looks through a template.
///
/// # Errors
/// The first thing that is outside the language described above.
pub fn scan(template: &str) -> Result<(), Refused> {
    let (mut at, mut tags) = (0, 0);
    while let Some(open) = next_open(template, at) {
        let inside = open + 2;
        at = match template.as_bytes().get(open + 1) {
            Some(b'#') => match template.get(inside..).and_then(|rest| rest.find("#}")) {
                Some(end) => inside + end + 2,
                // The engine names an unclosed comment better than this scan could.
                None => return Ok(()),
            },
            Some(b'%') => {
                tag(template, inside)?;
                tags += 1;
                if tags > MOST_TAGS {
                    return Err(Refused { at: open, why: format!("more than {MOST_TAGS} tags") });
                }
                expression(template, inside)?
            }
            _ => expression(template, inside)?,
        };
    }
    Ok(())
}

fn next_open(template: &str, from: usize) -> Option<usize> {
    let bytes = template.as_bytes();
    (from..bytes.len()).find(|at| bytes[*at] == b'{' && matches!(bytes.get(at + 1), Some(b'{' | b'%' | b'#')))
}

fn tag(template: &str, inside: usize) -> Result<(), Refused> {
    let rest = template.get(inside..).unwrap_or("");
    let word_at = rest.find(|c: char| !c.is_whitespace() && c != '-').unwrap_or(rest.len());
    let word: String =
        rest.chars().skip(rest[..word_at].chars().count()).take_while(|c| is_word(*c)).collect();
    if TAGS.contains(&word.as_str()) {
        return Ok(());
    }
    let why = if word.is_empty() {
        "a tag must begin with its name (if, for)".to_owned()
    } else {
        format!("the tag {word:?} is not available here (if and for are)")
    };
    Err(Refused { at: inside + word_at, why })
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Checks one `{{ .. }}` or `{% .. %}` from its first byte inside; returns where it ends.
fn expression(template: &str, inside: usize) -> Result<usize, Refused> {
    let mut calls: Vec<bool> = Vec::new();
    let mut quote: Option<char> = None;
    let (mut escaped, mut word, mut words) = (false, String::new(), 0);
    for (offset, c) in template.get(inside..).unwrap_or("").char_indices() {
        let at = inside + offset;
        if let Some(q) = quote {
            if !escaped && c == q {
                quote = None;
            }
            escaped = c == '\\' && !escaped;
            continue;
        }
        let refuse = |why: &str| Err(Refused { at, why: why.to_owned() });
        words += usize::from(!c.is_whitespace() && (word.is_empty() || !is_word(c)));
        if words > MOST_WORDS {
            return Err(Refused {
                at,
                why: format!("an expression of more than {MOST_WORDS} words and signs"),
            });
        }
        if is_word(c) {
            word.push(c);
            continue;
        }
        if word == "recursive" {
            return refuse("recursive loops are not available here");
        }
        match c {
            '}' if matches!(template.as_bytes().get(at + 1), Some(b'}')) => return Ok(at + 2),
            '%' if matches!(template.as_bytes().get(at + 1), Some(b'}')) => return Ok(at + 2),
            '\'' | '"' => quote = Some(c),
            '(' => calls.push(!word.is_empty()),
            ')' => drop(calls.pop()),
            ',' if calls.last() != Some(&true) => return refuse("lists of values are not available here"),
            '~' | '+' | '*' => {
                return refuse("~, + and * are not available here (write the parts one after the other)");
            }
            '[' | ']' | '{' | '}' => return refuse("lists, maps and indexes are not available here"),
            _ => {}
        }
        word.clear();
    }
    Ok(template.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_useful_part_of_the_language_passes() {
        for good in [
            "",
            "plain { } text, + ~ * [ ]",
            "{{ name|upper }} {{ detail|replace('a, [b', \"~\") }}",
            "{%- for r in reports if not r.ok -%}{{ r.node }}: {{ r.detail }}{% else %}-{% endfor %}",
            "{% if down_seconds > 60 and state == 'down' %}x{% elif test %}y{% endif %}",
            "{# {% set x = 1 %} #}{{ reports|join(', ', 'node') }}",
            "{{ 'it\\'s ~ fine' }}",
            "{{ (ok - 1) / 2 }}",
        ] {
            assert_eq!(scan(good), Ok(()), "{good}");
        }
    }

    #[test]
    fn what_could_grow_without_bound_is_refused_where_it_stands() {
        for (bad, at) in [
            ("{% set x = 1 %}", 3),
            ("é{% include 'x' %}", 5),
            ("{% raw %}{{ x }}{% endraw %}", 3),
            ("{%+ if x %}", 2),
            ("{{ name ~ name }}", 8),
            ("{{ name * 9 }}", 8),
            ("{{ [name] }}", 3),
            ("{{ {'a': 1} }}", 3),
            ("{% for x in (name, name) %}{% endfor %}", 17),
            ("{% for x in name, name %}{% endfor %}", 16),
            ("{% for x in reports recursive %}{% endfor %}", 29),
            ("{{ 'a' if (1, 2) }}", 12),
            ("{% %}", 3),
            (&format!("{{{{ {}1 }}}}", "-".repeat(200)), 103),
            (&"{% if ok %}".repeat(200), 1100),
        ] {
            assert_eq!(scan(bad).map_err(|r| r.at), Err(at), "{bad}");
        }
    }

    #[test]
    fn what_is_not_closed_is_left_to_the_engine() {
        for odd in ["{{", "{%", "{#", "{{ 'a", "{{ \\", "{% if", "{{ name"] {
            // Any answer will do, so long as there is one.
            let _ = scan(odd);
        }
    }
}

//! What people type and targets answer: templates, addresses, durations, and text for terminals.

use quptime::alerts::template::{self as alert_template, Escape};
use quptime::alerts::{Facts, Kind, escape};
use quptime::base::text;
use quptime::base::units::{HostPort, Span};
use quptime::config::Url;

use super::is_one_harmless_line;

/// What one rendering may make, bytes.
const ROOM: usize = 64 * 1024;

pub fn template(bytes: &[u8]) {
    let Ok(source) = std::str::from_utf8(bytes) else { return };
    let checked = alert_template::check(source);
    for escape in [Escape::Nothing, Escape::Markdown] {
        match alert_template::render(source, &Facts::sample(Kind::Down), escape) {
            Ok(text) => assert!(text.len() <= ROOM),
            Err(e) => is_well_said(&e, source),
        }
    }
    if let Err(e) = checked {
        is_well_said(&e, source);
    }
}

fn is_well_said(e: &quptime::alerts::TemplateError, source: &str) {
    is_one_harmless_line(&e.to_string());
    assert!(e.line >= 1 && e.line as usize <= source.lines().count() + 1, "{e}");
}

pub fn url(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match text.parse::<Url>() {
        Ok(url) => {
            let shown = url.to_string();
            assert!(!shown.chars().any(|c| c.is_control() || c == ' '), "{shown:?}");
            assert_eq!(shown.parse().as_ref(), Ok(&url), "{shown:?}");
        }
        Err(e) => is_one_harmless_line(&text::harmless(&format!("{e:?}"))),
    }
    if let Ok(place) = text.parse::<HostPort>() {
        assert_eq!(place.to_string().parse().as_ref(), Ok(&place));
    }
}

pub fn duration(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(span) = text.parse::<Span>() {
        assert_eq!(span.to_string().parse(), Ok(span));
    }
    if let Some(time) = text::parse_rfc3339(text) {
        let shown = text::rfc3339(time);
        assert_eq!(text::parse_rfc3339(&shown).map(|t| t.0 / 1000), Some(time.0 / 1000));
    }
}

pub fn harmless(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let shown = text::harmless(&text);
    assert!(!shown.chars().any(char::is_control), "{shown:?}");
    assert!(!shown.contains(['\u{202e}', '\u{2066}', '\u{feff}']), "{shown:?}");
    let line = escape::one_line(&text, 200);
    assert!(line.chars().count() <= 200 && !line.chars().any(char::is_control), "{line:?}");
    let lines = escape::lines(&text, 200);
    assert!(!lines.chars().any(|c| c.is_control() && c != '\n'), "{lines:?}");
    let code = escape::code(&text, 200);
    assert_eq!(code.matches('`').count(), 2, "{code:?}");
    let calm = escape::no_mentions(&text);
    for call in ["@everyone", "@here", "<@", "<#"] {
        assert!(!calm.contains(call), "{calm:?}");
    }
}

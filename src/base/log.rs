//! The log: standard error, one line an event.
//!
//! Model: one process-wide sink, set once at start (before that: warnings and errors, as text).
//! A line has a level, the component that speaks, a sentence, and optional `key=value` facts.
//! Under systemd a line begins with the priority that journald reads (sd-daemon(3)); with
//! `--log-format json` it is one JSON object.
//!
//! No secret may be passed in; types that hold one print as `(secret)`. Text from other machines
//! is made harmless here, whoever logs it.

use std::fmt;
use std::io::Write as _;
use std::str::FromStr;
use std::sync::OnceLock;

use super::clock::{Clock, RealClock};
use super::text;

/// How much a line matters; also: how much is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// A promise is in danger; somebody should look.
    Error,
    /// Something is wrong, and the program copes.
    Warn,
    /// What an operator wants to find in the journal tomorrow.
    Info,
    /// For finding a fault.
    Debug,
    /// Everything, each message between nodes included.
    Trace,
}

impl Level {
    fn word(self) -> &'static str {
        match self {
            Level::Error => "error",
            Level::Warn => "warn",
            Level::Info => "info",
            Level::Debug => "debug",
            Level::Trace => "trace",
        }
    }

    /// The priority of syslog(3).
    fn priority(self) -> u8 {
        match self {
            Level::Error => 3,
            Level::Warn => 4,
            Level::Info => 6,
            Level::Debug | Level::Trace => 7,
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

impl FromStr for Level {
    type Err = String;
    fn from_str(text: &str) -> Result<Level, String> {
        match text.to_ascii_lowercase().as_str() {
            "error" => Ok(Level::Error),
            "warn" | "warning" => Ok(Level::Warn),
            "info" => Ok(Level::Info),
            "debug" => Ok(Level::Debug),
            "trace" => Ok(Level::Trace),
            _ => Err(format!("{text:?} is not a log level (error, warn, info, debug, trace)")),
        }
    }
}

/// What a line looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Time, level, component, sentence, facts.
    Text,
    /// The same for journald, which has the time already: `<6>` and the rest.
    Journal,
    /// One JSON object a line.
    Json,
}

struct Settings {
    level: Level,
    format: Format,
}

static SETTINGS: OnceLock<Settings> = OnceLock::new();

/// Sets level and format for the rest of the process. Only the first call counts.
pub fn init(level: Level, format: Format) {
    // A second call can only come from a test in the same process; the first one stands.
    drop(SETTINGS.set(Settings { level, format }));
}

/// Whether a line of this level would be printed: to save the making of costly facts.
#[must_use]
pub fn enabled(level: Level) -> bool {
    level <= SETTINGS.get().map_or(Level::Warn, |s| s.level)
}

/// Prints one line. Use the macros.
pub fn write(level: Level, component: &str, sentence: &str, facts: &[(&str, String)]) {
    if !enabled(level) {
        return;
    }
    let format = SETTINGS.get().map_or(Format::Text, |s| s.format);
    let line = render(level, format, &text::rfc3339(RealClock::new().wall()), component, sentence, facts);
    // Nobody is left to tell when standard error is gone; the daemon goes on watching.
    drop(std::io::stderr().lock().write_all(line.as_bytes()));
}

fn render(
    level: Level,
    format: Format,
    time: &str,
    component: &str,
    sentence: &str,
    facts: &[(&str, String)],
) -> String {
    if format == Format::Json {
        let mut object = serde_json::Map::new();
        for (key, value) in
            [("time", time), ("level", level.word()), ("component", component), ("message", sentence)]
        {
            object.insert(key.to_owned(), value.into());
        }
        for (key, value) in facts {
            object.insert((*key).to_owned(), value.as_str().into());
        }
        return text::harmless_json(&format!("{}\n", serde_json::Value::Object(object))).into_owned();
    }
    let mut line = match format {
        Format::Journal => format!("<{}>{component}: {}", level.priority(), text::harmless(sentence)),
        _ => format!("{time} {level:<5} {component}: {}", text::harmless(sentence)),
    };
    for (key, value) in facts {
        let plain = !value.is_empty() && value.chars().all(|c| c.is_ascii_graphic() && c != '"');
        line.push(' ');
        line.push_str(key);
        line.push('=');
        if plain {
            line.push_str(value);
        } else {
            line.push_str(&format!("\"{}\"", text::harmless(&value.replace('"', "'"))));
        }
    }
    line.push('\n');
    line
}

/// `log!(Info, "probe", "sentence", key = value, ...)`; values are printed with `Display`.
#[macro_export]
macro_rules! log {
    ($level:ident, $component:expr, $sentence:expr $(, $key:ident = $value:expr)* $(,)?) => {
        if $crate::base::log::enabled($crate::base::log::Level::$level) {
            $crate::base::log::write(
                $crate::base::log::Level::$level,
                $component,
                &$sentence,
                &[$((stringify!($key), $value.to_string())),*],
            );
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_event_is_one_line_in_each_format() {
        let facts = [("peer", "a7f3".to_owned()), ("why", "says \"no\"\nand more".to_owned())];
        let line = |f| render(Level::Info, f, "T", "link", "lost a peer", &facts);
        assert_eq!(
            line(Format::Text),
            "T info  link: lost a peer peer=a7f3 why=\"says 'no'\\u{a}and more\"\n"
        );
        assert_eq!(line(Format::Journal), "<6>link: lost a peer peer=a7f3 why=\"says 'no'\\u{a}and more\"\n");
        let json: serde_json::Value = serde_json::from_str(&line(Format::Json)).unwrap();
        assert_eq!(json["why"], "says \"no\"\nand more");
        assert_eq!(line(Format::Json).lines().count(), 1);
    }
}

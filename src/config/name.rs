//! What operators call checks and alerts.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};

use crate::base::id::NodeId;

/// The name of a check or an alert: 1 to 100 characters, no control characters, no blank at
/// either end, no comma (lists of names are separated by it), and not shaped like an id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Name(String);

impl Name {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = String;
    fn from_str(text: &str) -> Result<Name, String> {
        let fits = (1..=100).contains(&text.chars().count());
        if !fits || text.trim() != text || text.chars().any(|c| c.is_control() || c == ',') {
            return Err(format!(
                "{:?} is not a name (1 to 100 characters, no comma, no control characters, no blank at the ends)",
                crate::base::text::shorten(text, 120)
            ));
        }
        if text.parse::<NodeId>().is_ok() {
            return Err(format!("{text:?} is not a name (it looks like an id)"));
        }
        Ok(Name(text.to_owned()))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

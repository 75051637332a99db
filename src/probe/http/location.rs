//! Where a redirect leads: a `Location` field, resolved against the URL that was asked
//! (RFC 3986, section 5.2). Pure.

use std::fmt::Write as _;

use crate::config::Url;

/// The URL that `location` means when `base` answered with it; `None` when it is nothing that can
/// be fetched: another scheme, user names, no host.
#[must_use]
pub fn resolve(base: &Url, location: &str) -> Option<Url> {
    let text = encoded(location.trim());
    let text = text.split('#').next().unwrap_or("");
    let scheme = if base.https { "https" } else { "http" };
    let absolute = if has_scheme(text) {
        return text.parse().ok();
    } else if let Some(rest) = text.strip_prefix("//") {
        format!("{scheme}://{rest}")
    } else {
        format!("{scheme}://{}{}", base.to, path_of(&base.path, text))
    };
    absolute.parse().ok()
}

/// A name, then a colon, before anything that belongs to a path (RFC 3986, section 3.1).
fn has_scheme(text: &str) -> bool {
    let end = text.find([':', '/', '?']).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    rest.starts_with(':')
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
}

fn path_of(base: &str, reference: &str) -> String {
    let base_path = base.split('?').next().unwrap_or("/");
    if reference.is_empty() {
        return base.to_owned();
    }
    if reference.starts_with('?') {
        return format!("{base_path}{reference}");
    }
    let (path, query) = match reference.find('?') {
        Some(at) => reference.split_at(at),
        None => (reference, ""),
    };
    let merged = if path.starts_with('/') {
        path.to_owned()
    } else {
        let directory = base_path.rfind('/').map_or("/", |at| &base_path[..=at]);
        format!("{directory}{path}")
    };
    format!("{}{query}", without_dots(&merged))
}

/// Takes `.` and `..` out of an absolute path.
fn without_dots(path: &str) -> String {
    let mut out: Vec<&str> = Vec::new();
    let mut parts = path.split('/').skip(1).peekable();
    while let Some(part) = parts.next() {
        let last = parts.peek().is_none();
        match part {
            "." if last => out.push(""),
            "." => {}
            ".." => {
                out.pop();
                if last {
                    out.push("");
                }
            }
            other => out.push(other),
        }
    }
    format!("/{}", out.join("/"))
}

/// What may not stand in a URL is encoded, as browsers do, since servers write such fields.
fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_graphic() {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_location_leads_where_browsers_go() {
        let base: Url = "https://web.example:8443/a/b/c?q=1".parse().unwrap();
        for (location, want) in [
            ("http://other/x", Some("http://other/x")),
            ("HTTPS://other", Some("HTTPS://other")),
            ("//other/x", Some("https://other/x")),
            ("/x", Some("https://web.example:8443/x")),
            ("?p=2", Some("https://web.example:8443/a/b/c?p=2")),
            ("", Some("https://web.example:8443/a/b/c?q=1")),
            ("x", Some("https://web.example:8443/a/b/x")),
            ("./x/../y?z=../1", Some("https://web.example:8443/a/b/y?z=../1")),
            ("../../../../x", Some("https://web.example:8443/x")),
            ("..", Some("https://web.example:8443/a/")),
            ("/é x#top", Some("https://web.example:8443/%C3%A9%20x")),
            ("x:y/z", None),
            ("ftp://other/", None),
            ("javascript:alert(1)", None),
            ("http://u:p@other/", None),
            ("http://", None),
            ("./x:y", Some("https://web.example:8443/a/b/x:y")),
        ] {
            let got = resolve(&base, location);
            assert_eq!(got.as_ref().map(Url::as_str), want, "{location:?}");
        }
        let six: Url = "http://[::1]/".parse().unwrap();
        assert_eq!(resolve(&six, "/x").unwrap().as_str(), "http://[::1]:80/x");
    }
}

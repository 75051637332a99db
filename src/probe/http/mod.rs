//! HTTP/1.1 as a probe needs it: one GET, its answer's head, and as much of the body as decides.
//! Pure: bytes in, a finding out; `exchange.rs` owns the connection.
//!
//! Model: [`Reading`] is fed with what arrives until it knows. It never wants more than the head
//! (64 KiB) and the first MiB of the body, and the body only when a text is to be found in it.
//! It is lenient where browsers are, and takes any bytes without harm.
//!
//! Left out: keeping connections (a probe is to see whether one can be made), cookies, content
//! encodings (identity is asked for), HTTP/2.

pub mod body;
pub mod exchange;
pub mod location;

use crate::base::text::shorten;
use crate::base::units::{Host, HostPort};
use crate::config::Url;
use crate::verdict::Stage;

use super::socket::Failure;
use body::{Body, Needle};

/// All heads of an answer together, interim ones included.
const MOST_HEAD: usize = 64 * 1024;
const MOST_FIELDS: usize = 256;
/// Of the body no more than this is searched.
const MOST_BODY: u64 = 1024 * 1024;
/// Of the connection no more than this is read for it: framing of tiny chunks costs bytes too.
const MOST_WIRE: u64 = 8 * 1024 * 1024;

/// What the check wants.
#[derive(Clone, Debug)]
pub struct Expect {
    /// This status; 0: any 2xx.
    pub status: u16,
    /// This text in the body.
    pub body: Option<String>,
}

impl Expect {
    fn met_by(&self, status: u16) -> bool {
        status == self.status || (self.status == 0 && (200..300).contains(&status))
    }

    fn follows(&self, status: u16) -> bool {
        !(300..400).contains(&self.status) && matches!(status, 301 | 302 | 303 | 307 | 308)
    }
}

/// What an answer turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// As expected.
    Met,
    /// To be asked elsewhere: the text of the `Location` field.
    Redirect(String),
}

/// The request for a URL.
#[must_use]
pub fn request(url: &Url) -> Vec<u8> {
    let agent = concat!("quptime/", env!("CARGO_PKG_VERSION"));
    format!(
        "GET {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: {agent}\r\nAccept: */*\r\n\
         Accept-Encoding: identity\r\nConnection: close\r\n\r\n",
        url.path,
        host_field(&url.to, url.https)
    )
    .into_bytes()
}

/// The `Host` field: the port only where it is not the scheme's own (RFC 9110, section 7.2).
fn host_field(to: &HostPort, https: bool) -> String {
    match (&to.host, to.port) {
        (Host::Ip(ip), 443) if https => bracketed(ip),
        (Host::Ip(ip), 80) if !https => bracketed(ip),
        (Host::Name(name), 443) if https => name.clone(),
        (Host::Name(name), 80) if !https => name.clone(),
        _ => to.to_string(),
    }
}

fn bracketed(ip: &std::net::IpAddr) -> String {
    if ip.is_ipv6() { format!("[{ip}]") } else { ip.to_string() }
}

/// An answer being read.
#[derive(Debug)]
pub struct Reading {
    expect: Expect,
    /// Bytes of the head so far; searched for its end up to `seen`.
    head: Vec<u8>,
    seen: usize,
    /// Bytes of interim heads already passed over.
    passed: usize,
    wire: u64,
    body: Option<(Body, Needle)>,
    encoded: bool,
}

/// The outcome of one complete head.
enum Head {
    Interim,
    Found(Finding),
    Body(Body, bool),
}

impl Reading {
    /// Nothing has arrived.
    #[must_use]
    pub fn new(expect: Expect) -> Reading {
        Reading { expect, head: Vec::new(), seen: 0, passed: 0, wire: 0, body: None, encoded: false }
    }

    /// Whether the head is complete: what is waited for is the body.
    #[must_use]
    pub fn in_body(&self) -> bool {
        self.body.is_some()
    }

    /// Takes what has arrived. `None`: more is needed.
    ///
    /// # Errors
    /// The answer is not the expected one, or none at all.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Option<Finding>, Failure> {
        self.wire += bytes.len() as u64;
        if self.body.is_some() {
            return self.feed_body(bytes);
        }
        self.head.extend_from_slice(bytes);
        loop {
            self.skip_blank_lines();
            self.is_http()?;
            let Some(end) = self.head_end() else {
                if self.head.len() + self.passed > MOST_HEAD {
                    return Err(Failure::at(Stage::Http, "headers larger than 64 KiB"));
                }
                return Ok(None);
            };
            if end + self.passed > MOST_HEAD {
                return Err(Failure::at(Stage::Http, "headers larger than 64 KiB"));
            }
            let rest = self.head.split_off(end);
            let head = std::mem::replace(&mut self.head, rest);
            self.seen = 0;
            match self.judge(&head)? {
                Head::Interim => self.passed += end,
                Head::Found(finding) => return Ok(Some(finding)),
                Head::Body(body, encoded) => {
                    let needle = Needle::new(self.expect.body.as_deref().unwrap_or(""));
                    self.encoded = encoded;
                    self.body = Some((body, needle));
                    let rest = std::mem::take(&mut self.head);
                    return self.feed_body(&rest);
                }
            }
        }
    }

    /// The other side has closed the connection.
    ///
    /// # Errors
    /// It did so too early, or what it sent is not what is expected.
    pub fn end(&mut self) -> Result<Finding, Failure> {
        match &self.body {
            Some((body, _)) if body.ends_with_connection() => Err(self.absent()),
            Some(_) => Err(Failure::at(Stage::Body, "connection closed before the body was complete")),
            None if self.head.is_empty() && self.passed == 0 => {
                Err(Failure::at(Stage::Http, "connection closed without an answer"))
            }
            None => Err(Failure::at(Stage::Http, "connection closed before the headers were complete")),
        }
    }

    fn feed_body(&mut self, bytes: &[u8]) -> Result<Option<Finding>, Failure> {
        let Some((body, needle)) = &mut self.body else { return Ok(None) };
        let mut found = false;
        let over = body.feed(bytes, &mut |part| {
            found = found || needle.feed(part, MOST_BODY);
            found
        });
        match over {
            _ if found => Ok(Some(Finding::Met)),
            Err(why) => Err(Failure::at(Stage::Body, why)),
            Ok(true) => Err(self.absent()),
            Ok(false) if needle.searched() >= MOST_BODY || self.wire >= MOST_WIRE => Err(self.absent()),
            Ok(false) => Ok(None),
        }
    }

    /// The text is not in the body.
    fn absent(&self) -> Failure {
        let wanted = shorten(self.expect.body.as_deref().unwrap_or(""), 80);
        let searched = self.body.as_ref().map_or(0, |(_, n)| n.searched());
        let how_far = match searched {
            0 => "the body is empty".to_owned(),
            n if n >= MOST_BODY => "in its first 1 MiB".to_owned(),
            1 => "1 byte".to_owned(),
            n => format!("{n} bytes"),
        };
        let encoded = if self.encoded { ", sent compressed although not asked for" } else { "" };
        Failure::at(Stage::Body, format!("does not contain {wanted:?} ({how_far}{encoded})"))
    }

    /// Line ends before an answer are forgiven (RFC 9112, section 2.2), within the bound of heads.
    fn skip_blank_lines(&mut self) {
        if self.seen == 0 {
            let blank = self.head.iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
            self.head.drain(..blank);
            self.passed += blank;
        }
    }

    /// Refuses what does not begin as an answer does, without waiting for its end.
    fn is_http(&self) -> Result<(), Failure> {
        let begins = self.head.as_slice();
        let length = begins.len().min(5);
        if begins.get(..length) == b"HTTP/".get(..length) {
            return Ok(());
        }
        // A TLS alert: type 21, version 3.x.
        if begins.starts_with(&[21, 3]) {
            return Err(Failure::at(Stage::Http, "the answer is TLS, not HTTP (https:// instead?)"));
        }
        let line = begins.split(|b| matches!(b, b'\r' | b'\n')).next().unwrap_or_default();
        let line = String::from_utf8_lossy(line.get(..line.len().min(200)).unwrap_or_default()).into_owned();
        Err(Failure::at(Stage::Http, format!("the answer is not HTTP: \"{}\"", shorten(&line, 60))))
    }

    /// Where the head ends: after its empty line. Looks at new bytes only.
    fn head_end(&mut self) -> Option<usize> {
        let from = self.seen.saturating_sub(3);
        let new = self.head.get(from..)?;
        let end = new.windows(2).enumerate().find_map(|(at, two)| match two {
            b"\n\n" => Some(at + 2),
            b"\n\r" if new.get(at + 2) == Some(&b'\n') => Some(at + 3),
            _ => None,
        });
        self.seen = self.head.len();
        end.map(|e| from + e)
    }

    fn judge(&self, head: &[u8]) -> Result<Head, Failure> {
        let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
        let mut answer = httparse::Response::new(&mut fields);
        let mut parser = httparse::ParserConfig::default();
        parser
            .allow_obsolete_multiline_headers_in_responses(true)
            .allow_spaces_after_header_name_in_responses(true)
            .allow_multiple_spaces_in_response_status_delimiters(true)
            .ignore_invalid_headers_in_responses(true);
        let complete = parser.parse_response(&mut answer, head);
        match complete {
            Ok(httparse::Status::Complete(_)) => {}
            Ok(httparse::Status::Partial) => {
                return Err(Failure::at(Stage::Http, "headers cannot be read (incomplete line)"));
            }
            Err(httparse::Error::TooManyHeaders) => {
                return Err(Failure::at(Stage::Http, format!("more than {MOST_FIELDS} header fields")));
            }
            Err(e) => return Err(Failure::at(Stage::Http, format!("headers cannot be read ({e})"))),
        }
        let status = answer.code.unwrap_or(0);
        let field = |name: &str| {
            answer.headers.iter().find(|f| f.name.eq_ignore_ascii_case(name)).map(|f| f.value.trim_ascii())
        };
        if (100..200).contains(&status) && status != 101 && !self.expect.met_by(status) {
            return Ok(Head::Interim);
        }
        if self.expect.follows(status)
            && let Some(location) = field("location")
        {
            return Ok(Head::Found(Finding::Redirect(String::from_utf8_lossy(location).into_owned())));
        }
        if !self.expect.met_by(status) {
            let wanted = match self.expect.status {
                0 | 200 => String::new(),
                other => format!(", expected {other}"),
            };
            return Err(Failure::sentence(Stage::Http, format!("status {status}{wanted}")));
        }
        if self.expect.body.is_none() {
            return Ok(Head::Found(Finding::Met));
        }
        let encoded = field("content-encoding").is_some_and(|v| !v.eq_ignore_ascii_case(b"identity"));
        let body = match (status, field("transfer-encoding"), field("content-length")) {
            (100..200 | 204 | 304, _, _) => Body::with_length(0),
            (_, Some(coding), _) if ends_chunked(coding) => Body::chunked(),
            (_, Some(_), _) | (_, None, None) => Body::until_close(),
            (_, None, Some(length)) => Body::with_length(
                std::str::from_utf8(length)
                    .ok()
                    .and_then(|t| t.parse().ok())
                    .ok_or_else(|| Failure::at(Stage::Http, "Content-Length is not a number"))?,
            ),
        };
        Ok(Head::Body(body, encoded))
    }
}

fn ends_chunked(coding: &[u8]) -> bool {
    let last = coding.split(|b| *b == b',').next_back().unwrap_or_default();
    last.trim_ascii().eq_ignore_ascii_case(b"chunked")
}

#[cfg(test)]
mod tests;

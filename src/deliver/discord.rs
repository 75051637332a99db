//! One chat message to one webhook: a POST of JSON.
//!
//! 2xx is success. 429 and 5xx, 408 and 425, and everything of network and TLS may be better next
//! time; what the answer says about when (`Retry-After`, `X-RateLimit-Reset-After`, Discord's
//! `retry_after`) is obeyed, also after a success that used the quota up. Other 4xx are a refusal
//! for good. Redirects are not followed: the webhook's path is a secret, and where it goes was the
//! operator's decision. No proxy is taken from the environment.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use ureq::http::HeaderMap;
use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};
use ureq::{Agent, Error};

use super::Tried;
use crate::base::clock::Wall;
use crate::base::text::{about, parse_rfc3339};
use crate::config::{Secret, Url};

/// As much of an answer as is read.
const ANSWER: u64 = 8 * 1024;
/// Discord's flag for "make no previews of links".
const SUPPRESS_EMBEDS: u32 = 1 << 2;

/// One attempt. `roots` are trusted beside the system's.
pub(super) fn send(
    webhook: &Secret,
    content: &str,
    timeout: Duration,
    now: Wall,
    roots: &[Certificate<'static>],
) -> Tried {
    let url: Url = match webhook.reveal().parse() {
        Ok(url) => url,
        Err(_) => return Tried::Refused { why: "the webhook is not a URL".to_owned() },
    };
    let body = json!({
        "content": content,
        "allowed_mentions": { "parse": [] },
        "flags": SUPPRESS_EMBEDS,
    });
    let post = agent(url.https, timeout, roots)
        .post(url.as_str())
        .header("content-type", "application/json")
        .send(body.to_string());
    match post {
        Ok(mut answer) => {
            let status = answer.status().as_u16();
            let said = answer.body_mut().with_config().limit(ANSWER).read_to_string().unwrap_or_default();
            judge(status, answer.headers(), &said, now)
        }
        Err(e) => Tried::failed(format!("post to {}: {}", url.to, told(&e, timeout))),
    }
}

fn agent(https: bool, timeout: Duration, roots: &[Certificate<'static>]) -> Agent {
    let mut trusted = Vec::new();
    if https {
        let system = rustls_native_certs::load_native_certs();
        trusted.extend(system.certs.iter().map(|c| Certificate::from_der(c).to_owned()));
        trusted.extend_from_slice(roots);
    }
    let tls = TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .root_certs(RootCerts::from(trusted))
        .build();
    Agent::config_builder()
        .tls_config(tls)
        .proxy(None)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        .timeout_global(Some(timeout))
        .max_idle_connections(0)
        .user_agent(concat!("quptime/", env!("CARGO_PKG_VERSION")))
        .build()
        .new_agent()
}

fn told(error: &Error, timeout: Duration) -> String {
    match error {
        Error::Timeout(_) => format!("no answer within {}", about(timeout)),
        Error::HostNotFound => "no such host".to_owned(),
        Error::Io(e) => e.to_string(),
        // Others may carry the address.
        Error::BadUri(_) => "the webhook is not a URL".to_owned(),
        other => other.to_string(),
    }
}

fn judge(status: u16, headers: &HeaderMap, said: &str, now: Wall) -> Tried {
    let wait = asked_to_wait(headers, said, now);
    if (200..300).contains(&status) {
        let used_up = header(headers, "x-ratelimit-remaining") == Some("0");
        let pause = if used_up { seconds(header(headers, "x-ratelimit-reset-after")) } else { None };
        return Tried::Sent { left: Vec::new(), note: None, pause };
    }
    let why = match reason(said) {
        Some(words) => format!("status {status}: {words}"),
        None if (300..400).contains(&status) => {
            format!("status {status}: redirects are not followed, set the webhook to where it leads")
        }
        None => format!("status {status}"),
    };
    match status {
        408 | 425 | 429 => Tried::Failed { why, retry_after: wait },
        400..=499 => Tried::Refused { why },
        _ => Tried::Failed { why, retry_after: wait },
    }
}

/// The longest of what the answer asks for.
fn asked_to_wait(headers: &HeaderMap, said: &str, now: Wall) -> Option<Duration> {
    let after = header(headers, "retry-after");
    let from_body = serde_json::from_str::<serde_json::Value>(said)
        .ok()
        .and_then(|v| v.get("retry_after").and_then(serde_json::Value::as_f64))
        .and_then(|s| Duration::try_from_secs_f64(s).ok());
    let used_up = header(headers, "x-ratelimit-remaining") == Some("0");
    let reset = if used_up { seconds(header(headers, "x-ratelimit-reset-after")) } else { None };
    [seconds(after), after.and_then(|text| until(text, now)), from_body, reset].into_iter().flatten().max()
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|v| v.to_str().ok()).map(str::trim)
}

fn seconds(text: Option<&str>) -> Option<Duration> {
    text?.parse::<f64>().ok().and_then(|s| Duration::try_from_secs_f64(s).ok())
}

/// From now to an HTTP date (RFC 9110, section 5.6.7): `Sun, 06 Nov 1994 08:49:37 GMT`.
fn until(text: &str, now: Wall) -> Option<Duration> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let mut words = text.split_ascii_whitespace().skip(1);
    let (day, month, year, time) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let month = MONTHS.iter().position(|m| *m == month)? + 1;
    Some(parse_rfc3339(&format!("{year}-{month:02}-{day}T{time}Z"))?.since(now))
}

/// What Discord says is wrong: `{"message": "..."}`.
fn reason(said: &str) -> Option<String> {
    let json: serde_json::Value = serde_json::from_str(said).ok()?;
    Some(json.get("message")?.as_str()?.to_owned()).filter(|m| !m.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.insert(*name, value.parse().unwrap());
        }
        map
    }

    #[test]
    fn statuses_are_told_apart() {
        let judged = |status| judge(status, &HeaderMap::new(), "", Wall(0));
        for good in [200, 204] {
            assert!(matches!(judged(good), Tried::Sent { .. }), "{good}");
        }
        for final_one in [400, 401, 403, 404, 405, 410] {
            assert!(matches!(judged(final_one), Tried::Refused { .. }), "{final_one}");
        }
        for passing in [301, 307, 408, 425, 429, 500, 502, 503] {
            assert!(matches!(judged(passing), Tried::Failed { .. }), "{passing}");
        }
        assert_eq!(
            judge(400, &HeaderMap::new(), r#"{"message": "Invalid Form Body", "code": 50035}"#, Wall(0)),
            Tried::Refused { why: "status 400: Invalid Form Body".to_owned() }
        );
    }

    #[test]
    fn every_way_to_ask_for_patience_is_understood() {
        let now = parse_rfc3339("1994-11-06T08:49:07Z").unwrap();
        let asked =
            |pairs: &[_], said: &str| asked_to_wait(&headers(pairs), said, now).map(|d| d.as_millis());
        assert_eq!(asked(&[("retry-after", "7")], ""), Some(7000));
        assert_eq!(asked(&[("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT")], ""), Some(30_000));
        assert_eq!(asked(&[("retry-after", "1")], r#"{"retry_after": 1.25}"#), Some(1250));
        let limits = [("x-ratelimit-remaining", "0"), ("x-ratelimit-reset-after", "2.5")];
        assert_eq!(asked(&limits, ""), Some(2500));
        for nonsense in ["", "-1", "soon", "inf", "NaN", "1e400", "x, 99 Foo 1994 1:1:1 GMT"] {
            let map = [("retry-after", nonsense)];
            assert_eq!(asked(&map, "{\"retry_after\": -3}"), None, "{nonsense}");
        }
        let after_success = judge(204, &headers(&limits), "", now);
        assert!(matches!(after_success, Tried::Sent { pause: Some(p), .. } if p.as_millis() == 2500));
    }
}

use super::*;
use crate::base::rng::Rng;

fn expect(status: u16, body: Option<&str>) -> Expect {
    Expect { status, body: body.map(str::to_owned) }
}

/// The finding when the answer comes in pieces of `step` bytes and the connection then ends.
fn read(answer: &[u8], expect: Expect, step: usize) -> Result<Finding, String> {
    let mut reading = Reading::new(expect);
    for part in answer.chunks(step) {
        match reading.feed(part) {
            Ok(None) => {}
            Ok(Some(finding)) => return Ok(finding),
            Err(f) => return Err(f.detail),
        }
    }
    reading.end().map_err(|f| f.detail)
}

#[test]
fn answers_are_judged_alike_however_they_are_cut() {
    let met = Ok(Finding::Met);
    let no = |why: &str| Err(why.to_owned());
    let cases: Vec<(&str, Expect, Result<Finding, String>)> = vec![
        ("HTTP/1.1 200 OK\r\n\r\n", expect(200, None), met.clone()),
        ("HTTP/1.0 200\n\n", expect(200, None), met.clone()),
        ("HTTP/1.1 204 No Content\r\n\r\n", expect(0, None), met.clone()),
        ("HTTP/1.1 503 Busy\r\n\r\n", expect(200, None), no("status 503")),
        ("HTTP/1.1 404 No\r\n\r\n", expect(0, None), no("status 404")),
        ("HTTP/1.1 200 OK\r\n\r\n", expect(204, None), no("status 200, expected 204")),
        ("HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", expect(200, None), met.clone()),
        (
            "HTTP/1.1 302 Found\r\nLOCATION:  /x \r\n\r\n",
            expect(200, None),
            Ok(Finding::Redirect("/x".into())),
        ),
        ("HTTP/1.1 302 Found\r\nLocation: /x\r\n\r\n", expect(302, None), met.clone()),
        ("HTTP/1.1 302 Found\r\nLocation: /x\r\n\r\n", expect(301, None), no("status 302, expected 301")),
        ("HTTP/1.1 302 Found\r\n\r\n", expect(200, None), no("status 302")),
        ("HTTP/1.1 304 Same\r\nLocation: /x\r\n\r\n", expect(200, None), no("status 304")),
        ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nall is ok", expect(200, Some("is ok")), met.clone()),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nall is ok",
            expect(200, Some("is ok")),
            no("body: does not contain \"is ok\" (3 bytes)"),
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\nall",
            expect(200, Some("ok")),
            no("body: connection closed before the body was complete"),
        ),
        ("HTTP/1.1 200 OK\r\n\r\nall is ok", expect(200, Some("is ok")), met.clone()),
        (
            "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\nzzz",
            expect(200, Some("ok")),
            no("body: does not contain \"ok\" (3 bytes, sent compressed although not asked for)"),
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, Chunked\r\n\r\n6\r\nall is\r\n3\r\n ok\r\n0\r\n\r\n",
            expect(200, Some("is ok")),
            met,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            expect(200, Some("ok")),
            no("body: does not contain \"ok\" (the body is empty)"),
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            expect(200, Some("ok")),
            no("body: the chunks cannot be read"),
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
            expect(200, Some("ok")),
            no("http: Content-Length is not a number"),
        ),
        ("", expect(200, None), no("http: connection closed without an answer")),
        ("HTTP/1.1 200 O", expect(200, None), no("http: connection closed before the headers were complete")),
        ("HT", expect(200, None), no("http: connection closed before the headers were complete")),
    ];
    for (answer, expect, want) in cases {
        for step in [1, 2, 3, 7, 1000] {
            assert_eq!(read(answer.as_bytes(), expect.clone(), step), want, "{answer:?} in steps of {step}");
        }
    }
}

#[test]
fn what_is_not_http_is_said_at_once_and_shown() {
    assert_eq!(
        read(b"SSH-2.0-OpenSSH_9\r\n", expect(200, None), 100),
        Err("http: the answer is not HTTP: \"SSH-2.0-OpenSSH_9\"".to_owned())
    );
    assert_eq!(read(b"\r\nHTTP/1.1 200 OK\r\n\r\n", expect(200, None), 1), Ok(Finding::Met));
    let blank = read("\n".repeat(70_000).as_bytes(), expect(200, None), 1).unwrap_err();
    assert_eq!(blank, "http: headers larger than 64 KiB");
    let alert = read(&[21, 3, 1, 0, 2, 2, 70], expect(200, None), 100).unwrap_err();
    assert!(alert.contains("https://"), "{alert}");
    let broken = read(b"HTTP/1.1 2000 OK\r\n\r\n", expect(200, None), 100).unwrap_err();
    assert!(broken.starts_with("http: headers cannot be read"), "{broken}");
}

#[test]
fn heads_and_bodies_without_end_are_cut_off() {
    let endless_head = format!("HTTP/1.1 200 OK\r\n{}", "X-Pad: yyyyyyyyyyyyyyyyyyyyyyyy\r\n".repeat(3000));
    for step in [100, 1 << 20] {
        let got = read(endless_head.as_bytes(), expect(200, None), step);
        assert_eq!(got, Err("http: headers larger than 64 KiB".to_owned()));
    }
    let interim = "HTTP/1.1 100 Go\r\n\r\n".repeat(5000);
    let got = read(interim.as_bytes(), expect(200, None), 1000);
    assert_eq!(got, Err("http: headers larger than 64 KiB".to_owned()));
    let fields = format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(300));
    assert_eq!(
        read(fields.as_bytes(), expect(200, None), 10_000),
        Err("http: more than 256 header fields".to_owned())
    );
    let mut body = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
    body.resize(body.len() + (1 << 20), b'x');
    body.extend(b"needle");
    assert_eq!(
        read(&body, expect(200, Some("needle")), 5000),
        Err("body: does not contain \"needle\" (in its first 1 MiB)".to_owned())
    );
    let tiny =
        format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{}", "1;x=y\r\nx\r\n".repeat(900_000));
    let mut reading = Reading::new(expect(200, Some("needle")));
    let refused = tiny.as_bytes().chunks(65536).any(|part| reading.feed(part).is_err());
    assert!(refused && reading.wire <= MOST_WIRE + 65536);
}

#[test]
fn no_bytes_whatever_stop_the_reader() {
    let mut rng = Rng::new(21);
    let seed =
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    for _ in 0..50_000 {
        let mut answer = seed.to_vec();
        for _ in 0..rng.below(8) {
            let at = usize::try_from(rng.below(answer.len() as u64)).unwrap();
            answer[at] = u8::try_from(rng.below(256)).unwrap();
        }
        let step = 1 + usize::try_from(rng.below(90)).unwrap();
        drop(read(&answer, expect(0, Some("lo")), step));
    }
}

#[test]
fn the_request_names_host_and_agent_as_it_should() {
    for (url, line, host) in [
        ("http://Web.example/a?b", "GET /a?b HTTP/1.1", "web.example"),
        ("http://web.example:8080", "GET / HTTP/1.1", "web.example:8080"),
        ("https://web.example:443/", "GET / HTTP/1.1", "web.example"),
        ("https://web.example:80/", "GET / HTTP/1.1", "web.example:80"),
        ("http://[::1]/", "GET / HTTP/1.1", "[::1]"),
        ("https://[::1]:8443/", "GET / HTTP/1.1", "[::1]:8443"),
        ("http://10.0.0.1/", "GET / HTTP/1.1", "10.0.0.1"),
    ] {
        let text = String::from_utf8(request(&url.parse().unwrap())).unwrap();
        let lines: Vec<&str> = text.split("\r\n").collect();
        assert_eq!(lines[0], line);
        assert_eq!(lines[1], format!("Host: {host}"));
        assert!(lines.contains(&"Connection: close") && lines.contains(&"Accept-Encoding: identity"));
        assert!(lines.contains(&format!("User-Agent: quptime/{}", env!("CARGO_PKG_VERSION")).as_str()));
        assert!(text.ends_with("\r\n\r\n"));
    }
}

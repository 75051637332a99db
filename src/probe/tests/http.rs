//! HTTP over real connections: outcomes, redirects, slowness, early ends.

use super::*;

fn ok(body: &str) -> Option<Vec<u8>> {
    Some(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes())
}

fn to(location: &str) -> Option<Vec<u8>> {
    Some(format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n").into_bytes())
}

fn site() -> Server {
    Server::http(|path| match path {
        "/ok" => ok("all is well"),
        "/503" => Some(b"HTTP/1.1 503 Service Unavailable\r\n\r\n".to_vec()),
        "/chunks" => Some(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nall i\r\n6\r\ns well\r\n0\r\n\r\n"
                .to_vec(),
        ),
        "/close" => Some(b"HTTP/1.0 200 OK\r\n\r\nall is well".to_vec()),
        "/cut" => Some(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nall".to_vec()),
        "/nothing" => Some(Vec::new()),
        "/half" => Some(b"HTTP/1.1 200 OK\r\nServer".to_vec()),
        "/huge" => Some(format!("HTTP/1.1 200 OK\r\n{}", "X: 0123456789\r\n".repeat(8000)).into_bytes()),
        "/loop" => to("/loop"),
        "/ftp" => to("ftp://127.0.0.1/"),
        "/evil" => to("gopher:\u{202e}x"),
        "/hop" => to("ok"),
        "/gone" => to("http://127.0.0.1:1/x"),
        path => match path.strip_prefix("/hops/").and_then(|n| n.parse::<u32>().ok()) {
            Some(0) => ok("arrived"),
            Some(n) => to(&format!("./{}", n - 1)),
            None => None,
        },
    })
}

#[test]
fn every_kind_of_answer_has_its_outcome() {
    let server = site();
    let at = server.at;
    let rig = Rig::plain();
    let gone = "connect: connection refused (redirected to http://127.0.0.1:1/x)";
    let loops = format!("http: more than 10 redirects, in a loop (redirected to http://{at}/loop)");
    let many = format!("http: more than 10 redirects (redirected to http://{at}/hops/2)");
    let cases: Vec<(&str, u16, Option<&str>, &str)> = vec![
        ("/ok", 200, None, "up"),
        ("/ok", 0, Some("is well"), "up"),
        ("/ok", 200, Some("is ill"), "body: does not contain \"is ill\" (11 bytes)"),
        ("/503", 200, None, "status 503"),
        ("/503", 503, None, "up"),
        ("/ok", 204, None, "status 200, expected 204"),
        ("/chunks", 200, Some("all is well"), "up"),
        ("/close", 200, Some("all is well"), "up"),
        ("/cut", 200, Some("well"), "body: connection closed before the body was complete"),
        ("/nothing", 200, None, "http: connection closed without an answer"),
        ("/half", 200, None, "http: connection closed before the headers were complete"),
        ("/huge", 200, None, "http: headers larger than 64 KiB"),
        ("/hop", 200, Some("well"), "up"),
        ("/hop", 302, None, "up"),
        ("/hops/10", 200, None, "up"),
        ("/hops/12", 200, None, &many),
        ("/loop", 200, None, &loops),
        ("/ftp", 200, None, "http: cannot follow the redirect to \"ftp://127.0.0.1/\""),
        ("/evil", 200, None, "http: cannot follow the redirect to \"gopher:\\u{202e}x\""),
        ("/gone", 200, None, gone),
    ];
    let targets =
        cases.iter().map(|(path, status, body, _)| http(&server.url(path), *status, *body)).collect();
    let details = rig.details(targets, 5000);
    for ((path, status, _, want), got) in cases.iter().zip(details) {
        assert_eq!(got, *want, "{path} expecting {status}");
    }
}

#[test]
fn what_is_waited_for_is_named_at_the_timeout() {
    let server = Server::new("127.0.0.1:0", |mut stream| {
        let Some(path) = requested(&mut stream) else { return };
        let head: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n";
        let sent = if path == "/body" { head } else { &head[..20] };
        drop(stream.write_all(sent));
        wait_for_end(&mut stream);
    });
    let rig = Rig::plain();
    let details = rig.details(
        vec![http(&server.url("/body"), 200, Some("x")), http(&server.url("/head"), 200, None)],
        300,
    );
    assert_eq!(details, ["timeout after 300ms waiting for body", "timeout after 300ms waiting for headers"]);
}

#[test]
fn a_head_that_drips_is_read_and_a_body_is_found_across_pieces() {
    let server = Server::new("127.0.0.1:0", |mut stream| {
        drop(requested(&mut stream));
        stream.set_nodelay(true).unwrap();
        for byte in b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nhalf a\r\n6\r\n match\r\n" {
            if stream.write_all(&[*byte]).is_err() {
                return;
            }
        }
        wait_for_end(&mut stream);
    });
    let rig = Rig::plain();
    assert_eq!(rig.detail(http(&server.url("/"), 200, Some("a match")), 5000), "up");
}

#[test]
fn the_body_is_read_no_further_than_needed() {
    // The server never ends its body: only who stops reading in time is up.
    let server = Server::new("127.0.0.1:0", |mut stream| {
        drop(requested(&mut stream));
        drop(stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nthe needle"));
        while stream.write_all(&[b'x'; 65536]).is_ok() {}
    });
    let rig = Rig::plain();
    let targets = [None, Some("needle"), Some("absent")];
    let details = rig.details(targets.iter().map(|b| http(&server.url("/"), 200, *b)).collect(), 10_000);
    assert_eq!(details, ["up", "up", "body: does not contain \"absent\" (in its first 1 MiB)"]);
}

#[test]
fn an_ipv6_site_is_up() {
    let server = Server::new("[::1]:0", |mut stream| {
        drop(requested(&mut stream));
        drop(stream.write_all(b"HTTP/1.1 204 Empty\r\n\r\n"));
    });
    assert_eq!(Rig::plain().detail(http(&server.url("/"), 0, None), 5000), "up");
}

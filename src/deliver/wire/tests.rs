use std::net::TcpListener;
use std::thread;

use super::*;

const LIMIT: Duration = Duration::from_millis(400);

/// A relay that says this, one piece after the other with pauses, and then waits for the end.
fn relay(pieces: Vec<Vec<u8>>, pause: Duration) -> (Host, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        for piece in pieces {
            if stream.write_all(&piece).is_err() {
                return;
            }
            thread::sleep(pause);
        }
        // Whether the client closes or resets does not matter here.
        drop(stream.read_to_end(&mut Vec::new()));
    });
    ("127.0.0.1".parse().unwrap(), port)
}

fn greeted(pieces: Vec<Vec<u8>>, pause: Duration) -> Result<Response, String> {
    let (host, port) = relay(pieces, pause);
    Conversation::connect(&host, port, LIMIT).and_then(|mut talk| talk.greeting()).map_err(|e| e.told())
}

fn said(text: &str) -> Result<Response, String> {
    greeted(vec![text.as_bytes().to_vec()], Duration::ZERO)
}

#[test]
fn answers_of_one_and_of_many_lines_are_read() {
    assert!(said("220 hello\r\n").is_ok());
    assert!(said("220\r\n").is_ok(), "the text may be missing");
    assert!(said("220 hello\n").is_ok(), "so may the carriage return");
    let many = said("250-one\r\n250-two\r\n250 three\r\n").unwrap();
    assert_eq!(many.message().collect::<Vec<_>>(), ["one", "two", "three"]);
    assert_eq!(said("554-go\r\n554 away\r\n"), Err("554 go away".to_owned()));
}

#[test]
fn an_endless_line_and_endless_lines_are_cut_off() {
    let line = vec![b'x'; 1 << 20];
    assert_eq!(greeted(vec![line], Duration::ZERO), Err("too long an answer".to_owned()));
    let lines = "250-more\r\n".repeat(100_000).into_bytes();
    assert_eq!(greeted(vec![lines], Duration::ZERO), Err("too long an answer".to_owned()));
}

#[test]
fn an_answer_that_drips_has_no_more_time_than_one_that_does_not_come() {
    let clock = RealClock::new();
    let begun = clock.mono();
    let drops = vec![b"2".to_vec(); 200];
    assert_eq!(greeted(drops, Duration::from_millis(50)), Err("no answer within 400ms".to_owned()));
    assert_eq!(greeted(Vec::new(), Duration::ZERO), Err("no answer within 400ms".to_owned()));
    assert!(clock.mono().since(begun) < LIMIT * 4);
}

#[test]
fn nonsense_is_named_and_no_panic() {
    for text in [
        "HTTP/1.1 400 Bad Request\r\n",
        "\r\n",
        "2\r\n",
        "250-a\r\n354 b\r\n",
        "999 x\r\n",
        "\u{e9}\u{e9}\r\n",
    ] {
        let why = said(text).unwrap_err();
        assert!(why.starts_with("not an answer of a mail server"), "{text:?}: {why}");
    }
    let why = greeted(vec![vec![0xff, 0xfe, 0x00, b'-', b'\n', 0xff, b'\n']], Duration::ZERO).unwrap_err();
    assert!(why.starts_with("not an answer"), "{why}");
}

#[test]
fn what_is_said_in_the_clear_before_tls_is_not_believed() {
    let (host, port) = relay(vec![b"220 hi\r\n250 injected\r\n".to_vec()], Duration::ZERO);
    let mut talk = Conversation::connect(&host, port, LIMIT).map_err(|e| e.told()).unwrap();
    talk.greeting().unwrap();
    let protected = talk.protect(&host, tls(None).unwrap());
    assert_eq!(
        protected.err().map(|e| e.told()).as_deref(),
        Some("the relay spoke out of turn before TLS began")
    );
}

#[test]
fn a_ca_file_that_is_none_is_named() {
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let why = tls(Some(broken)).err().map(|e| e.told()).unwrap();
    assert!(why.starts_with("read the CA file's certificates: "), "{why}");
}

use super::super::base64;
use super::super::sink::ReceivedMail;
use super::*;

/// A header value with its encoded words (RFC 2047) read.
fn decoded(value: &str) -> String {
    let mut out = String::new();
    let mut rest = value;
    while let Some((plain, word)) = rest.split_once("=?utf-8?b?") {
        // A blank between two encoded words is not part of the text.
        if !plain.trim().is_empty() || out.is_empty() {
            out.push_str(plain);
        }
        let (text, after) = word.split_once("?=").expect("an encoded word ends");
        out.push_str(&String::from_utf8(base64::decode(text).unwrap()).unwrap());
        rest = after;
    }
    out + rest
}

fn tls_sink(authority: &TestAuthority, tls: MailTls, login: Option<&'static str>) -> SmtpSink {
    let config = authority.server(&["127.0.0.1", "localhost"]).unwrap();
    let login = login.map(|m| (m, "qu".to_owned(), "p\u{e4}ss word".to_owned()));
    SmtpSink::start(SmtpOptions { tls: Some((tls, config)), login, ..SmtpOptions::default() }).unwrap()
}

/// The sink's channel with protection, login and CA.
fn protected(sink: &SmtpSink, tls_to: MailTls, pem: Option<&str>, with: Option<&str>) -> Channel {
    let mut channel = mail_to(sink, &["ops@example.com"]);
    if let Channel::Smtp { tls, ca_pem, user, password, .. } = &mut channel {
        *tls = tls_to;
        *ca_pem = pem.map(str::to_owned);
        *user = with.map(|_| "qu".to_owned());
        *password = with.map(Secret::new);
    }
    channel
}

fn one(sink: &SmtpSink) -> ReceivedMail {
    let mut mails = sink.wait(1, LIMIT);
    assert_eq!(mails.len(), 1, "{mails:?}");
    mails.remove(0)
}

#[test]
fn a_plain_mail_arrives_with_its_headers_and_is_reported_once() {
    let (world, sink) = (World::new(), SmtpSink::start(SmtpOptions::default()).unwrap());
    let mut channel = mail_to(&sink, &["ops@example.com", "Night Shift <night@example.com>"]);
    if let Channel::Smtp { headers, .. } = &mut channel {
        headers.push("X-Team: platform".parse().unwrap());
    }
    let alert = alert(1, channel);
    let mut recovered = facts(2, Kind::Recovered);
    recovered.in_reply_to = Some("1.0.cluster".to_owned());
    assert_eq!(world.offer_facts(&alert, 2, recovered), Offer::Queued);
    assert_eq!(world.end(), (2, None));
    let mail = one(&sink);
    assert_eq!((mail.from.as_str(), mail.encrypted, mail.login.clone()), ("qu@example.com", false, None));
    assert_eq!(mail.to, ["ops@example.com", "night@example.com"]);
    assert!(!mail.hello.is_empty());
    for (name, value) in [
        ("subject", "[quptime] web RECOVERED - https://www.example.com/"),
        ("message-id", "<2.0.cluster@quptime>"),
        ("in-reply-to", "<1.0.cluster@quptime>"),
        ("references", "<1.0.cluster@quptime>"),
        ("auto-submitted", "auto-generated"),
        ("x-team", "platform"),
        ("date", "Tue, 12 May 2026 15:01:32 +0000"),
        ("from", "qu@example.com"),
    ] {
        assert_eq!(mail.header(name).as_deref(), Some(value), "{}", mail.data);
    }
    assert!(mail.header("to").unwrap().contains("night@example.com"));
    assert!(mail.body().starts_with("web RECOVERED\n"), "{}", mail.body());

    assert_eq!(world.offer(&alert, 2, Kind::Recovered), Offer::Known, "its commit is still on the way");
    assert_eq!(world.end(), (2, None), "and the outcome is told again");
    assert_eq!(sink.mails().len(), 1);
    let status = world.status(&alert);
    assert!(status.last_success.is_some() && status.queued == 0 && status.last_error.is_none(), "{status:?}");
}

#[test]
fn starttls_and_implicit_tls_protect_the_login_by_either_mechanism() {
    let authority = TestAuthority::new().unwrap();
    for tls in [MailTls::StartTls, MailTls::Implicit] {
        for mechanism in ["PLAIN", "LOGIN"] {
            let (world, sink) = (World::new(), tls_sink(&authority, tls, Some(mechanism)));
            let channel = protected(&sink, tls, Some(authority.ca_pem()), Some("p\u{e4}ss word"));
            world.offer(&alert(1, channel), 1, Kind::Down);
            assert_eq!(world.end(), (1, None));
            let mail = one(&sink);
            assert!(mail.encrypted);
            assert_eq!(mail.login, Some(("qu".to_owned(), mechanism.to_owned())));
        }
    }
}

#[test]
fn a_certificate_from_another_authority_is_refused_and_named() {
    let (ours, theirs) = (TestAuthority::new().unwrap(), TestAuthority::new().unwrap());
    for tls in [MailTls::StartTls, MailTls::Implicit] {
        for pem in [Some(theirs.ca_pem()), None] {
            let (world, sink) = (World::new(), tls_sink(&ours, tls, None));
            let why = world.test(&alert(1, protected(&sink, tls, pem, None)), Kind::TestDown).unwrap_err();
            assert!(why.contains("UnknownIssuer") && why.contains("--ca-file"), "{why}");
            assert!(sink.mails().is_empty());
        }
    }
    let sink = SmtpSink::start(SmtpOptions {
        tls: Some((MailTls::StartTls, ours.server(&["relay.example.com"]).unwrap())),
        ..SmtpOptions::default()
    })
    .unwrap();
    let channel = protected(&sink, MailTls::StartTls, Some(ours.ca_pem()), None);
    let why = World::new().test(&alert(1, channel), Kind::TestDown).unwrap_err();
    assert!(why.contains("certificate"), "a certificate for another name: {why}");
}

#[test]
fn a_relay_without_starttls_gets_neither_password_nor_message() {
    let sink = SmtpSink::start(SmtpOptions {
        login: Some(("PLAIN", "qu".to_owned(), "secret-word".to_owned())),
        ..SmtpOptions::default()
    })
    .unwrap();
    let channel = protected(&sink, MailTls::StartTls, None, Some("secret-word"));
    let why = World::new().test(&alert(1, channel), Kind::TestDown).unwrap_err();
    assert!(why.contains("STARTTLS") && !why.contains("secret-word"), "{why}");
    assert!(sink.mails().is_empty());
}

#[test]
fn a_wrong_password_is_final_and_is_not_told() {
    let sink = SmtpSink::start(SmtpOptions {
        login: Some(("PLAIN LOGIN", "qu".to_owned(), "right".to_owned())),
        ..SmtpOptions::default()
    })
    .unwrap();
    let world = World::new();
    world.offer(&alert(1, protected(&sink, MailTls::Plain, None, Some("wrong-word"))), 1, Kind::Down);
    let (index, why) = world.end();
    let why = why.unwrap();
    assert_eq!(index, 1);
    assert!(why.starts_with("log in: 535 5.7.8 wrong user name") && !why.contains("wrong-word"), "{why}");
}

#[test]
fn what_is_refused_for_now_or_vanishes_is_sent_again_with_the_same_message_id() {
    let (world, sink) = (World::new(), SmtpSink::start(SmtpOptions::default()).unwrap());
    sink.script(&[SmtpMood::Refuse(451), SmtpMood::Greet(421), SmtpMood::Vanish]);
    let alert = mail_alert(1, &sink);
    world.offer(&alert, 1, Kind::Down);
    assert_eq!(world.end(), (1, None));
    let mails = sink.wait(3, LIMIT);
    assert_eq!(mails.iter().map(|m| m.answer).collect::<Vec<_>>(), [451, 0, 250]);
    assert!(mails.iter().all(|m| m.data == mails[0].data), "the same message to the last byte");
    assert_eq!(mails[0].header("message-id").unwrap(), "<1.0.cluster@quptime>");
    assert!(world.status(&alert).last_error.is_some());
}

#[test]
fn what_is_refused_for_good_is_given_up_and_the_next_message_goes_through() {
    let (world, sink) = (World::new(), SmtpSink::start(SmtpOptions::default()).unwrap());
    sink.script(&[SmtpMood::Refuse(550)]);
    let alert = mail_alert(1, &sink);
    world.offer(&alert, 1, Kind::Down);
    world.offer(&alert, 2, Kind::Recovered);
    assert_eq!(world.end(), (1, Some("message: 550 not this one".to_owned())));
    assert_eq!(world.end(), (2, None));
    sink.script(&[SmtpMood::Greet(554)]);
    world.offer(&alert, 3, Kind::Down);
    let (index, why) = world.end();
    assert_eq!(index, 3);
    assert!(why.unwrap().contains("554"), "a relay that refuses to talk for good");
}

#[test]
fn one_refused_recipient_costs_the_others_nothing_and_nobody_gets_it_twice() {
    let (world, sink) = (World::new(), SmtpSink::start(SmtpOptions::default()).unwrap());
    let all = ["a@example.com", "gone@example.com", "busy@example.com"];
    sink.refuse("gone@example.com", &[550]);
    sink.refuse("busy@example.com", &[451]);
    let alert = alert(1, mail_to(&sink, &all));
    world.offer(&alert, 1, Kind::Down);
    assert_eq!(world.end(), (1, None));
    let mails = sink.wait(2, LIMIT);
    assert_eq!(
        mails.iter().map(|m| m.to.clone()).collect::<Vec<_>>(),
        [["a@example.com"], ["busy@example.com"]]
    );
    assert_eq!(mails[0].header("message-id"), mails[1].header("message-id"));
    assert!(world.status(&alert).last_error.unwrap().1.contains("gone@example.com: 550"));

    for (codes, ends) in [([550, 550, 550], true), ([451, 550, 451], false)] {
        for (to, code) in all.iter().zip(codes) {
            sink.refuse(to, &[code]);
        }
        let index = u64::from(codes[0]);
        world.offer(&alert, index, Kind::Down);
        assert_eq!(world.end().1.is_some(), ends, "nobody accepted: {codes:?}");
    }
}

#[test]
fn emoji_and_umlauts_in_names_arrive_as_they_are() {
    let (world, sink) = (World::new(), SmtpSink::start(SmtpOptions::default()).unwrap());
    let mut told = facts(1, Kind::Down);
    "\u{1f525} K\u{fc}che \u{2014} ".repeat(6).trim().clone_into(&mut told.check_name);
    let name = told.check_name.clone();
    world.offer_facts(&mail_alert(1, &sink), 1, told);
    assert_eq!(world.end(), (1, None));
    let mail = one(&sink);
    assert!(mail.data.is_ascii());
    let subject = decoded(&mail.header("subject").unwrap());
    assert_eq!(subject, format!("[quptime] {name} DOWN - https://www.example.com/"));
    assert!(mail.data.lines().all(|l| l.len() <= 998));
}

#[test]
fn nothing_foreign_adds_a_header_a_recipient_or_a_message() {
    let (world, sink) = (World::new(), SmtpSink::start(SmtpOptions::default()).unwrap());
    let nasty = "x\r\nBcc: all@example.com\r\n.\r\nMAIL FROM:<evil@example.com>\r\nRCPT TO:<all@example.com>\r\nDATA\r\n\r\n.\r\n";
    let mut told = facts(1, Kind::Down);
    for field in [&mut told.check_name, &mut told.target, &mut told.detail, &mut told.id, &mut told.master] {
        nasty.clone_into(field);
    }
    told.in_reply_to = Some(nasty.to_owned());
    told.reports[0].detail = nasty.to_owned();
    let templated = Alert {
        subject_template: Some("{{ name }}\nBcc: all@example.com\n\n{{ detail }}".to_owned()),
        body_template: Some("{{ detail }}\n.\n{{ name }}\n..\n.".to_owned()),
        ..(*mail_alert(2, &sink)).clone()
    };
    for (index, alert) in [(1, mail_alert(1, &sink)), (2, Arc::new(templated))] {
        world.offer_facts(&alert, index, told.clone());
        assert_eq!(world.end(), (index, None));
    }
    let mails = sink.wait(2, LIMIT);
    assert_eq!(mails.len(), 2);
    for mail in &mails {
        assert_eq!(
            (mail.from.as_str(), mail.to.as_slice()),
            ("qu@example.com", ["ops@example.com".to_owned()].as_slice())
        );
        let head = mail.data.split("\n\n").next().unwrap();
        assert!(!head.lines().any(|l| l.to_ascii_lowercase().starts_with("bcc")), "{head}");
        assert_eq!(mail.header("bcc"), None);
    }
    let body = mails[1].body();
    assert!(body.contains("\n.\n") && body.trim_end().ends_with("\n..\n."), "{body:?}");
}

#[test]
fn a_failing_template_is_replaced_and_the_message_sent() {
    let (world, sink) = (World::new(), SmtpSink::start(SmtpOptions::default()).unwrap());
    let broken = Alert { subject_template: Some("{{ nmae }}".to_owned()), ..(*mail_alert(1, &sink)).clone() };
    world.offer(&Arc::new(broken), 1, Kind::Down);
    assert_eq!(world.end(), (1, None));
    assert_eq!(one(&sink).header("subject").unwrap(), "[quptime] web DOWN - https://www.example.com/");
}

#[test]
fn a_test_goes_the_same_way_is_marked_and_tells_its_outcome() {
    let (world, sink) = (World::new(), SmtpSink::start(SmtpOptions::default()).unwrap());
    let alert = mail_alert(1, &sink);
    assert_eq!(world.test(&alert, Kind::TestDown), Ok(None));
    assert!(one(&sink).header("subject").unwrap().starts_with("[quptime] [TEST] web DOWN"));
    sink.script(&[SmtpMood::Refuse(451)]);
    assert_eq!(world.test(&alert, Kind::TestDown), Err("message: 451 not this one".to_owned()));
    assert_eq!(sink.mails().len(), 2, "one attempt and no more");
    assert!(world.ends.try_recv().is_err(), "nothing is owed");
}

#[test]
fn nobody_there_is_told_with_the_address() {
    let port = {
        let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        gone.local_addr().unwrap().port()
    };
    let mut channel = mail_to(&SmtpSink::start(SmtpOptions::default()).unwrap(), &["ops@example.com"]);
    if let Channel::Smtp { port: to, host, .. } = &mut channel {
        *to = port;
        *host = "127.0.0.1".parse::<Host>().unwrap();
    }
    let why = World::new().test(&alert(1, channel), Kind::TestDown).unwrap_err();
    assert!(why.starts_with(&format!("connect to 127.0.0.1:{port}: ")) && why.contains("refused"), "{why}");
}

#[test]
fn a_relay_on_ipv6_is_reached_and_a_sink_listens_on_loopback_only() {
    let bind =
        |addr: &str| SmtpSink::start(SmtpOptions { bind: addr.parse().unwrap(), ..SmtpOptions::default() });
    let sink = bind("[::1]:0").unwrap();
    assert_eq!(World::new().test(&mail_alert(1, &sink), Kind::TestDown), Ok(None));
    assert_eq!(sink.mails().len(), 1);
    let why = bind("0.0.0.0:0").err().unwrap().to_string();
    assert!(why.contains("loopback"), "{why}");
}

use super::*;

fn said(text: &str) -> Result<Line, Failure> {
    line(text.split('|').map(OsString::from))
}

fn run(text: &str) -> Said {
    match said(text) {
        Ok(Line::Run(_, said)) => said,
        Ok(_) => panic!("{text} runs nothing"),
        Err(why) => panic!("{text}: {why:?}"),
    }
}

fn wrong(text: &str) -> String {
    match said(text) {
        Err(Failure::Usage(why)) => why,
        Err(other) => panic!("{text}: {other:?}"),
        Ok(_) => panic!("{text} is right"),
    }
}

#[test]
fn flags_and_arguments_come_in_any_order() {
    for text in [
        "check|add|http|web|https://a/|--interval|5s|--json",
        "check|add|http|--interval=5s|web|--json|https://a/",
        "check|add|http|--json|--interval|5s|--|web|https://a/",
    ] {
        let said = run(text);
        assert_eq!((said.arg("name"), said.arg("url")), ("web", "https://a/"), "{text}");
        assert_eq!(said.parse::<crate::base::units::Span>("interval").unwrap().unwrap().millis(), 5000);
        assert!(said.has("json") && !said.has("timeout"));
    }
}

#[test]
fn a_name_with_a_dash_in_front_comes_after_two_dashes() {
    assert_eq!(run("check|remove|--|-web").arg("check"), "-web");
}

#[test]
fn switches_are_on_off_or_not_said() {
    let at = |flags: &str| run(&format!("alert|add|smtp|ops{flags}")).switch("starttls");
    assert_eq!((at(""), at("|--starttls"), at("|--starttls=false")), (None, Some(true), Some(false)));
    assert_eq!(
        wrong("alert|add|smtp|ops|--starttls=maybe"),
        "--starttls: \"maybe\" is neither true nor false"
    );
}

#[test]
fn lists_are_split_at_commas_and_may_be_empty() {
    let said = run("check|edit|web|--alerts|ops, chat,");
    assert_eq!(said.list("alerts"), Some(vec!["ops".into(), "chat".into()]));
    assert_eq!(run("check|edit|web|--alerts|").list("alerts"), Some(vec![]));
    let said = run("alert|edit|ops|--to|a@b|--to|c@d");
    assert_eq!(said.many("to").collect::<Vec<_>>(), ["a@b", "c@d"]);
}

#[test]
fn help_is_heard_at_every_level_before_anything_is_judged() {
    for (text, words) in [
        ("--help", 0),
        ("-h", 0),
        ("check|--help", 1),
        ("check|add|--help", 2),
        ("check|add|http|--help", 3),
        ("check|add|http|web|-h", 3),
    ] {
        assert!(matches!(said(text), Ok(Line::Help(path)) if path.len() == words), "{text}");
    }
    assert!(matches!(said("--version"), Ok(Line::Version)));
    assert!(matches!(said("-V"), Ok(Line::Version)));
}

#[test]
fn what_is_mistyped_is_answered_with_what_is_near() {
    for (text, near) in [
        ("chekc|list", "did you mean \"check\"?"),
        ("stauts", "did you mean \"status\"?"),
        ("check|add|htpt|a|b", "did you mean \"http\"?"),
        ("check|add|http|a|b|--intervall|5s", "did you mean --interval?"),
    ] {
        assert!(wrong(text).ends_with(near), "{}", wrong(text));
    }
    assert!(!wrong("check|add|ftp").contains("did you mean"));
}

#[test]
fn a_distance_counts_swapped_letters_once() {
    for (a, b, want) in [("", "abc", 3), ("abc", "abc", 0), ("chekc", "check", 1), ("tcp", "ftp", 2)] {
        assert_eq!((distance(a, b), distance(b, a)), (want, want), "{a} {b}");
    }
}

#[test]
fn what_is_not_utf8_is_refused() {
    use std::os::unix::ffi::OsStringExt;
    let word = OsString::from_vec(vec![b'a', 0xff]);
    let got = line(["check".into(), "remove".into(), word]);
    assert!(matches!(got, Err(Failure::Usage(why)) if why.contains("is not UTF-8")));
}

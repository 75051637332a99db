use super::*;
use crate::alerts::{Change, NodeReport};
use crate::verdict::Verdict;

fn plain(facts: &Facts) -> Mail {
    mail(facts, Wording::default())
}

#[test]
fn the_built_in_mail_says_what_the_specification_lists() {
    let down = plain(&Facts::sample(Kind::Down));
    assert_eq!(down.subject, "[quptime] web DOWN - https://www.example.com/");
    assert_eq!(
        down.body,
        "web DOWN\n\n\
         check:      web (http)\n\
         target:     https://www.example.com/\n\
         state:      down\n\
         previous:   up\n\
         time:       2026-05-12T15:01:32Z\n\
         detail:     connect: connection refused\n\
         reports:    0 of 3 ok\n\
         master:     alpha.example.com:9901\n\
         alert:      ops\n\
         incident:   1.0\n\
         \nreports by node:\n\
         \x20 alpha.example.com:9901  fail  connect: connection refused\n\
         \x20 beta.example.com:9901   fail  connect: connection refused\n"
    );
    let up = plain(&Facts::sample(Kind::Recovered));
    assert_eq!(up.subject, "[quptime] web RECOVERED - https://www.example.com/");
    assert!(up.body.contains("down for:   5m30s\n") && up.body.contains("  ok\n"), "{}", up.body);
}

#[test]
fn reminders_and_summaries_say_what_they_are() {
    assert_eq!(
        subject_line(&Facts::sample(Kind::Reminder)),
        "[quptime] web still DOWN (5m30s) - https://www.example.com/"
    );
    let summary = plain(&Facts::sample(Kind::Summary));
    assert_eq!(summary.subject, "[quptime] web DOWN after 3 changes - https://www.example.com/");
    assert!(
        summary.body.contains("changes:\n  2026-05-12T14:43:20Z  up to down  connect: connection refused\n"),
        "{}",
        summary.body
    );
}

#[test]
fn a_test_says_so_with_and_without_templates() {
    for kind in [Kind::TestDown, Kind::TestRecovered] {
        let facts = Facts::sample(kind);
        let own = Wording { subject: Some("{{ name }} is {{ state }}"), body: Some("see {{ target }}") };
        for text in [plain(&facts), mail(&facts, own)] {
            assert!(text.subject.contains("[TEST] "), "{}", text.subject);
            assert!(text.body.starts_with(TEST_WORDS), "{}", text.body);
        }
        for text in [chat(&facts, Wording::default()), chat(&facts, own)] {
            assert!(text.content.contains("\\[TEST\\]") && text.content.contains(TEST_WORDS));
        }
    }
    assert!(!plain(&Facts::sample(Kind::Down)).subject.contains("TEST"));
}

#[test]
fn nothing_foreign_makes_a_second_line_in_a_subject() {
    let nasty = "x\r\nBcc: everybody@example.com\r\n\r\nbody\u{2028}\u{85}\0";
    let mut facts = Facts::sample(Kind::Down);
    nasty.clone_into(&mut facts.check_name);
    nasty.clone_into(&mut facts.target);
    nasty.clone_into(&mut facts.detail);
    let own = Wording { subject: Some("{{ detail }}\n{{ name }}"), body: Some("{{ detail }}") };
    for text in [plain(&facts), mail(&facts, own)] {
        assert!(!text.subject.chars().any(|c| c.is_control() || c == '\u{2028}'), "{:?}", text.subject);
        assert!(text.subject.chars().count() <= SUBJECT_LIMIT);
        assert!(!text.body.contains('\r') && !text.body.contains('\0'));
    }
    // In the built-in body a foreign line break cannot start a line either.
    assert!(!plain(&facts).body.lines().any(|l| l.starts_with("Bcc")));
}

#[test]
fn a_template_makes_the_text_and_a_failing_one_is_passed_over() {
    let facts = Facts::sample(Kind::Down);
    let good =
        mail(&facts, Wording { subject: Some("{{ name|upper }}"), body: Some("{{ body }}Runbook: 7") });
    assert_eq!(good.subject, "WEB");
    assert!(good.body.starts_with("web DOWN\n") && good.body.ends_with("Runbook: 7\n"));
    assert_eq!(good.trouble, None);

    let bad = mail(&facts, Wording { subject: Some("{{ nmae }}"), body: Some("kept") });
    assert_eq!(bad.subject, subject_line(&facts));
    assert_eq!(bad.body, "kept\n");
    assert_eq!(bad.trouble.unwrap().line, 1);
    let empty = mail(&facts, Wording { subject: Some("  "), body: None });
    assert_eq!(empty.subject, subject_line(&facts));
}

#[test]
fn chat_shows_foreign_text_without_markup_or_mentions() {
    let mut facts = Facts::sample(Kind::Down);
    "**@everyone** <@123> `x".clone_into(&mut facts.check_name);
    "status 500: @here [free](http://evil.example) ```".clone_into(&mut facts.detail);
    for wording in [
        Wording::default(),
        Wording { subject: Some("{{ name }}"), body: Some("{{ detail }} **bold** @everyone") },
    ] {
        let content = chat(&facts, wording).content;
        for bad in ["@everyone", "@here", "<@", "```"] {
            assert!(!content.contains(bad), "{bad} in {content}");
        }
    }
    // In the built-in text it stands in a code span, where nothing is markup.
    let built_in = chat(&facts, Wording::default()).content;
    assert!(built_in.contains("`status 500: @\u{200b}here [free](http://evil.example) '''`"), "{built_in}");
    let own = chat(&facts, Wording { subject: None, body: Some("{{ detail }} **bold**") }).content;
    assert!(own.contains(r"\[free\]\(http") && !own.contains("](http"), "{own}");
    assert!(own.ends_with("**bold**"), "the operator's own markup stays: {own}");
}

#[test]
fn chat_never_exceeds_the_limit_by_any_count() {
    let mut facts = Facts::sample(Kind::Summary);
    facts.target = format!("https://example.com/{}", "\u{1f525}_".repeat(900));
    facts.detail = "*\u{1f4a5}".repeat(2000);
    facts.reports =
        (0..60).map(|n| NodeReport { node: format!("n{n}"), ok: false, detail: "`".repeat(400) }).collect();
    facts.folded = (0..200)
        .map(|n| Change { at: facts.at, from: Verdict::Up, to: Verdict::Down, detail: format!("{n}\\") })
        .collect();
    let built_in = chat(&facts, Wording::default()).content;
    let own = chat(&facts, Wording { subject: Some("{{ detail }}"), body: Some("{{ detail }}{{ target }}") });
    for content in [built_in, own.content] {
        assert!(content.encode_utf16().count() <= CHAT_LIMIT, "{}", content.encode_utf16().count());
        assert!(content.ends_with("..."));
    }
}

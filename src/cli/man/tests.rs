use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use super::*;

fn named(words: &[&str]) -> Option<&'static str> {
    find(words).map(|p| p.name)
}

#[test]
fn every_page_of_the_manual_is_inside() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("man");
    let mut files: Vec<String> =
        fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    let mut inside: Vec<String> = PAGES.iter().map(|p| format!("{}.{}", p.name, p.section)).collect();
    files.sort();
    inside.sort();
    assert_eq!(inside, files);
}

#[test]
fn a_page_is_found_by_what_people_type() {
    assert_eq!(named(&[]), Some("qu"));
    assert_eq!(named(&["check"]), Some("qu-check"));
    assert_eq!(named(&["qu", "check", "add", "http"]), Some("qu-check"));
    assert_eq!(named(&["qu-check"]), Some("qu-check"));
    assert_eq!(named(&["qu-check(1)"]), Some("qu-check"));
    assert_eq!(named(&["quptime"]), Some("quptime"));
    assert_eq!(named(&["7", "quptime-security"]), Some("quptime-security"));
    assert_eq!(named(&["security"]), Some("quptime-security"));
    assert_eq!(named(&["quptime.yaml"]), Some("quptime.yaml"));
    assert_eq!(named(&["cluster.yaml"]), Some("quptime.yaml"));
    assert_eq!(named(&["help"]), Some("qu"));
    assert_eq!(named(&["1", "quptime"]), None);
    assert_eq!(named(&["bananas"]), None);
}

#[test]
fn every_macro_of_the_manual_is_known() {
    for page in PAGES {
        let source = page.source.replace("\\\n", " ");
        for line in source.lines().filter_map(|l| l.strip_prefix('.')).filter(|l| !l.starts_with("\\\"")) {
            let name = line.split(' ').next().unwrap_or_default();
            assert!(mdoc::KNOWN.contains(&name), "{}: .{line}", page.name);
        }
    }
}

#[test]
fn every_line_fits_and_no_macro_is_left_over() {
    for page in PAGES {
        let text = layout::render(page.source);
        let literal = literal(page.source);
        for line in text.lines() {
            let verbatim = literal.iter().any(|l| l == line.trim());
            assert!(verbatim || line.chars().count() <= 80, "{}: {line:?}", page.name);
            let first = line.trim_start();
            let dotted =
                first.strip_prefix('.').is_some_and(|r| r.starts_with(|c: char| c.is_ascii_uppercase()));
            assert!(!dotted, "{}: {line:?}", page.name);
            for name in ["Fl", "Ar", "Cm", "Pa", "Xr", "Ev", "Ns", "Op", "Ta"] {
                let left = line.split(' ').any(|word| word == name);
                assert!(!left, "{}: {name} in {line:?}", page.name);
            }
        }
    }
}

/// Lines of displays, which are set as they are.
fn literal(source: &str) -> Vec<String> {
    let mut inside = false;
    let mut found = Vec::new();
    for line in source.lines() {
        match line {
            _ if line.starts_with(".Bd -literal") => inside = true,
            _ if line.starts_with(".Ed") => inside = false,
            _ if inside => found.push(mdoc::unescape(line).trim().to_owned()),
            _ => {}
        }
    }
    found
}

#[test]
fn every_paragraph_of_the_source_is_in_the_text() {
    for page in PAGES {
        let text = layout::render(page.source).split_whitespace().collect::<Vec<_>>().join(" ");
        let source = page.source.replace("\\\n", " ");
        for line in source.lines().filter(|l| !l.starts_with('.')) {
            let words = mdoc::unescape(line).split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(text.contains(&words), "{}: {line:?} is missing", page.name);
        }
        for line in page.source.lines().filter(|l| l.starts_with(".Sh ") || l.starts_with(".Ss ")) {
            assert!(
                text.contains(&mdoc::unescape(&line[4..]).replace('"', "")),
                "{}: {line:?} is missing",
                page.name
            );
        }
    }
}

/// Letters and digits alone: how blanks, quotes and dashes are set is a matter of taste.
fn letters(text: &str) -> String {
    text.chars().filter(char::is_ascii_alphanumeric).collect()
}

/// What mandoc makes of it, without the heads and feet of pages, and without overstriking.
fn by_mandoc(page: &Page) -> Option<String> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("man/{}.{}", page.name, page.section));
    let run = Command::new("mandoc").args(["-T", "ascii"]).arg(file).stderr(Stdio::null()).output().ok()?;
    let mut plain = String::new();
    for c in String::from_utf8(run.stdout).ok()?.chars() {
        if c == '\u{8}' {
            plain.pop();
        } else {
            plain.push(c);
        }
    }
    Some(plain)
}

#[test]
fn mandoc_says_the_same_in_the_same_order() {
    for page in PAGES {
        let Some(theirs) = by_mandoc(page) else { return eprintln!("skipped: mandoc cannot be run") };
        let body = |text: &str| {
            let lines: Vec<&str> = text.trim().lines().collect();
            lines[1..lines.len() - 1].join("\n")
        };
        let (ours, theirs) = (letters(&body(&layout::render(page.source))), letters(&body(&theirs)));
        let same = ours.bytes().zip(theirs.bytes()).take_while(|(a, b)| a == b).count();
        let around = |text: &str| {
            text.get(same.saturating_sub(40)..(same + 40).min(text.len())).unwrap_or("").to_owned()
        };
        assert!(ours == theirs, "{}:\nours:   {}\nmandoc: {}", page.name, around(&ours), around(&theirs));
    }
}

#[test]
fn lists_tables_and_displays_are_set_as_people_read_them() {
    let source = ".Dd November 21, 2026\n.Dt T 1\n.Os\n.Sh NAME\n.Nm t\n.Nd does things\n.Sh SYNOPSIS\n.Nm t\n.Op Fl -json\n\
                  .Ar name\n.Sh WHAT\nOne\n.Em two , three\n.Pq see Xr t 1 .\n.Bl -tag -width Ds\n.It Fl a , -all Ar x\nAll.\n\
                  .It b\nShort.\n.El\n.Bl -bullet -compact\n.It\nfirst\n.It\nsecond\n.El\n.Bl -column aaaa bb\n.It a Ta b Ta c d\n\
                  .El\n.Bd -literal -offset indent\nqu  status\n\\&.x\n.Ed\nEnd.\n";
    let text = layout::render(source);
    let body: Vec<&str> = text.lines().skip(1).collect();
    let want = "\nNAME\n     t - does things\n\nSYNOPSIS\n     t [--json] name\n\nWHAT\n     One two, three (see t(1)).\n\n     \
                -a, --all x\n           All.\n\n     b     Short.\n     o first\n     o second\n\n     a     b   c d\n\n         \
                qu  status\n         .x\n     End.\n";
    let got = body[..body.len() - 2].join("\n");
    assert_eq!(got.trim_end(), want.trim_end(), "{text}");
}

use std::collections::BTreeSet;

use super::super::parse::{self, Line};
use super::*;

#[test]
fn every_command_has_its_words_once_and_its_groups() {
    let mut seen = BTreeSet::new();
    for command in COMMANDS {
        assert!(seen.insert(command.path), "{:?} is there twice", command.path);
        assert!(group(command.path).is_none(), "{:?} is a group too", command.path);
        for length in 1..command.path.len() {
            let above = &command.path[..length];
            assert!(group(above).is_some() || super::command(above).is_some(), "{above:?} leads nowhere");
        }
    }
    for group in GROUPS {
        assert!(!next_words(group.path).is_empty(), "{:?} has no commands", group.path);
    }
}

#[test]
fn flags_are_named_once_in_a_command_and_alike_in_all() {
    for command in COMMANDS {
        let names: BTreeSet<_> = command.flags.iter().map(|f| f.name).collect();
        assert_eq!(names.len(), command.flags.len(), "{:?}", command.path);
        for flag in command.flags {
            assert!(flag.name.chars().all(|c| c.is_ascii_lowercase() || c == '-'), "{}", flag.name);
            assert!(flag.name != "help" && flag.letter != Some('h'), "{}", flag.name);
        }
    }
}

#[test]
fn only_the_last_argument_may_be_many() {
    for command in COMMANDS {
        let but_last = command.args.len().saturating_sub(1);
        assert!(command.args.iter().take(but_last).all(|a| !a.many), "{:?}", command.path);
    }
}

#[test]
fn docs_are_one_line_without_a_full_stop() {
    let flags = COMMANDS.iter().flat_map(|c| c.flags).map(|f| f.doc);
    let groups = GROUPS.iter().map(|g| g.short);
    for doc in COMMANDS.iter().map(|c| c.short).chain(flags).chain(groups) {
        assert!(!doc.is_empty() && !doc.ends_with('.') && !doc.contains('\n'), "{doc:?}");
        assert!(
            doc.chars().next().is_some_and(|c| c.is_uppercase() || doc.starts_with("http only")),
            "{doc:?}"
        );
    }
}

#[test]
fn every_example_is_a_line_of_its_command() {
    for command in COMMANDS {
        assert!(!command.examples.is_empty(), "{:?} has no example", command.path);
        for example in command.examples {
            let line = example.split(" > ").next().unwrap();
            // Blanks in quotes do not part words.
            let parts = line.split('\'').enumerate().map(|(n, part)| match n % 2 {
                0 => part.replace(' ', "\n"),
                _ => part.to_owned(),
            });
            let line: String = parts.collect();
            let words = line.lines().filter(|w| !w.is_empty()).skip(1).map(std::ffi::OsString::from);
            match parse::line(words) {
                Ok(Line::Run(found, _)) => assert_eq!(found.path, command.path, "{example}"),
                Ok(_) => panic!("{example} is no command"),
                Err(why) => panic!("{example}: {why:?}"),
            }
        }
    }
}

//! Command lines in texts: taken apart as a shell does, and tried without doing anything.

use std::process::{Command, Output, Stdio};
use std::time::Duration;

/// Splits a line as a shell does, as far as the manual's lines go: blanks, single and double
/// quotes; ends at what is the shell's own.
pub fn shell_words(line: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let (mut quote, mut open) = (None, false);
    for c in line.chars() {
        match (quote, c) {
            (Some(q), _) if c == q => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                if !open {
                    words.push(String::new());
                    open = true;
                }
            }
            (None, ' ' | '\t') => open = false,
            (None, '>' | '|' | '&' | ';' | '#') if !open => break,
            _ => {
                if !open {
                    words.push(String::new());
                    open = true;
                }
                words.last_mut().unwrap().push(c);
            }
        }
    }
    words
}

/// The arguments of `qu` in a line, if it is one of `qu`'s.
pub fn arguments(line: &str) -> Option<Vec<String>> {
    let words = shell_words(line.trim().trim_start_matches("$ "));
    let plain = words.iter().map(String::as_str).collect::<Vec<_>>();
    let rest = match plain.as_slice() {
        ["sudo", "-u", _, "qu", rest @ ..] | ["sudo", "qu", rest @ ..] | ["qu", rest @ ..] => rest,
        ["cargo", "run", "--release", "--", rest @ ..] => rest,
        _ => return None,
    };
    Some(rest.iter().map(|w| (*w).to_owned()).collect())
}

/// Runs the program for at most ten seconds: a line that is not understood as meant might begin
/// something.
pub fn dry_run(arguments: &[String]) -> Output {
    let nowhere = std::env::temp_dir().join(format!("qu-docs-{}", std::process::id()));
    let mut child = Command::new(env!("CARGO_BIN_EXE_qu"))
        .args(arguments)
        .arg("--help")
        .env("QUPTIME_SOCKET", nowhere.join("sock"))
        .env("QUPTIME_DIR", &nowhere)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    for _ in 0..1000 {
        if child.try_wait().unwrap().is_some() {
            return child.wait_with_output().unwrap();
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    child.kill().unwrap();
    panic!("qu {arguments:?} --help does not end");
}

/// A line is right when the program reads all of it up to a `--help` at its end, and has as many
/// words as the command needs.
pub fn check_line(place: &str, arguments: &[String]) {
    let run = dry_run(arguments);
    let said = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{place}: qu {arguments:?}: {said}");
    let help = String::from_utf8_lossy(&run.stdout).into_owned();
    let usage = help.lines().find(|l| l.starts_with("usage: ")).unwrap_or_default();
    assert!(usage.starts_with("usage: qu"), "{place}: qu {arguments:?}: {help}");
    assert!(
        !usage.contains("<command>") || arguments.is_empty(),
        "{place}: qu {arguments:?} is only a group"
    );
}

#[test]
fn lines_are_read_as_a_shell_reads_them() {
    assert_eq!(shell_words("qu a 'b c' > d"), ["qu", "a", "b c"]);
    assert_eq!(shell_words("qu a \"\" || b"), ["qu", "a", ""]);
    assert_eq!(arguments("sudo -u quptime qu init"), Some(vec!["init".to_owned()]));
    assert_eq!(arguments("cargo test"), None);
}

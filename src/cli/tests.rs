use std::io::Cursor;

use super::*;

/// A run with no environment but a socket that is not there.
pub(super) fn run_with(args: &[&str], input: &str, terminal: bool) -> (u8, String, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let env = |name: &str| (name == "QUPTIME_SOCKET").then(|| OsString::from("/nonexistent/quptime.sock"));
    let mut input = Cursor::new(input.to_owned());
    let mut session = Session { out: &mut out, err: &mut err, input: &mut input, terminal, env: &env };
    let status = run(args.iter().map(OsString::from), &mut session);
    (status, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
}

#[test]
fn the_overview_goes_to_standard_output_when_asked_for_and_to_standard_error_when_not() {
    let asked = run_with(&["--help"], "", false);
    let not = run_with(&[], "", false);
    assert_eq!((asked.0, not.0), (0, 2));
    assert_eq!(asked.1, not.2);
    assert!(asked.1.contains("check add http"));
}

#[test]
fn a_question_is_asked_at_a_terminal_only_and_anything_but_yes_is_no() {
    for (input, want) in [("y\n", true), ("YES\n", true), ("n\n", false), ("\n", false), ("", false)] {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut input = Cursor::new(input);
        let env = |_: &str| None;
        let mut session =
            Session { out: &mut out, err: &mut err, input: &mut input, terminal: true, env: &env };
        assert_eq!(ask::person(&mut session, "trust this peer?", "x"), Ok(want));
        session.terminal = false;
        assert!(ask::person(&mut session, "trust this peer?", "use --yes").is_err());
        assert_eq!(String::from_utf8(err).unwrap(), "trust this peer? [y/N] ");
    }
}

#[test]
fn a_reader_that_has_gone_is_no_error() {
    struct Gone;
    impl Write for Gone {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut err = Vec::new();
    let env = |_: &str| None;
    let mut input = Cursor::new("");
    let mut session =
        Session { out: &mut Gone, err: &mut err, input: &mut input, terminal: false, env: &env };
    assert_eq!(run(["--help".into()], &mut session), 0);
    assert!(err.is_empty());
}

#[test]
fn a_line_for_the_operator_cannot_steer_his_terminal() {
    let (status, _, err) = run_with(&["check\u{1b}[31m"], "", false);
    assert_eq!(status, 2);
    assert!(!err.contains('\u{1b}') && err.lines().count() == 1, "{err:?}");
}

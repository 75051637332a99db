//! What a person may type wrong, and the exact line that answers.

use super::fixture::{Daemon, answers, picture, qu, qu_fed};

/// Words, exit status, the line on standard error without `qu: `.
type Row<'a> = (&'a [&'a str], i32, &'a str);

const LINES: &[Row<'_>] = &[
    // Commands.
    (&["chekc", "list"], 2, "unknown command \"chekc\"; did you mean \"check\"?"),
    (&["frobnicate"], 2, "unknown command \"frobnicate\"; qu --help lists all"),
    (&["check", "add", "ftp"], 2, "unknown command \"check add ftp\"; qu check add knows http, tcp, icmp"),
    (&["check", "add"], 2, "\"qu check add\" needs one more word: http, tcp, icmp"),
    (&["trust"], 2, "\"qu trust\" needs one more word: list, remove"),
    (&["help", "chekc"], 2, "unknown command \"chekc\"; did you mean \"check\"?"),
    (&["completion", "tcsh"], 2, "\"tcsh\" is none of bash, zsh, fish; usage: qu completion bash|zsh|fish"),
    // Flags.
    (&["status", "--jsno"], 2, "unknown flag --jsno; did you mean --json?"),
    (&["status", "--colour"], 2, "unknown flag --colour; qu status --help lists those of it"),
    (&["status", "-x"], 2, "unknown flag -x; qu status --help lists those of it"),
    (&["--frob"], 2, "unknown flag --frob; qu --help lists the commands"),
    (&["--json", "status"], 2, "--json comes after the command"),
    (&["check", "--frob", "list"], 2, "unknown flag --frob after \"qu check\""),
    (
        &["check", "add", "http", "web", "https://a/", "--port", "1"],
        2,
        "--port does not apply to \"qu check add http\"",
    ),
    (
        &["check", "add", "tcp", "db", "a:1", "--expect", "200"],
        2,
        "--expect does not apply to \"qu check add tcp\"",
    ),
    (&["status", "--json=yes"], 2, "--json takes no value"),
    (&["check", "edit", "web", "--interval"], 2, "--interval needs a value: --interval DURATION"),
    (&["check", "edit", "web", "--interval", "5s", "--interval", "6s"], 2, "--interval is given twice"),
    (&["status", "--state", "dwon"], 2, "--state: \"dwon\" is none of up, down, unknown"),
    (&["status", "--limit", "many"], 2, "--limit: \"many\" is not a number from 1 on"),
    // Arguments.
    (&["check", "add", "http", "web"], 2, "<url> is missing; usage: qu check add http <name> <url> [flags]"),
    (&["check", "remove"], 2, "<check> is missing; usage: qu check remove <check> [flags]"),
    (&["status", "now"], 2, "\"now\" is one argument too many; usage: qu status [flags]"),
    (
        &["alert", "default", "ops", "maybe"],
        2,
        "\"maybe\" is none of on, off; usage: qu alert default <alert> on|off [flags]",
    ),
    // Durations.
    (
        &["check", "add", "http", "web", "https://a/", "--interval", "-5s"],
        2,
        "--interval: duration \"-5s\" must be greater than zero",
    ),
    (
        &["check", "add", "http", "web", "https://a/", "--interval", "0s"],
        2,
        "--interval: duration \"0s\" must be greater than zero",
    ),
    (
        &["check", "add", "http", "web", "https://a/", "--timeout", "soon"],
        2,
        "--timeout: \"soon\" is not a duration (examples: 500ms, 30s, 1m30s, 2h)",
    ),
    (
        &["check", "add", "icmp", "gw", "192.0.2.1", "--interval", "5s", "--timeout", "6s"],
        2,
        "--timeout 6s is longer than --interval 5s",
    ),
    (&["cluster", "set", "dead_after", "0s"], 2, "dead_after: duration \"0s\" must be greater than zero"),
    (
        &["incident", "list", "--since", "7"],
        2,
        "--since: \"7\" is not a duration (examples: 500ms, 30s, 1m30s, 2h)",
    ),
    // Targets.
    (
        &["check", "add", "http", "web", "not a url"],
        2,
        "\"not a url\" is not a URL to watch (want http:// or https://)",
    ),
    (
        &["check", "add", "http", "web", "https://user:pass@a/"],
        2,
        "\"https://user:pass@a/\" is not a URL to watch (no user name or password in it)",
    ),
    (
        &["check", "add", "tcp", "db", "db.example.com"],
        2,
        "\"db.example.com\" has no port (want host:port; an IPv6 address in brackets)",
    ),
    (&["check", "add", "tcp", "db", "a:70000"], 2, "\"a:70000\" has no valid port (want 1 to 65535)"),
    (
        &["check", "add", "tcp", "db", "::1"],
        2,
        "\"::1\" has no port (want host:port; an IPv6 address in brackets)",
    ),
    (&["check", "add", "icmp", "gw", "a b"], 2, "\"a b\" is not a host name or address"),
    (
        &["check", "add", "http", "web", "https://a/", "--expect", "99"],
        2,
        "--expect: \"99\" is not an HTTP status (100 to 599, 0 for any 2xx)",
    ),
    (
        &["check", "add", "http", "web", "https://a/", "--body-match", ""],
        2,
        "--body-match: there is no text in it",
    ),
    (
        &["check", "add", "icmp", "a,b", "192.0.2.1"],
        2,
        "\"a,b\" is not a name (1 to 100 characters, no comma, no control characters, no blank at the ends)",
    ),
    (&["check", "edit", "web"], 2, "nothing to change: give a flag (qu help check edit)"),
    // Alerts.
    (&["alert", "add", "smtp", "ops"], 2, "--host is missing (qu help alert add smtp)"),
    (
        &["alert", "add", "smtp", "ops", "--host", "m", "--from", "a@b", "--to", "c@d,e"],
        2,
        "--to: \"e\" is not a mail address",
    ),
    (
        &[
            "alert",
            "add",
            "smtp",
            "ops",
            "--host",
            "m",
            "--from",
            "a@b",
            "--to",
            "c@d",
            "--tls",
            "--starttls",
        ],
        2,
        "--tls and --starttls exclude each other",
    ),
    (
        &["alert", "add", "smtp", "ops", "--host", "m", "--from", "a@b", "--to", "c@d", "--user", "u"],
        2,
        "--user needs --password-file or --password",
    ),
    (
        &[
            "alert",
            "add",
            "smtp",
            "o",
            "--host",
            "m",
            "--from",
            "a@b",
            "--to",
            "c@d",
            "--header",
            "Subject: x",
        ],
        2,
        "--header: \"Subject: x\" is not a mail header (this field is written by qu itself)",
    ),
    (
        &["alert", "add", "smtp", "ops", "--host", "m", "--port", "0", "--from", "a@b", "--to", "c@d"],
        2,
        "--port: \"0\" is not a port (want 1 to 65535)",
    ),
    (
        &["alert", "add", "discord", "d"],
        2,
        "--webhook-file or --webhook is missing (qu help alert add discord)",
    ),
    (
        &["alert", "add", "discord", "d", "--webhook", "x", "--webhook-file", "y"],
        2,
        "--webhook and --webhook-file exclude each other",
    ),
    (
        &["alert", "add", "discord", "d", "--webhook-file", "/nonexistent/hook"],
        1,
        "--webhook-file: read /nonexistent/hook: No such file or directory (os error 2)",
    ),
    (&["alert", "edit", "ops"], 2, "nothing to change: give a flag (qu help alert edit)"),
    (&["silence", "web"], 2, "--for is missing: how long? (--for 2h)"),
    (&["silence", "list", "web"], 2, "\"web\" is one argument too many; usage: qu silence list [flags]"),
    (&["silence"], 2, "<check|all> is missing; usage: qu silence <check|all> [flags]"),
    // Nodes and cluster.
    (&["node", "add", "beta:0"], 2, "\"beta:0\" has no valid port (want 1 to 65535)"),
    (
        &["node", "add", "beta:9901", "--fingerprint", "SHA1:x"],
        2,
        "--fingerprint: \"SHA1:x\" is not a fingerprint (want SHA256: and 43 characters of base64)",
    ),
    (
        &[
            "node",
            "add",
            "beta:9901",
            "-y",
            "--fingerprint",
            "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        ],
        2,
        "--yes and --fingerprint exclude each other",
    ),
    (&["node", "edit", "a7f3"], 2, "nothing to change: give --address HOST:PORT"),
    (
        &["cluster", "set", "weather", "fine"],
        2,
        "no setting \"weather\"; there are heartbeat, dead_after, master_cooldown, hysteresis",
    ),
    (&["cluster", "set", "hysteresis", "two"], 2, "hysteresis: \"two\" is not a number"),
    // The daemon's own.
    (&["init", "--key-type", "rsa1024"], 2, "--key-type: \"rsa1024\" is none of rsa3072, ecdsa-p256"),
    (
        &["init", "--bind", "here"],
        2,
        "--bind: \"here\" is not an address to listen on (examples: 0.0.0.0, ::)",
    ),
    (
        &["serve", "--log-level", "loud"],
        2,
        "--log-level: \"loud\" is none of error, warn, info, debug, trace",
    ),
    (&["sandbox", "--nodes", "0"], 2, "--nodes: \"0\" is not a number from 1 to 7"),
    (&["--generate", "fun"], 2, "--generate: \"fun\" is none of table"),
    // Nobody there.
    (
        &["status"],
        1,
        "no daemon at /nonexistent/quptime.sock: no such socket; is it running? (systemctl status quptime; QUPTIME_SOCKET names another socket)",
    ),
    (
        &["check", "remove", "web"],
        1,
        "no daemon at /nonexistent/quptime.sock: no such socket; is it running? (systemctl status quptime; QUPTIME_SOCKET names another socket)",
    ),
];

#[test]
fn what_is_typed_wrong_is_answered_with_one_exact_line() {
    let mut wrong = Vec::new();
    for (words, status, line) in LINES {
        let ran = qu(words);
        let want = format!("qu: {line}\n");
        if (ran.status, ran.err.as_str(), ran.out.as_str()) != (*status, &want, "") {
            wrong.push(format!(
                "{words:?}\n  want {status} {want}   got {} {}{}",
                ran.status, ran.err, ran.out
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_refusal_is_status_1_and_a_lack_of_quorum_3_with_the_reason() {
    let refusing = Daemon::answering("refusing", picture::three(), answers::refusing);
    let ran = refusing.qu(&["check", "add", "icmp", "web", "192.0.2.1"]);
    let want = "qu: check \"web\" exists already; choose another name, or qu check edit web\n";
    assert_eq!((ran.status, ran.err.as_str(), ran.out.as_str()), (1, want, ""));
    let alone = Daemon::answering("noquorum", picture::alone(), answers::without_quorum);
    let ran = alone.qu(&["check", "remove", "web"]);
    let want = "qu: no quorum: refusing to change the configuration (1 of 3 peers live, need 2)\n";
    assert_eq!((ran.status, ran.err.as_str(), ran.out.as_str()), (3, want, ""));
}

#[test]
fn a_filter_for_a_check_that_is_not_there_is_refused_by_name() {
    let daemon = Daemon::start("nofilter", picture::three());
    let ran = daemon.qu(&["status", "--check", "nope"]);
    assert_eq!((ran.status, ran.err.as_str()), (1, "qu: no check \"nope\" (see qu check list)\n"));
}

#[test]
fn a_secret_that_is_wrong_is_not_shown() {
    let ran = qu_fed(&["alert", "add", "discord", "d", "--webhook-file", "-"], "discord.com/hush\n");
    assert_eq!(ran.status, 2);
    assert_eq!(ran.err, "qu: the webhook is not a URL (want https://..., not shown here)\n");
    let ran = qu_fed(&["alert", "add", "discord", "d", "--webhook-file", "-"], "");
    assert_eq!((ran.status, ran.err.as_str()), (1, "qu: --webhook-file: it is empty\n"));
}

#[test]
fn a_file_that_is_too_large_for_a_secret_is_refused() {
    let ran = qu_fed(&["alert", "add", "discord", "d", "--webhook-file", "-"], &"x".repeat(100_000));
    assert_eq!(ran.status, 1);
    assert_eq!(ran.err, "qu: --webhook-file: standard input is larger than 4096 bytes\n");
}

#[test]
fn a_peer_is_not_trusted_when_nobody_can_be_asked_or_the_key_is_another() {
    let daemon = Daemon::start("untrusted", picture::three());
    let ran = daemon.qu(&["node", "add", "gamma.example.com:9901"]);
    assert_eq!(ran.status, 1);
    assert_eq!(
        ran.err,
        "qu: nobody to ask: standard input is not a terminal; compare the fingerprint and give it by --fingerprint, or trust it blindly by --yes\n"
    );
    let other = picture::key(9).to_string();
    let ran = daemon.qu(&["node", "add", "gamma.example.com:9901", "--fingerprint", &other]);
    assert_eq!(ran.status, 1);
    assert_eq!(
        ran.err,
        format!(
            "qu: the node at gamma.example.com:9901 has fingerprint {}, not {other}: not added; is it the right host, or was it initialised anew?\n",
            picture::key(3)
        )
    );
    assert!(daemon.asked().iter().all(|a| !a.is_deed()), "{:?}", daemon.asked());
}

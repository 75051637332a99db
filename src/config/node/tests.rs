use super::*;

const ID: &str = "00000001-0000-4000-8000-000000000000";

fn file(change: (&str, &str)) -> String {
    let text = format!(
        "node_id: {ID}\nbind_addr: 10.0.0.1\nbind_port: 9000\nadvertise: a.example:9001\ncluster_secret: \"0123456789abcdef\"\n"
    );
    assert_eq!(text.matches(change.0).count(), 1, "{}", change.0);
    text.replace(change.0, change.1)
}

fn load(text: &str, env: &[(&str, &str)], flags: Overrides) -> Result<NodeConfig, String> {
    let variable = |name: &str| env.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
    NodeConfig::load("node.yaml", text, &variable, flags, "host.example")
}

fn shown(c: &NodeConfig) -> String {
    format!("{} {}:{} {} {}", &c.node_id.to_string()[..8], c.bind, c.port, c.advertise, c.secret.reveal())
}

#[test]
fn a_written_node_is_read_back() {
    let config = load(&file(("9000", "9000")), &[], Overrides::default()).unwrap();
    let text = config.to_yaml();
    assert_eq!(
        text,
        format!(
            "{HEADER}node_id: {ID}\nbind_addr: 10.0.0.1\nbind_port: 9000\nadvertise: a.example:9001\ncluster_secret: \"0123456789abcdef\"\n"
        )
    );
    assert_eq!(load(&text, &[], Overrides::default()), Ok(config.clone()));
    let odd =
        NodeConfig { bind: "::".parse().unwrap(), secret: Secret::new("\"\\ #: '0123456789"), ..config };
    assert_eq!(load(&odd.to_yaml(), &[], Overrides::default()), Ok(odd));
}

#[test]
fn flags_override_the_environment_and_both_the_file() {
    let env = [
        ("QUPTIME_NODE_ID", "00000002-0000-4000-8000-000000000000"),
        ("QUPTIME_BIND_ADDR", "[::1]"),
        ("QUPTIME_BIND_PORT", "9100"),
        ("QUPTIME_ADVERTISE", "b.example"),
        ("QUPTIME_CLUSTER_SECRET", "fedcba9876543210"),
    ];
    let empty = env.map(|(name, _)| (name, ""));
    let flags = || Overrides {
        port: Some(9200),
        advertise: Some("[2001:db8::1]:1".parse().unwrap()),
        ..Overrides::default()
    };
    for (env, flags, want) in [
        (&[][..], Overrides::default(), "00000001 10.0.0.1:9000 a.example:9001 0123456789abcdef"),
        (&empty[..], Overrides::default(), "00000001 10.0.0.1:9000 a.example:9001 0123456789abcdef"),
        (&env[..], Overrides::default(), "00000002 ::1:9100 b.example:9100 fedcba9876543210"),
        (&env[..], flags(), "00000002 ::1:9200 [2001:db8::1]:1 fedcba9876543210"),
        (&[][..], flags(), "00000001 10.0.0.1:9200 [2001:db8::1]:1 0123456789abcdef"),
    ] {
        assert_eq!(shown(&load(&file(("9000", "9000")), env, flags).unwrap()), want);
    }
}

#[test]
fn what_is_missing_has_a_default_or_a_remedy() {
    let rest = format!("node_id: {ID}\ncluster_secret: 0123456789abcdef\n");
    let config = load(&rest, &[], Overrides::default()).unwrap();
    assert_eq!(shown(&config), "00000001 0.0.0.0:9901 host.example:9901 0123456789abcdef");
    let said = Overrides::from_file("node.yaml", &rest).unwrap();
    assert_eq!(
        said.complete("not a host").unwrap_err(),
        "the host name \"not a host\" cannot be advertised; give an address with --advertise or QUPTIME_ADVERTISE"
    );
    assert_eq!(
        load("bind_port: 1\n", &[], Overrides::default()).unwrap_err(),
        "node_id is missing in node.yaml; restore the file from a backup, or set QUPTIME_NODE_ID"
    );
    assert_eq!(
        load("bind_port: 1\n", &[("QUPTIME_NODE_ID", ID)], Overrides::default()).unwrap_err(),
        "cluster_secret is missing in node.yaml; restore the file from a backup, or set QUPTIME_CLUSTER_SECRET"
    );
}

#[test]
fn mistakes_in_the_file_are_told_with_their_place_and_no_secret() {
    for (line, by, want) in [
        (ID, "me", "1:10: \"node_id\": \"me\" is not an id (want 8-4-4-4-12 lower-case hex digits)"),
        (
            "10.0.0.1",
            "localhost",
            "2:12: \"bind_addr\": \"localhost\" is not an address to listen on (examples: 0.0.0.0, ::)",
        ),
        ("9000", "0", "3:12: \"bind_port\": \"0\" is not a port (want 1 to 65535)"),
        ("9000", "+5", "3:12: \"bind_port\": \"+5\" is not a port (want 1 to 65535)"),
        (
            "a.example:9001",
            "a.example:99999",
            "4:12: \"advertise\": \"a.example:99999\" has no valid port (want 1 to 65535)",
        ),
        (
            "0123456789abcdef",
            "0123456789abcde",
            "5:17: \"cluster_secret\": the cluster secret must have 16 to 256 printable ASCII characters",
        ),
        (
            "\"0123456789abcdef\"",
            "\"0123456789",
            "6:1: not valid YAML: found unexpected end of stream, while scanning a quoted scalar",
        ),
        (
            "cluster_secret",
            "secret",
            "5:1: unknown field \"secret\"; written by a newer qu? upgrade this node, or remove the field",
        ),
    ] {
        let error = load(&file((line, by)), &[], Overrides::default()).unwrap_err();
        assert_eq!(error, format!("node.yaml:{want}"));
        assert!(!error.contains("0123456789"), "{error}");
    }
    assert_eq!(load("", &[], Overrides::default()).unwrap_err(), "node.yaml:1:1: the file is empty");
}

#[test]
fn mistakes_in_the_environment_are_told_with_the_variable_and_no_secret() {
    for (name, value, want) in [
        ("QUPTIME_NODE_ID", "me", "\"me\" is not an id (want 8-4-4-4-12 lower-case hex digits)"),
        ("QUPTIME_BIND_ADDR", "eth0", "\"eth0\" is not an address to listen on (examples: 0.0.0.0, ::)"),
        ("QUPTIME_BIND_PORT", "http", "\"http\" is not a port (want 1 to 65535)"),
        ("QUPTIME_ADVERTISE", "a b", "\"a b\" is not a host name or address"),
        (
            "QUPTIME_CLUSTER_SECRET",
            "too short",
            "the cluster secret must have 16 to 256 printable ASCII characters",
        ),
        (
            "QUPTIME_CLUSTER_SECRET",
            "0123456789abcdefé",
            "the cluster secret must have 16 to 256 printable ASCII characters",
        ),
    ] {
        let error = load(&file(("9000", "9000")), &[(name, value)], Overrides::default()).unwrap_err();
        assert_eq!(error, format!("{name}: {want}"));
    }
}

#[test]
fn every_cut_of_a_written_node_is_refused() {
    let text = load(&file(("9000", "9000")), &[], Overrides::default()).unwrap().to_yaml();
    for end in 0..text.len() - 1 {
        assert!(load(&text[..end], &[], Overrides::default()).is_err(), "cut after {end} bytes");
    }
}

#[test]
fn another_secret_takes_its_place_and_everything_else_stays() {
    let secret = Secret::new("a new one, with \"quotes\" and \\ in it");
    for text in [
        "# mine\nnode_id: a7f30000-0000-4000-8000-000000000000\ncluster_secret: \"the old one of sixteen\" # hush\nbind_port: 9901\n",
        "cluster_secret: the old one of sixteen\nadvertise: alpha.example.com:9901",
        "bind_addr: \"::\"\r\ncluster_secret: 'the old one of sixteen'\r\n",
        "bind_port: 9901\n",
    ] {
        let new = with_secret(text, &secret).unwrap();
        let (before, after) = (
            Overrides::from_file("node.yaml", text).unwrap(),
            Overrides::from_file("node.yaml", &new).unwrap(),
        );
        assert_eq!(after, Overrides { secret: Some(secret.clone()), ..before });
        assert!(!new.contains("the old one"), "{new}");
        assert_eq!(new.contains("# mine"), text.contains("# mine"));
        assert_eq!(with_secret(&new, &secret).as_deref(), Ok(new.as_str()));
    }
}

#[test]
fn a_secret_that_stands_in_a_strange_way_is_left_alone_and_not_shown() {
    let secret = Secret::new("the new one of sixteen");
    for text in [
        "cluster_secret: >-\n  the old one\n  of sixteen\n",
        "{cluster_secret: the old one of sixteen}",
        "\"cluster_secret\": the old one of sixteen\n",
        "cluster_secret: \"the old one\n",
        "colour: red\n",
    ] {
        let why = with_secret(text, &secret).unwrap_err();
        assert!(!why.contains("sixteen") && !why.contains("old one") && why.lines().count() == 1, "{why}");
    }
}

use super::*;

struct Who {
    uid: u32,
    user: &'static str,
    vars: &'static [(&'static str, &'static str)],
    socket_is_there: bool,
}

fn with<T>(who: &Who, look: impl FnOnce(&Env) -> T) -> T {
    let var = |name: &str| who.vars.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
    let exists = |path: &Path| who.socket_is_there && path == Path::new("/run/quptime/quptime.sock");
    look(&Env { var: &var, uid: who.uid, user: who.user.to_owned(), exists: &exists })
}

const ANN: Who = Who { uid: 1000, user: "ann", vars: &[("HOME", "/home/ann")], socket_is_there: false };

#[test]
fn the_data_directory_follows_the_rules_in_order() {
    for (who, want) in [
        (Who { vars: &[("QUPTIME_DIR", "here"), ("XDG_CONFIG_HOME", "/x")], ..ANN }, "here"),
        (Who { uid: 0, user: "root", vars: &[("QUPTIME_DIR", "/d")], ..ANN }, "/d"),
        (
            Who { uid: 0, user: "root", vars: &[("HOME", "/root"), ("QUPTIME_DIR", "")], ..ANN },
            "/etc/quptime",
        ),
        (Who { uid: 998, user: "quptime", vars: &[("HOME", "/var/lib/quptime")], ..ANN }, "/etc/quptime"),
        (Who { vars: &[("HOME", "/home/ann"), ("XDG_CONFIG_HOME", "/x")], ..ANN }, "/x/quptime"),
        (
            Who { vars: &[("HOME", "/home/ann"), ("XDG_CONFIG_HOME", "x")], ..ANN },
            "/home/ann/.config/quptime",
        ),
        (ANN, "/home/ann/.config/quptime"),
    ] {
        assert_eq!(with(&who, data_directory), Ok(PathBuf::from(want)), "{:?}", who.vars);
    }
    assert_eq!(
        with(&Who { vars: &[("HOME", "")], ..ANN }, data_directory).unwrap_err(),
        "no data directory: neither QUPTIME_DIR nor HOME is set; set QUPTIME_DIR"
    );
}

#[test]
fn the_control_socket_follows_the_rules_in_order() {
    let all: &[(&str, &str)] = &[
        ("QUPTIME_SOCKET", "/s"),
        ("RUNTIME_DIRECTORY", "/run/a:/run/b"),
        ("XDG_RUNTIME_DIR", "/run/user/1000"),
    ];
    let system = "/run/quptime/quptime.sock";
    for (who, want) in [
        (Who { vars: all, socket_is_there: true, ..ANN }, "/s"),
        (Who { vars: &all[1..], socket_is_there: true, ..ANN }, "/run/a/quptime.sock"),
        (Who { vars: &all[2..], socket_is_there: true, ..ANN }, system),
        (Who { vars: &all[2..], ..ANN }, "/run/user/1000/quptime/quptime.sock"),
        (Who { uid: 0, user: "root", vars: &all[2..], ..ANN }, system),
        (
            Who { vars: &[("XDG_RUNTIME_DIR", ""), ("RUNTIME_DIRECTORY", ":")], ..ANN },
            "/tmp/quptime-ann/quptime.sock",
        ),
        (Who { user: "", ..ANN }, "/tmp/quptime-1000/quptime.sock"),
        (Who { user: "../x", ..ANN }, "/tmp/quptime-1000/quptime.sock"),
    ] {
        assert_eq!(with(&who, control_socket), PathBuf::from(want), "{:?}", who.vars);
    }
}

#[test]
fn the_files_are_where_the_manual_says() {
    let paths = Paths::new("/etc/quptime");
    let names = [
        paths.node_yaml(),
        paths.cluster_yaml(),
        paths.rejected_yaml("20260512T150132Z"),
        paths.trust_yaml(),
        paths.private_pem(),
        paths.public_pem(),
        paths.cert_pem(),
        paths.state(),
        paths.lock(),
    ];
    let names: Vec<_> =
        names.iter().map(|p| p.strip_prefix(paths.dir()).unwrap().to_str().unwrap()).collect();
    assert_eq!(
        names,
        [
            "node.yaml",
            "cluster.yaml",
            "cluster.yaml.rejected-20260512T150132Z",
            "trust.yaml",
            "keys/private.pem",
            "keys/public.pem",
            "keys/cert.pem",
            "state",
            "qu.lock"
        ]
    );
}

use super::super::diff::differences;
use super::super::write::{Form, to_yaml, written};
use super::super::{merge, samples};
use super::*;
use crate::base::rng::Rng;

fn no_ids() -> u128 {
    panic!("nothing here is new")
}

fn made_of(text: &str, base: &Cluster) -> Result<Cluster, YamlError> {
    Kept::read("kept.yaml", text)?.cluster(base, &mut no_ids)
}

fn exported(cluster: &Cluster) -> String {
    written(cluster, Form::Kept { secrets: false })
}

#[test]
fn every_form_of_any_configuration_reads_back_as_that_configuration() {
    let mut rng = Rng::new(11);
    for _ in 0..60 {
        let cluster = samples::random(&mut rng);
        for form in [Form::Kept { secrets: false }, Form::Kept { secrets: true }, Form::Copy, Form::File] {
            let text = written(&cluster, form);
            let back = made_of(&text, &cluster).unwrap_or_else(|e| panic!("{e}\n{text}"));
            assert_eq!(back, cluster, "{text}");
            assert_eq!(written(&back, form), text);
        }
    }
}

#[test]
fn what_is_kept_has_nothing_that_changes_by_itself_and_no_secret_unless_asked_for() {
    let mut cluster = samples::cluster();
    let text = exported(&cluster);
    cluster.version += 7;
    cluster.updated_at = crate::base::clock::Wall(1);
    cluster.updated_by = None;
    assert_eq!(exported(&cluster), text);
    for word in ["version:", "updated_", "cert_pem", "hunter2", "t0ps3cret"] {
        assert!(!text.contains(word), "{word} in\n{text}");
    }
    assert!(text.contains("smtp_password: \"(unchanged)\"") && text.contains("      - ops\n"), "{text}");
    assert!(text.ends_with("# end\n"));
    let secret = written(&cluster, Form::Kept { secrets: true });
    assert!(!secret.contains(UNCHANGED) || secret.matches(UNCHANGED).count() == 1, "in the header\n{secret}");
    let copy = written(&cluster, Form::Copy);
    assert_eq!(Kept::read("x", &copy).unwrap().version(), Ok(Some(cluster.version)));
    assert_eq!(Kept::read("x", &text).unwrap().version(), Ok(None));
}

#[test]
fn items_without_ids_are_known_by_their_names() {
    let base = samples::cluster();
    let without: String =
        exported(&base).lines().filter(|l| !l.starts_with("    id: ")).fold(String::new(), |text, line| {
            // The first line of an item is that of its id.
            let line = if line.starts_with("  - id: ") { "  -" } else { line };
            text + line + "\n"
        });
    let mut ids = 0;
    let mut new_id = || {
        ids += 1;
        ids << 64
    };
    let back = Kept::read("x", &without).unwrap().cluster(&base, &mut new_id).unwrap();
    assert_eq!(back, base, "{without}");
    // Ids of another cluster, with the same names.
    let foreign = exported(&base).replace("0000000", "1111111").replace("cluster_id: 1", "#");
    let foreign: String =
        foreign.split("peers:").next().unwrap().to_owned() + &foreign[foreign.find("checks:").unwrap()..];
    assert_eq!(made_of(&foreign, &base).unwrap(), base, "{foreign}");
}

#[test]
fn a_renamed_check_keeps_its_id_and_a_new_one_gets_one() {
    let base = samples::cluster();
    let text = exported(&base).replace("name: web", "name: www");
    let wanted = made_of(&text, &base).unwrap();
    let lines: Vec<String> = differences(&base, &wanted).iter().map(ToString::to_string).collect();
    assert_eq!(lines, ["~ check \"web\": name \"web\" -> \"www\""]);
    let text = text.replace("checks:\n", "checks:\n  - name: new\n    type: icmp\n    target: example.com\n");
    let wanted = Kept::read("x", &text).unwrap().cluster(&base, &mut || 77 << 70).unwrap();
    assert_eq!(merge::hand_edit(&base, &wanted).unwrap().len(), 2);
}

#[test]
fn settings_and_peers_may_be_left_out_and_lists_may_not() {
    let base = samples::cluster();
    let text = exported(&base);
    let lists = format!("settings:\n  hysteresis: 3\n{}", &text[text.find("checks:").unwrap()..]);
    let wanted = made_of(&lists, &base).unwrap();
    assert_eq!(wanted, Cluster { settings: Settings { hysteresis: 3, ..base.settings }, ..base.clone() });
    let half = made_of(text.split("alerts:").next().unwrap(), &base).unwrap_err();
    assert!(half.message.contains("cut short"), "{half}");
    let none = made_of("checks: []\n", &base).unwrap_err();
    assert!(none.message.contains("alerts"), "{none}");
    let bad = made_of("settings:\n  heartbeat: 30s\nchecks: []\nalerts: []\n", &base).unwrap_err();
    assert!(bad.message.contains("dead_after"), "{bad}");
}

#[test]
fn what_is_not_for_a_file_is_refused_with_the_command_that_is_for_it() {
    let base = samples::cluster();
    let text = exported(&base);
    let refused = |from: &str, to: &str| {
        assert_eq!(text.matches(from).count(), 1, "{from} in\n{text}");
        made_of(&text.replace(from, to), &base).unwrap_err().to_string()
    };
    let said = refused("cluster_id: 00000007", "cluster_id: 00000008");
    assert!(said.contains("another cluster") && said.starts_with("kept.yaml:6:"), "{said}");
    let said = refused("node1.example.com:9901", "moved.example.com:9901");
    assert!(said.contains("qu node edit 00000001 --address moved.example.com:9901"), "{said}");
    let said = refused("node_id: 00000001", "node_id: 00000005");
    assert!(said.contains("qu node add node1.example.com:9901"), "{said}");
    let said = refused("SHA256:AQEB", "SHA256:BQEB");
    assert!(said.contains("a key is not changed by a file"), "{said}");
    let two = {
        let mut two = base.clone();
        two.peers.insert(samples::node(9), samples::peer(9));
        two
    };
    let said = made_of(&text, &two).unwrap_err().to_string();
    assert!(said.contains("qu node remove 00000009"), "{said}");
}

#[test]
fn a_placeholder_keeps_a_secret_and_stands_for_nothing_else() {
    let base = samples::cluster();
    let text = exported(&base).replace("name: ops", "name: mail").replace("      - ops\n", "      - mail\n");
    let wanted = made_of(&text, &base).unwrap();
    let secret = |c: &Cluster| c.alerts.values().map(|a| a.channel.clone()).collect::<Vec<_>>();
    assert_eq!(secret(&wanted), secret(&base));
    let empty = Cluster { alerts: BTreeMap::new(), checks: crate::config::Checks::new(), ..base.clone() };
    let said = made_of(&text, &empty).unwrap_err().to_string();
    assert!(said.contains("it has none for this alert"), "{said}");
    let file = to_yaml(&base);
    let placed = file.replace("smtp_password: ", "smtp_password: \"(unchanged)\"  # ");
    let said = super::super::from_yaml("c", &placed, &mut no_ids).unwrap_err().to_string();
    assert!(said.contains("smtp_password") && said.contains("is none"), "{said}");
}

#[test]
fn a_line_of_the_editors_does_not_hide_that_a_text_is_cut() {
    let base = samples::cluster();
    let text = format!("{REMARK} kept.yaml:3:1: something\n{}", written(&base, Form::Copy));
    assert_eq!(made_of(&text, &base).unwrap(), base);
    let cut = text.strip_suffix("# end\n").unwrap();
    assert!(made_of(cut, &base).unwrap_err().message.contains("cut short"));
}

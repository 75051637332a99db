//! The manual against the program: commands, flags, variables, settings, fields, examples, links.
//!
//! What the program has is asked of the program (`qu --generate table`, `--help`) or of the
//! library; where neither tells, of the source text. Each test holds both directions: nothing is
//! missing from its page, and no page has what does not exist.

mod lines;
mod page;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use quptime::alerts::template;
use quptime::config::node::Overrides;
use quptime::config::{trust, yaml};

use lines::{arguments, check_line};
use page::{Line, page, pages, references};

/// Pages of others that ours may point to.
const FOREIGN: &[&str] =
    &["bash 1", "fish 1", "man 1", "zsh 1", "systemd.exec 5", "systemd.service 5", "cron 8"];

/// Variables that are read from the environment and are no options of ours: each is in qu(1), and
/// none is in the table.
const OF_THE_SYSTEM: &[&str] = &[
    "HOME",
    "JOURNAL_STREAM",
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    // By the library that finds the system's certificates.
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// Rows of the table that begin with this word.
fn table(kind: &str) -> Vec<Vec<String>> {
    let run = Command::new(env!("CARGO_BIN_EXE_qu")).args(["--generate", "table"]).output().unwrap();
    assert!(run.status.success(), "{run:?}");
    let text = String::from_utf8(run.stdout).unwrap();
    let rows = text.lines().map(|l| l.split('\t').map(str::to_owned).collect::<Vec<_>>());
    let rows: Vec<_> = rows.filter(|r| r[0] == kind).map(|r| r[1..].to_vec()).collect();
    assert!(!rows.is_empty(), "the table has no {kind}");
    rows
}

/// The long names in `-y, --yes` or `--tls[=true|false]`.
fn long_name(usage: &str) -> String {
    let at = usage.find("--").unwrap_or_else(|| panic!("{usage:?} has no long name"));
    let name = usage[at + 2..].chars().take_while(|c| c.is_ascii_lowercase() || *c == '-');
    name.collect()
}

/// Flags of each command.
fn flags() -> BTreeMap<String, BTreeSet<String>> {
    let mut all: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for row in table("command") {
        all.insert(row[0].clone(), BTreeSet::new());
    }
    for row in table("flag") {
        // `qu` alone has flags and is no command.
        if let Some(flags) = all.get_mut(&row[0]) {
            flags.insert(long_name(&row[1]));
        } else {
            assert_eq!(row[0], "qu", "{row:?}");
        }
    }
    all
}

/// The page of a command: of its first word.
fn page_of(command: &str) -> String {
    match command.split(' ').nth(1) {
        Some("help" | "man") | None => "qu.1".to_owned(),
        Some(word) => format!("qu-{word}.1"),
    }
}

fn same(what: &str, program: &BTreeSet<String>, manual: &BTreeSet<String>) {
    let missing: Vec<_> = program.difference(manual).collect();
    let invented: Vec<_> = manual.difference(program).collect();
    assert!(
        missing.is_empty() && invented.is_empty(),
        "{what}: missing from the manual {missing:?}, only in the manual {invented:?}"
    );
}

fn set(words: &[&str]) -> BTreeSet<String> {
    words.iter().map(|w| (*w).to_owned()).collect()
}

#[test]
fn every_command_has_its_section_with_exactly_its_flags() {
    for (command, flags) in flags().into_iter().filter(|(c, _)| page_of(c) != "qu.1") {
        let page = page(&page_of(&command));
        let lines = page.lines();
        let section: Vec<&Line> = lines.iter().filter(|l| l.subsection == command).collect();
        assert!(!section.is_empty(), "{}: there is no `.Ss {command}`", page.name);
        let mut named: BTreeSet<String> = section.iter().flat_map(|l| l.flags()).collect();
        named.remove("help");
        same(&format!("{}, {command}", page.name), &flags, &named);
    }
}

#[test]
fn every_section_about_a_command_is_about_one_that_exists() {
    let commands = flags();
    for page in pages() {
        for line in page.lines().iter().filter(|l| l.words[0] == "Ss" && l.subsection.starts_with("qu ")) {
            assert!(commands.contains_key(&line.subsection), "{}: {}", page.name, line.subsection);
            assert_eq!(page_of(&line.subsection), page.name, "{}", line.subsection);
        }
    }
}

#[test]
fn the_synopsis_of_a_page_names_its_commands_and_no_flag_of_others() {
    let all = flags();
    for page in pages().iter().filter(|p| p.name.starts_with("qu-")) {
        let own: Vec<_> = all.iter().filter(|(c, _)| page_of(c) == page.name).collect();
        let known: BTreeSet<String> = own.iter().flat_map(|(_, f)| (*f).clone()).collect();
        let lines = page.lines();
        let synopsis: Vec<&Line> = lines.iter().filter(|l| l.section == "SYNOPSIS").collect();
        for flag in synopsis.iter().flat_map(|l| l.flags()) {
            assert!(known.contains(&flag), "{}: --{flag} in the synopsis", page.name);
        }
        let shown: BTreeSet<&str> = synopsis
            .iter()
            .filter(|l| l.words[0] == "Cm")
            .flat_map(|l| l.words.iter().map(String::as_str))
            .collect();
        for word in own.iter().flat_map(|(c, _)| c.split(' ').skip(1)) {
            assert!(shown.contains(word), "{}: {word:?} is not in the synopsis", page.name);
        }
    }
}

#[test]
fn no_page_names_a_flag_that_does_not_exist() {
    let mut known: BTreeSet<String> = flags().into_values().flatten().collect();
    known.extend(set(&["help", "version"]));
    for page in pages() {
        for flag in page.lines().iter().flat_map(Line::flags) {
            assert!(known.contains(&flag), "{}: --{flag}", page.name);
        }
    }
}

#[test]
fn the_overview_lists_every_command_every_page_and_every_exit_status() {
    let overview = page("qu.1");
    let lines = overview.lines();
    let listed: BTreeSet<String> = lines
        .iter()
        .filter(|l| l.subsection == "Commands")
        .map(|l| l.item("Ic").join(" "))
        .filter(|c| !c.is_empty())
        .collect();
    let first_words = flags().keys().map(|c| c.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect();
    same("qu.1, Commands", &first_words, &listed);

    let linked: BTreeSet<String> = lines
        .iter()
        .filter(|l| l.section == "SEE ALSO" && l.words[0] == "Xr")
        .map(|l| format!("{}.{}", l.words[1], l.words[2]))
        .collect();
    let all = pages().into_iter().map(|p| p.name).filter(|n| n != "qu.1").collect();
    same("qu.1, SEE ALSO", &all, &linked);

    let statuses = table("status").into_iter().map(|r| r[0].clone()).collect();
    let told = lines.iter().filter(|l| l.section == "EXIT STATUS" && l.words[0] == "It");
    let told = told.map(|l| l.words[1].clone()).collect();
    same("qu.1, EXIT STATUS", &statuses, &told);
}

/// Product source, without the files and modules of tests.
fn product() -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut waiting = vec![root().join("src")];
    while let Some(dir) = waiting.pop() {
        for path in fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()) {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            if path.is_dir() {
                if name != "tests" {
                    waiting.push(path);
                }
            } else if name.ends_with(".rs") && name != "tests.rs" {
                let text = fs::read_to_string(&path).unwrap();
                let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default().to_owned();
                found.push((path.strip_prefix(root()).unwrap().display().to_string(), text));
            }
        }
    }
    found
}

/// Every `QUPTIME_...` in a text.
fn variables_in(text: &str) -> BTreeSet<String> {
    let ends = |c: char| !(c.is_ascii_uppercase() || c == '_');
    let rests = text.split("QUPTIME_").skip(1).map(|rest| rest.split(ends).next().unwrap_or_default());
    rests.filter(|rest| !rest.is_empty()).map(|rest| format!("QUPTIME_{rest}")).collect()
}

#[test]
fn every_variable_that_is_read_is_in_the_manual_and_the_other_way_round() {
    let sources = product();
    let ours: BTreeSet<String> = sources.iter().flat_map(|(_, text)| variables_in(text)).collect();
    let listed: BTreeSet<String> = table("env").into_iter().map(|r| r[0].clone()).collect();
    let of_us: BTreeSet<String> = listed.iter().filter(|v| v.starts_with("QUPTIME_")).cloned().collect();
    same("the table of the environment", &ours, &of_us);

    let told: BTreeSet<String> = page("qu.1")
        .lines()
        .iter()
        .filter(|l| l.section == "ENVIRONMENT")
        .flat_map(|l| l.item("Ev"))
        .collect();
    let all = listed.union(&set(OF_THE_SYSTEM)).cloned().collect();
    same("qu.1, ENVIRONMENT", &all, &told);

    let everything: String = sources.iter().map(|(_, text)| text.as_str()).collect();
    for name in &told {
        let read = everything.contains(&format!("\"{name}\"")) || everything.contains(&format!("`{name}`"));
        assert!(read, "qu.1 has {name}, which no source names");
    }
    for page in pages() {
        for name in variables_in(&page.text) {
            assert!(ours.contains(&name), "{}: {name}", page.name);
        }
    }
}

#[test]
fn every_variable_read_directly_is_known_here() {
    let known: BTreeSet<String> = table("env").into_iter().map(|r| r[0].clone()).collect();
    let known: BTreeSet<String> = known.union(&set(OF_THE_SYSTEM)).cloned().collect();
    for (path, text) in product() {
        for call in ["env::var(\"", "env::var_os(\"", ".variable(\"", "env.get(\"", ".directory(\""] {
            for name in text.split(call).skip(1).filter_map(|rest| rest.split('"').next()) {
                assert!(known.contains(name), "{path} reads {name}, which is in no list");
            }
        }
    }
}

/// Field names in the shapes of a reader's source: `text("name")`, `texts("name")`, `name: "name"`.
fn fields_of(source: &str) -> BTreeSet<String> {
    let text = read(source);
    let from = text.find("static FILE").expect("the shape of the file");
    let shapes = &text[from..];
    let shapes = &shapes[..shapes.find("\n///").expect("the end of the shapes")];
    let mut found = BTreeSet::new();
    for opening in ["text(\"", "texts(\"", "name: \""] {
        found.extend(
            shapes.split(opening).skip(1).filter_map(|rest| rest.split('"').next()).map(str::to_owned),
        );
    }
    assert!(found.len() > 3, "{source}: {found:?}");
    found
}

#[test]
fn every_field_of_the_files_is_in_the_manual_and_the_other_way_round() {
    let page = page("quptime.yaml.5");
    let told = |file: &str| -> BTreeSet<String> {
        page.lines().iter().filter(|l| l.subsection == file).flat_map(|l| l.item("Cm")).collect()
    };
    same("node.yaml", &fields_of("src/config/node.rs"), &told("node.yaml"));
    same("cluster.yaml", &fields_of("src/config/yaml.rs"), &told("cluster.yaml"));

    let source = read("src/config/trust.rs");
    let entry = source.split("struct Entry {").nth(1).and_then(|rest| rest.split('}').next()).unwrap();
    let fields = entry.lines().filter_map(|l| l.trim().split_once(": ")).map(|(name, _)| name.to_owned());
    same("trust.yaml", &fields.collect(), &told("trust.yaml"));

    let settings: BTreeSet<String> = table("setting").into_iter().map(|r| r[0].clone()).collect();
    let lines = self::page("qu-cluster.1").lines();
    let told = lines.iter().filter(|l| l.subsection == "qu cluster set").flat_map(|l| l.item("Cm"));
    same("qu-cluster.1", &settings, &told.collect());
    assert!(settings.is_subset(&fields_of("src/config/yaml.rs")));
}

#[test]
fn the_examples_of_files_load() {
    let blocks = page("quptime.yaml.5").literal();
    let mut loaded = BTreeSet::new();
    for block in &blocks {
        let first = block.lines().next().unwrap_or_default();
        if first.starts_with("node_id:") {
            let said = Overrides::from_file("node.yaml", block).unwrap_or_else(|e| panic!("{e}"));
            said.complete("host").unwrap_or_else(|e| panic!("{e}"));
            loaded.insert("node");
        } else if first.starts_with("cluster_id:") {
            let mut id = 0;
            let mut new_id = || {
                id += 1;
                id << 64
            };
            let read = yaml::from_yaml("cluster.yaml", block, &mut new_id).unwrap_or_else(|e| panic!("{e}"));
            assert!(read.checks.len() >= 3 && read.alerts.len() >= 2, "{read:?}");
            loaded.insert("cluster");
        } else {
            trust::from_yaml(block).unwrap_or_else(|e| panic!("{e}: {block}"));
            loaded.insert("trust");
        }
    }
    assert_eq!(loaded, BTreeSet::from(["node", "cluster", "trust"]));
}

#[test]
fn the_fields_of_templates_are_those_of_the_manual_and_its_template_renders() {
    let page = page("qu-alert.1");
    let told: BTreeSet<String> =
        page.lines().iter().filter(|l| l.section == "TEMPLATES").flat_map(|l| l.item("Va")).collect();
    let source = read("src/alerts/template.rs");
    let rows = source.lines().filter_map(|l| l.strip_prefix("//! | `"));
    let names =
        rows.filter_map(|l| l.split(" |").next()).flat_map(|l| l.split(", ").map(|n| n.replace('`', "")));
    same("fields of templates", &names.collect(), &told);
    for name in &told {
        let list = matches!(name.as_str(), "reports" | "changes");
        let text = if list { format!("{{{{ {name} | length }}}}") } else { format!("{{{{ {name} }}}}") };
        template::check(&text).unwrap_or_else(|e| panic!("{text}: {e}"));
    }
    let examples: Vec<String> = page.literal().into_iter().filter(|b| b.contains("{{")).collect();
    assert!(!examples.is_empty());
    for example in examples {
        template::check(&example).unwrap_or_else(|e| panic!("{example}: {e}"));
    }
}

#[test]
fn every_command_line_in_readme_and_manual_is_one_that_the_program_takes() {
    let mut lines = Vec::new();
    let readme = read("README.md");
    let mut fence = false;
    for (n, line) in readme.lines().enumerate() {
        if line.starts_with("```") {
            fence = !fence;
        } else if fence {
            lines.extend(arguments(line).map(|a| (format!("README.md:{}", n + 1), a)));
        } else {
            let spans =
                line.split('`').skip(1).step_by(2).filter(|s| s.starts_with("qu ") && !s.contains('|'));
            lines.extend(spans.filter_map(arguments).map(|a| (format!("README.md:{}", n + 1), a)));
        }
    }
    assert!(lines.len() >= 10, "{lines:?}");
    assert!(readme.contains("cargo run --release -- sandbox") && readme.contains("cargo test"));
    for page in pages() {
        for line in page.literal().iter().flat_map(|b| b.lines()) {
            lines.extend(arguments(line).map(|a| (page.name.clone(), a)));
        }
    }
    let distinct: BTreeMap<Vec<String>, String> = lines.into_iter().map(|(place, a)| (a, place)).collect();
    assert!(distinct.len() >= 35, "{distinct:?}");
    for (arguments, place) in distinct {
        check_line(&place, &arguments);
    }
}

#[test]
fn every_command_named_in_running_text_exists() {
    let commands: BTreeSet<String> = flags().into_keys().collect();
    let groups: BTreeSet<String> =
        commands.iter().map(|c| c.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect();
    for page in pages() {
        for line in page.lines().iter().filter(|l| l.words[0] == "Ic") {
            for named in line.words[1..].join(" ").split(" , ") {
                let named = named.trim_end_matches([' ', '.', ',', ';', ':', ')']).trim();
                let Some(at) = named.find("qu ") else { continue };
                let words: Vec<&str> = named[at..].split(' ').take_while(|w| !w.starts_with('-')).collect();
                let named = words.join(" ");
                let known = commands.contains(&named) || groups.contains(&named);
                assert!(known, "{}: {named:?}", page.name);
            }
        }
    }
}

#[test]
fn every_reference_leads_to_a_page() {
    let own: BTreeSet<String> = pages().into_iter().map(|p| p.name).collect();
    for page in pages() {
        for line in page.lines() {
            for at in (0..line.words.len()).filter(|at| line.words[*at] == "Xr") {
                let (name, section) = (&line.words[at + 1], &line.words[at + 2]);
                let foreign = FOREIGN.contains(&format!("{name} {section}").as_str());
                assert!(
                    foreign || own.contains(&format!("{name}.{section}")),
                    "{}: {name}({section})",
                    page.name
                );
            }
        }
    }
    // `quptime.yaml(5)` in a message or a comment, `man 7 quptime` in the README.
    for (path, text) in product() {
        for (name, section) in references(&text) {
            assert!(own.contains(&format!("{name}.{section}")), "{path}: {name}({section})");
        }
    }
    let readme = read("README.md");
    for rest in readme.split("`man ").skip(1).filter(|r| r.starts_with(|c: char| c.is_ascii_digit())) {
        let words: Vec<&str> = rest.split('`').next().unwrap_or_default().split(' ').collect();
        assert!(own.contains(&format!("{}.{}", words[1], words[0])), "README.md: man {words:?}");
    }
    for target in readme.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
        assert!(target.contains("://") || Path::new(&root().join(target)).exists(), "README.md: {target}");
    }
}

/// Names of test functions in the files below a directory.
fn tests_below(dir: &Path, found: &mut BTreeSet<String>) {
    for path in fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()) {
        if path.is_dir() {
            tests_below(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let marked = text.split("#[test]\n").skip(1);
            let named =
                marked.filter_map(|rest| rest.split("fn ").nth(1)?.split('(').next().map(str::to_owned));
            found.extend(named);
        }
    }
}

#[test]
fn every_test_that_the_manual_names_exists() {
    let mut tests = BTreeSet::new();
    for dir in ["src", "tests"] {
        tests_below(&root().join(dir), &mut tests);
    }
    let mut named = 0;
    for page in pages() {
        for line in page.lines().iter().filter(|l| l.words[0] == "Fn" && l.words[1] != "name") {
            assert!(tests.contains(&line.words[1]), "{}: there is no test {}", page.name, line.words[1]);
            named += 1;
        }
    }
    assert!(named >= 40, "the page about security names {named} tests");
}

#[test]
fn every_page_is_clean_mdoc() {
    let names: Vec<PathBuf> = pages().iter().map(|p| root().join("man").join(&p.name)).collect();
    match Command::new("mandoc").args(["-T", "lint", "-W", "warning"]).args(&names).output() {
        Ok(run) => assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stdout)),
        Err(e) => eprintln!("skipped: mandoc cannot be run ({e})"),
    }
    for page in pages() {
        let (name, section) = page.name.rsplit_once('.').unwrap();
        let title = format!(".Dt {} {section}\n.Os\n", name.to_uppercase());
        assert!(page.text.contains(&title), "{}: want {title:?}", page.name);
    }
}

#[test]
fn changelog_and_licence_are_those_of_this_version() {
    let changelog = read("CHANGELOG.md");
    assert!(changelog.contains("## [Unreleased]"));
    assert!(changelog.contains(concat!("## [", env!("CARGO_PKG_VERSION"), "]")));
    assert!(read("LICENSE").contains("the quptime authors"));
}

#[test]
fn names_of_flags_and_pages_are_found_in_texts() {
    assert_eq!(long_name("-y, --yes"), "yes");
    assert_eq!(long_name("--tls[=true|false]"), "tls");
    assert_eq!(references("see quptime.yaml(5), f(1) and qu-node(1)").len(), 2);
}

/// The names that the program gives to files of its data directory, as its source says them.
fn files_of_the_program() -> BTreeSet<String> {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut names = BTreeSet::new();
    for file in ["config/paths.rs", "daemon/backup.rs", "daemon/start.rs"] {
        let text = std::fs::read_to_string(root.join(file)).expect("a source");
        for call in ["self.dir.join(", "paths.dir().join("] {
            for after in text.split(call).skip(1) {
                let after = after.trim_start_matches("format!(");
                if let Some(name) = after.strip_prefix('"').and_then(|t| t.split('"').next()) {
                    names.insert(name.replace("{time}", "TIME"));
                }
            }
        }
        for after in text.split("beside(&paths.state(), &format!(\"").skip(1) {
            let suffix = after.split('{').next().unwrap_or_default();
            names.insert(format!("state{suffix}TIME"));
        }
    }
    names
}

#[test]
fn every_file_of_the_data_directory_is_in_the_manual_and_no_other() {
    let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("man/qu.1");
    let page = std::fs::read_to_string(page).expect("a page");
    let files = page.split(".Sh FILES\n").nth(1).and_then(|t| t.split("\n.Sh ").next()).expect("a section");
    let files = files.split("elsewhere").next().unwrap_or_default();
    let named: BTreeSet<String> = files
        .lines()
        .filter_map(|l| l.strip_prefix(".It Pa "))
        .filter(|name| !name.starts_with('/') && !name.starts_with("keys/n"))
        .map(|name| name.trim_end_matches('/').to_owned())
        .collect();
    let program = files_of_the_program();
    assert!(program.len() > 8, "{program:?}");
    same("qu.1, FILES", &program, &named);
}

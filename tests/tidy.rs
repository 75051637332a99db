//! What holds for the source as text: layers, sizes, words, dead files, dependencies.
//!
//! A rule here is one that a reader relies on and that the compiler does not know. Each finding is
//! a line with file and line number; a test lists all of its findings, not the first.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The layer of each module, from below. In layer 2 the chain is by [`CHAIN`]; in layer 3 siblings
/// never import each other; everywhere else a module imports from lower layers, and as below.
const LAYERS: &[(u8, &[&str])] = &[
    (0, &["base", "sys"]),
    (1, &["identity", "config"]),
    (2, &["quorum", "verdict", "state", "alerts", "view", "doctor"]),
    (3, &["store", "transport", "control", "probe", "deliver"]),
    (4, &["daemon"]),
    (5, &["cli", "main"]),
];

/// In one layer, who may import whom. What is not here may not.
const CHAIN: &[(&str, &[&str])] = &[
    // `trust.yaml` is a list of what `identity` knows.
    ("config", &["identity"]),
    ("verdict", &[]),
    ("state", &["verdict"]),
    ("alerts", &["verdict", "state"]),
    ("view", &["verdict", "state", "alerts", "quorum"]),
    ("doctor", &["verdict", "state", "alerts", "view"]),
    // Alone: commands are text to it.
    ("quorum", &[]),
    ("main", &["cli"]),
];

/// Tighter than the layer: modules with these rows import nothing else.
const ONLY: &[(&str, &[&str])] = &[
    ("sys", &[]),
    ("base", &[]),
    // The kernel's random bits.
    ("identity", &["base", "sys"]),
    ("quorum", &["base"]),
    // What a peer may ask of the state is typed, what of the quorum is, and nothing else is known.
    ("store", &["base", "sys", "quorum"]),
    ("probe", &["base", "sys", "config", "verdict"]),
];

/// Single files that import more than their module's row says, and why.
const EXCEPTIONS: &[(&str, &str, &str)] = &[];

/// Layer 2 decides and does not act: none of this in it.
const IMPURE: &[&str] = &[
    "std::fs",
    "std::thread",
    "std::env",
    "std::process",
    "TcpStream",
    "UdpSocket",
    "Instant",
    "SystemTime",
];

/// A tool for one terminal, about processes that say nothing when they are ready: nobody simulates
/// it, so it may read the clock, wait, and print.
const SANDBOX: &str = "src/daemon/sandbox";

/// Longest file without a reason; a reason is a line of the module's doc that begins `Long because`.
const LONGEST: usize = 600;

/// A source file.
struct Source {
    /// Relative to the crate.
    path: String,
    text: String,
    /// Reachable by `#[cfg(test)]` modules only, or a test itself.
    test: bool,
}

impl Source {
    /// Lines with their numbers, without comments.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(n, line)| (n + 1, without_comment(line)))
    }

    /// The same up to the tests at the end of the file; nothing for a test.
    fn product(&self) -> impl Iterator<Item = (usize, &str)> {
        let end = match self.text.find("#[cfg(test)]\nmod tests {") {
            _ if self.test => 0,
            Some(at) => self.text[..at].lines().count(),
            None => usize::MAX,
        };
        self.code().take_while(move |(n, _)| *n <= end)
    }

    /// The module directly under the crate that it belongs to.
    fn module(&self) -> &str {
        let rest = self.path.strip_prefix("src/").unwrap_or("");
        rest.split('/').next().map_or("", |m| m.strip_suffix(".rs").unwrap_or(m))
    }
}

/// A line up to `//`, but for the one in an address.
fn without_comment(line: &str) -> &str {
    let mut from = 0;
    while let Some(at) = line[from..].find("//").map(|at| from + at) {
        if !line[..at].ends_with(':') {
            return &line[..at];
        }
        from = at + 2;
    }
    line
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// All files below a directory with these endings, relative to the crate.
fn files(below: &str, endings: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    let mut waiting = vec![root().join(below)];
    while let Some(dir) = waiting.pop() {
        let Ok(entries) = fs::read_dir(&dir) else { continue };
        for entry in entries {
            let path = entry.unwrap().path();
            if path.is_dir() {
                waiting.push(path);
            } else if endings.iter().any(|e| path.to_string_lossy().ends_with(e)) {
                found.push(path.strip_prefix(root()).unwrap().to_string_lossy().into_owned());
            }
        }
    }
    found.sort();
    found
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// Every file that a `mod` line leads to, from these roots; with whether only tests lead there.
fn reachable(roots: &[(String, bool)]) -> BTreeMap<String, bool> {
    let mut found: BTreeMap<String, bool> = BTreeMap::new();
    let mut waiting: Vec<(String, bool, bool)> = roots.iter().map(|(p, t)| (p.clone(), *t, true)).collect();
    while let Some((path, test, is_root)) = waiting.pop() {
        if found.get(&path).is_some_and(|known| !known || test) {
            continue;
        }
        found.insert(path.clone(), test);
        let file = Path::new(&path);
        let here = file.parent().unwrap().to_path_buf();
        let own_dir = is_root || file.ends_with("mod.rs");
        let below = if own_dir { here.clone() } else { file.with_extension("") };
        let (mut for_test, mut renamed) = (false, None);
        let text = read(&path);
        for line in text.lines().map(str::trim) {
            if line.starts_with("#[cfg(test)]") {
                for_test = true;
            } else if let Some(name) = line.strip_prefix("#[path = \"") {
                renamed = name.strip_suffix("\"]").map(str::to_owned);
            } else {
                if let Some(name) = module_named(line) {
                    let candidates = match renamed.take() {
                        Some(file) => vec![here.join(file)],
                        None => vec![below.join(format!("{name}.rs")), below.join(name).join("mod.rs")],
                    };
                    let next = candidates.into_iter().find(|c| root().join(c).exists());
                    let next = next.unwrap_or_else(|| panic!("{path}: no file for `mod {name};`"));
                    waiting.push((next.to_string_lossy().into_owned(), test || for_test, false));
                }
                if !line.starts_with("#[") {
                    (for_test, renamed) = (false, None);
                }
            }
        }
    }
    found
}

/// The name in `mod name;`, whatever its visibility.
fn module_named(line: &str) -> Option<&str> {
    let line = match line.strip_prefix("pub") {
        Some(rest) if rest.starts_with('(') => rest.split_once(')')?.1.trim_start(),
        Some(rest) => rest.trim_start(),
        None => line,
    };
    let name = line.strip_prefix("mod ")?.strip_suffix(';')?;
    name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_').then_some(name)
}

/// Everything under src/.
fn sources() -> Vec<Source> {
    let roots = [("src/lib.rs".to_owned(), false), ("src/main.rs".to_owned(), false)];
    let source = |(path, test): (String, bool)| Source { text: read(&path), path, test };
    reachable(&roots).into_iter().map(source).collect()
}

fn none(what: &str, findings: &[String]) {
    assert!(findings.is_empty(), "{what}:\n{}\n", findings.join("\n"));
}

fn layer(module: &str) -> Option<u8> {
    LAYERS.iter().find(|(_, modules)| modules.contains(&module)).map(|(layer, _)| *layer)
}

fn row<'r>(rows: &[(&str, &'r [&'r str])], module: &str) -> Option<&'r [&'r str]> {
    rows.iter().find(|(m, _)| *m == module).map(|(_, allowed)| *allowed)
}

fn may_import(file: &str, from: &str, to: &str) -> bool {
    if from == to || EXCEPTIONS.iter().any(|(f, m, _)| *f == file && *m == to) {
        return true;
    }
    if let Some(only) = row(ONLY, from) {
        return only.contains(&to);
    }
    match (layer(from), layer(to)) {
        // Pure: what acts is above it or in `sys`.
        (Some(2), Some(0)) => to == "base",
        (Some(from_layer), Some(to_layer)) if from_layer == to_layer => {
            row(CHAIN, from).is_some_and(|allowed| allowed.contains(&to))
        }
        (Some(from), Some(to)) => to < from,
        _ => false,
    }
}

#[test]
fn a_module_imports_from_lower_layers_only() {
    let mut findings = Vec::new();
    for source in sources().iter().filter(|s| s.path != "src/lib.rs") {
        let from = source.module();
        if layer(from).is_none() {
            findings.push(format!("{}: module {from:?} has no layer", source.path));
        }
        for (n, line) in source.code() {
            for piece in line.split("crate::").skip(1).chain(line.split("quptime::").skip(1)) {
                let to: String =
                    piece.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
                // Macros are the crate's own; `log!` is `base::log`'s.
                let to = if to == "log" { "base" } else { to.as_str() };
                if !to.is_empty() && !may_import(&source.path, from, to) {
                    findings.push(format!("{}:{n}: {from} imports {to}", source.path));
                }
            }
        }
    }
    none("imports against the layers of src/lib.rs", &findings);
}

#[test]
fn the_layers_are_those_of_the_crates_doc_and_all_modules_have_one() {
    let lib = read("src/lib.rs");
    let declared: BTreeSet<&str> = lib.lines().filter_map(module_named).collect();
    let ranked: BTreeSet<&str> =
        LAYERS.iter().flat_map(|(_, m)| m.iter().copied()).filter(|m| *m != "main").collect();
    assert_eq!(declared, ranked);
    for (layer, modules) in LAYERS {
        let row = lib.lines().find(|l| l.starts_with(&format!("//! {layer}  "))).unwrap_or_default();
        for module in *modules {
            assert!(row.contains(module), "src/lib.rs says nothing of {module} in layer {layer}: {row:?}");
        }
    }
}

#[test]
fn the_command_line_reaches_the_daemon_at_one_place() {
    let mut findings = Vec::new();
    for source in sources().iter().filter(|s| s.module() == "cli" && s.path != "src/cli/wiring.rs") {
        let bad = ["crate::daemon", "crate::store", "crate::transport", "crate::probe", "crate::deliver"];
        for (n, line) in source.code().filter(|(_, l)| bad.iter().any(|b| l.contains(b))) {
            findings.push(format!("{}:{n}: {}", source.path, line.trim()));
        }
    }
    none("src/cli goes through control, and wiring.rs alone to the daemon", &findings);
}

#[test]
fn what_decides_does_not_act() {
    let mut findings = Vec::new();
    for source in sources().iter().filter(|s| layer(s.module()) == Some(2)) {
        for (n, line) in source.product() {
            let word = |w: &&&str| {
                line.split(|c: char| !(c.is_alphanumeric() || c == ':' || c == '_'))
                    .any(|part| part == **w || part.starts_with(&format!("{w}::")))
            };
            if let Some(found) = IMPURE.iter().find(word) {
                findings.push(format!("{}:{n}: {found}", source.path));
            }
            if line.contains("log!(") {
                findings.push(format!("{}:{n}: log!", source.path));
            }
            // An order that differs from run to run must not show in what is decided.
            if source.module() == "quorum" && line.contains("Hash") && !line.contains("derive") {
                findings.push(format!("{}:{n}: {}", source.path, line.trim()));
            }
        }
    }
    none("layer 2 is pure", &findings);
}

#[test]
fn files_are_short_or_say_why_not() {
    let mut findings = Vec::new();
    for path in ["src", "tests", "benches"].iter().flat_map(|d| files(d, &[".rs"])) {
        let text = read(&path);
        let lines = text.lines().count();
        if lines > LONGEST && !text.lines().any(|l| l.starts_with("//! Long because ")) {
            findings.push(format!("{path}: {lines} lines; split it, or write `//! Long because ...`"));
        }
    }
    none("long files", &findings);
}

#[test]
fn every_module_says_what_it_is() {
    let mut findings = Vec::new();
    for source in sources().iter().filter(|s| !s.test) {
        if !source.text.starts_with("//! ") {
            findings.push(source.path.clone());
        }
    }
    none("files without a doc comment at their head", &findings);
}

#[test]
fn no_file_is_unused() {
    let mut roots = vec![("src/lib.rs".to_owned(), false), ("src/main.rs".to_owned(), false)];
    for dir in ["tests", "benches"] {
        let is_root = |p: &String| {
            let parts = p.split('/').count();
            // `run.rs` is built by cargo-fuzz alone, from the manifest beside it.
            parts == 2 || parts == 3 && (p.ends_with("/main.rs") || p == "tests/fuzz/run.rs")
        };
        roots.extend(files(dir, &[".rs"]).into_iter().filter(is_root).map(|p| (p, true)));
    }
    let used = reachable(&roots);
    let all = ["src", "tests", "benches"].iter().flat_map(|d| files(d, &[".rs"]));
    let findings: Vec<String> = all.filter(|p| !used.contains_key(p)).collect();
    none("files that no `mod` line leads to", &findings);
}

#[test]
fn nothing_is_left_for_later() {
    // In pieces, so that this file passes.
    let words = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("XX", "X"),
        concat!("todo", "!("),
        concat!("unimplemented", "!("),
    ];
    let mut findings = Vec::new();
    for path in ["src", "tests", "benches", "man"].iter().flat_map(|d| files(d, &[".rs", ".1", ".5", ".7"])) {
        for (n, line) in read(&path).lines().enumerate() {
            if let Some(word) = words.iter().find(|w| line.contains(**w)) {
                findings.push(format!("{path}:{}: {word}", n + 1));
            }
        }
    }
    none("what is not finished", &findings);
}

#[test]
fn no_path_of_one_machine_is_anywhere() {
    let paths = [concat!("/wo", "rk/"), concat!("/tmp/", "t1"), concat!("/ro", "ot/")];
    let kinds = &[".rs", ".1", ".5", ".7", ".md", ".toml", ".txt", ".sh", ".service"];
    let below = ["src", "tests", "benches", "man", "packaging"].iter().flat_map(|d| files(d, kinds));
    let top = ["README.md", "CHANGELOG.md", "Cargo.toml", ".ci/run"].map(str::to_owned);
    let mut findings = Vec::new();
    for path in below.chain(top).filter(|p| root().join(p).exists()) {
        for (n, line) in read(&path).lines().enumerate() {
            if let Some(found) = paths.iter().find(|p| line.contains(**p)) {
                findings.push(format!("{path}:{}: {found}", n + 1));
            }
        }
    }
    none("paths of one machine", &findings);
}

/// Product code that says something which only these files may say.
fn only_in(words: &[&str], allowed: &dyn Fn(&Source, usize) -> bool) -> Vec<String> {
    let mut findings = Vec::new();
    for source in sources() {
        for (n, line) in source.product() {
            if words.iter().any(|w| line.contains(w)) && !allowed(&source, n) {
                findings.push(format!("{}:{n}: {}", source.path, line.trim()));
            }
        }
    }
    findings
}

#[test]
fn only_the_command_line_and_the_sandbox_print() {
    let words = ["println!(", "print!(", "dbg!("];
    let findings = only_in(&words, &|s, _| s.module() == "cli" || s.path.starts_with(SANDBOX));
    none("printing", &findings);
}

#[test]
fn only_sys_is_unsafe() {
    let words = ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern", "allow(unsafe_code)"];
    let findings = only_in(&words, &|s, _| s.module() == "sys");
    none("unsafe outside src/sys", &findings);
    assert!(read("src/lib.rs").contains("#![deny(unsafe_code)]"));
}

#[test]
fn only_the_clock_asks_what_time_it_is() {
    let findings = only_in(&["Instant::now", "SystemTime::now"], &|s, _| {
        s.path == "src/base/clock.rs" || s.path.starts_with(SANDBOX)
    });
    none("time read beside base::clock", &findings);
}

#[test]
fn nothing_sleeps_without_a_reason() {
    let excused = |s: &Source, n: usize| {
        s.path.starts_with(SANDBOX)
            || s.text
                .lines()
                .nth(n.saturating_sub(2))
                .is_some_and(|above| above.trim().starts_with("// sleeps: "))
    };
    none("sleeps without `// sleeps: why` on the line above", &only_in(&["thread::sleep("], &excused));
}

#[test]
fn no_safety_rule_is_switched_off_in_the_program() {
    none("calls of Node::lesion", &only_in(&[".lesion(", "Node::lesion"], &|_, _| false));
    assert!(read("src/quorum/node.rs").contains("pub fn lesion("), "it has another name: look for that");
}

/// What cargo resolved for this machine: what is in Cargo.lock and switched off is not in it.
fn cargo_tree(arguments: &[&str]) -> String {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let run = Command::new(cargo)
        .args(["tree", "--offline", "--locked", "--prefix", "none"])
        .args(arguments)
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(run.status.success(), "cargo tree: {}", String::from_utf8_lossy(&run.stderr));
    String::from_utf8(run.stdout).expect("UTF-8")
}

#[test]
fn no_async_runtime_and_no_second_tls_library_is_built() {
    let tree = cargo_tree(&["--edges", "normal,build"]);
    let names: BTreeSet<&str> = tree.lines().filter_map(|l| l.split(' ').next()).collect();
    assert!(names.contains("rustls") && names.len() > 30, "this is not our tree:\n{tree}");
    for banned in ["tokio", "async-std", "smol", "mio", "openssl", "openssl-sys", "native-tls", "ring"] {
        assert!(!names.contains(banned), "{banned} is in the tree (cargo tree -i {banned})");
    }
}

#[test]
fn no_crate_is_built_in_two_versions() {
    let twice = cargo_tree(&["--edges", "normal,build", "--duplicates", "--depth", "0"]);
    let findings: Vec<String> = twice.lines().filter(|l| !l.trim().is_empty()).map(str::to_owned).collect();
    none("crates in two versions", &findings);
}

#[test]
fn every_dependency_has_its_reason() {
    let manifest = read("Cargo.toml");
    let mut findings = Vec::new();
    let (mut inside, mut above) = (false, "");
    for line in manifest.lines() {
        if line.starts_with('[') {
            inside =
                line == "[dependencies]" || line == "[dev-dependencies]" || line == "[build-dependencies]";
        } else if inside && !line.is_empty() && !line.starts_with('#') {
            let serde = line.starts_with("serde_json") && above.starts_with("serde ");
            if !above.starts_with('#') && !serde {
                findings.push(line.to_owned());
            }
        }
        above = line;
    }
    none("dependencies without a comment above", &findings);
}

#[test]
fn comments_are_told_from_code() {
    assert_eq!(without_comment("let a = 1; // not this"), "let a = 1; ");
    assert_eq!(without_comment("\"http://a\" // b"), "\"http://a\" ");
    assert_eq!(module_named("pub(super) mod a_b;"), Some("a_b"));
    assert_eq!(module_named("mod tests {"), None);
}

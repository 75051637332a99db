//! `qu completion bash|zsh|fish`: scripts made from the table.
//!
//! Each script walks the words typed so far to the command they name, then offers what may follow:
//! the next words, the fixed values of an argument or a flag, files, or the command's flags. Names
//! of checks, alerts and nodes are not offered: that would ask the daemon at every key.

use std::fmt::Write as _;

use super::parse::Said;
use super::table::{self, COMMANDS, Flag, GROUPS, Value, flags};
use super::{Failure, Session};

/// `qu completion <shell>`.
pub fn run(session: &mut Session<'_>, said: &Said) -> Result<(), Failure> {
    let script = match said.arg("shell") {
        "bash" => bash(),
        "zsh" => zsh(),
        _ => fish(),
    };
    session.print(&script)
}

/// One place in the tree: the words after `qu`, the words that may follow, the flags that may.
struct Spot {
    path: String,
    words: Vec<(&'static str, &'static str)>,
    flags: Vec<&'static Flag>,
    /// The name of a file may follow.
    file: bool,
}

fn spots() -> Vec<Spot> {
    let groups = std::iter::once(&[] as &[&str]).chain(GROUPS.iter().map(|g| g.path));
    let mut all: Vec<Spot> = groups
        .map(|path| {
            let described = |word: &&'static str| {
                let mut whole = path.to_vec();
                whole.push(word);
                let short = table::command(&whole).map(|c| c.short);
                (*word, short.or_else(|| table::group(&whole).map(|g| g.short)).unwrap_or(""))
            };
            let words = table::next_words(path).iter().map(described).collect();
            let mut flags = vec![&flags::HELP];
            if path.is_empty() {
                flags.push(&flags::VERSION);
            }
            Spot { path: path.join(" "), words, flags, file: false }
        })
        .collect();
    for command in COMMANDS {
        let next = table::next_words(command.path).into_iter().map(|w| (w, ""));
        let words = command.args.iter().flat_map(|a| a.words).map(|w| (*w, "")).chain(next).collect();
        let flags = command.flags.iter().copied().chain([&flags::HELP]).collect();
        let file = command.args.iter().any(|a| a.name == "file");
        all.push(Spot { path: command.path.join(" "), words, flags, file });
    }
    all
}

/// The paths that a word may lead to: what the scripts walk by.
fn steps() -> Vec<String> {
    let mut all: Vec<String> = GROUPS.iter().map(|g| g.path.join(" ")).collect();
    all.extend(COMMANDS.iter().map(|c| c.path.join(" ")));
    all
}

fn takes_word(flag: &Flag) -> Option<&'static [&'static str]> {
    match flag.value {
        Value::Word(words) | Value::MaybeWord(words) => Some(words),
        _ => None,
    }
}

/// All flags, each name once for each kind of value.
fn every_flag() -> Vec<&'static Flag> {
    let mut all: Vec<&'static Flag> = Vec::new();
    for flag in COMMANDS.iter().flat_map(|c| c.flags) {
        if !all.iter().any(|f| f.name == flag.name && f.value == flag.value) {
            all.push(flag);
        }
    }
    all
}

fn bash() -> String {
    let mut text = String::from(
        "# bash completion for qu; made by: qu completion bash\n_qu() {\n    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} path= word i words= files=\n    for ((i = 1; i < COMP_CWORD; i++)); do\n        word=${path:+$path }${COMP_WORDS[i]}\n        case $word in\n",
    );
    let quoted: Vec<String> = steps().iter().map(|s| format!("'{s}'")).collect();
    let _ = write!(text, "            {}) path=$word ;;\n        esac\n    done\n", quoted.join(" | "));
    text.push_str("    case \"$path $prev\" in\n");
    for command in COMMANDS {
        for flag in command.flags {
            let at = format!("'{} --{}'", command.path.join(" "), flag.name);
            if let Some(words) = takes_word(flag) {
                let words = words.join(" ");
                let _ = writeln!(
                    text,
                    "        {at}) COMPREPLY=($(compgen -W '{words}' -- \"$cur\")); return ;;"
                );
            }
        }
    }
    text.push_str("    esac\n    case $prev in\n");
    for (value, action) in [(Value::File, "-f"), (Value::Directory, "-d")] {
        let names: Vec<String> =
            every_flag().iter().filter(|f| f.value == value).map(|f| format!("--{}", f.name)).collect();
        if !names.is_empty() {
            let names = names.join(" | ");
            let _ = writeln!(text, "        {names}) COMPREPLY=($(compgen {action} -- \"$cur\")); return ;;");
        }
    }
    let free = every_flag().into_iter().filter(|f| matches!(f.value, Value::Text(_)));
    let free: Vec<String> = free.map(|f| format!("--{}", f.name)).collect();
    let _ = write!(text, "        {}) return ;;\n    esac\n    case $path in\n", free.join(" | "));
    for spot in spots() {
        let mut words: Vec<String> = spot.words.iter().map(|(w, _)| (*w).to_owned()).collect();
        words.extend(spot.flags.iter().map(|f| format!("--{}", f.name)));
        let files = if spot.file { " files=-f" } else { "" };
        let _ = writeln!(text, "        '{}') words='{}'{files} ;;", spot.path, words.join(" "));
    }
    text.push_str(
        "    esac\n    COMPREPLY=($(compgen $files -W \"$words\" -- \"$cur\"))\n}\ncomplete -F _qu qu\n",
    );
    text
}

/// For zsh's `_describe`: a colon ends the word.
fn zsh_item(word: &str, doc: &str) -> String {
    let clean = |t: &str| t.replace('\'', "'\\''").replace(':', "\\:");
    format!("'{}:{}'", clean(word), clean(doc))
}

fn zsh() -> String {
    let mut text = String::from(
        "#compdef qu\n# zsh completion for qu; made by: qu completion zsh\n_qu() {\n    local path_= word i prev=${words[CURRENT-1]}\n    local -a items\n    for ((i = 2; i < CURRENT; i++)); do\n        word=${path_:+$path_ }${words[i]}\n        case $word in\n",
    );
    let quoted: Vec<String> = steps().iter().map(|s| format!("'{s}'")).collect();
    let _ = write!(text, "            {}) path_=$word ;;\n        esac\n    done\n", quoted.join("|"));
    text.push_str("    case \"$path_ $prev\" in\n");
    for command in COMMANDS {
        for flag in command.flags {
            let at = format!("'{} --{}'", command.path.join(" "), flag.name);
            if let Some(words) = takes_word(flag) {
                let _ = writeln!(text, "        {at}) compadd -- {}; return ;;", words.join(" "));
            }
        }
    }
    text.push_str("    esac\n    case $prev in\n");
    for (value, action) in [(Value::File, "_files"), (Value::Directory, "_files -/")] {
        let names: Vec<String> =
            every_flag().iter().filter(|f| f.value == value).map(|f| format!("--{}", f.name)).collect();
        let _ = writeln!(text, "        {}) {action}; return ;;", names.join("|"));
    }
    let free = every_flag().into_iter().filter(|f| matches!(f.value, Value::Text(_)));
    let free: Vec<String> = free.map(|f| format!("--{}", f.name)).collect();
    let _ = write!(text, "        {}) return ;;\n    esac\n    case $path_ in\n", free.join("|"));
    for spot in spots() {
        let mut items: Vec<String> = spot.words.iter().map(|(w, d)| zsh_item(w, d)).collect();
        items.extend(spot.flags.iter().map(|f| zsh_item(&format!("--{}", f.name), f.doc)));
        let files = if spot.file { "; _files" } else { "" };
        let _ = writeln!(text, "        '{}') items=({}){files} ;;", spot.path, items.join(" "));
    }
    text.push_str("    esac\n    _describe 'qu' items\n}\n_qu \"$@\"\n");
    text
}

fn fish_text(doc: &str) -> String {
    format!("'{}'", doc.replace('\\', "\\\\").replace('\'', "\\'"))
}

fn fish() -> String {
    let mut text = String::from(
        "# fish completion for qu; made by: qu completion fish\nfunction __qu_path\n    set -l path\n    for word in (commandline -opc)[2..-1]\n        set -l next (string join -- ' ' $path $word)\n        switch $next\n",
    );
    let quoted: Vec<String> = steps().iter().map(|s| format!("'{s}'")).collect();
    let _ = write!(
        text,
        "            case {}\n                set path (string split ' ' $next)\n        end\n    end\n    string join -- ' ' $path\nend\nfunction __qu_at\n    set -l at (__qu_path)\n    test \"$at\" = \"$argv[1]\"\nend\ncomplete -c qu -f\n",
        quoted.join(" ")
    );
    for spot in spots() {
        let at = format!("complete -c qu -n '__qu_at \"{}\"'", spot.path);
        if spot.file {
            let _ = writeln!(text, "{at} -F");
        }
        for (word, doc) in &spot.words {
            let _ = writeln!(text, "{at} -a {word} -d {}", fish_text(doc));
        }
        for flag in &spot.flags {
            let letter = flag.letter.map_or(String::new(), |c| format!(" -s {c}"));
            let value = match flag.value {
                Value::None | Value::Switch => String::new(),
                Value::Text(_) => " -x".to_owned(),
                Value::File => " -r -F".to_owned(),
                Value::Directory => " -x -a '(__fish_complete_directories)'".to_owned(),
                Value::Word(words) | Value::MaybeWord(words) => format!(" -x -a '{}'", words.join(" ")),
            };
            let _ = writeln!(text, "{at} -l {}{letter}{value} -d {}", flag.name, fish_text(flag.doc));
        }
    }
    text
}

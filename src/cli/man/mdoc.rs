//! Lines of mdoc(7) as words: the macros that stand within a line.
//!
//! Only what a manual of commands needs is known, see [`KNOWN`]; a page that uses another macro
//! fails the tests. A word that is glued to the one before stands in the same [`Words`] entry, so
//! that no line is broken between them.

/// An argument of a macro line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arg {
    /// Without quotes and escapes.
    pub text: String,
    /// Quoted or escaped: never a macro, never a delimiter.
    pub plain: bool,
}

/// Words to be set, in order.
#[derive(Debug, Default)]
pub struct Words {
    /// Each is set in one piece.
    pub list: Vec<String>,
    glue: bool,
}

/// Macros that are known, within lines and as lines.
pub const KNOWN: &[&str] = &[
    "Dd", "Dt", "Os", "Sh", "Ss", "Nd", "Pp", "Bl", "It", "El", "Bd", "Ed", "D1", "Dl", "Rs", "Re", "%A",
    "%B", "%D", "%I", "%J", "%N", "%O", "%R", "%T", "%U", "%V", "Ta", "Nm", "Fl", "Ar", "Op", "Oo", "Oc",
    "Cm", "Ic", "Li", "Pa", "Ev", "Va", "Dv", "Er", "Em", "Sy", "Tn", "An", "Lk", "Mt", "Vt", "Fn", "Fa",
    "Sq", "Dq", "Ql", "Qq", "Pq", "Aq", "Bq", "Brq", "Po", "Pc", "Bo", "Bc", "Xr", "Sx", "Ns", "No", "Pf",
    "Ap",
];

/// Macros that only open a line.
const OF_LINES: &[&str] =
    &["Dd", "Dt", "Os", "Sh", "Ss", "Nd", "Pp", "Bl", "It", "El", "Bd", "Ed", "D1", "Dl", "Rs", "Re", "Ta"];

/// What stands around what these enclose.
const ENCLOSING: &[(&str, &str, &str)] = &[
    ("Op", "[", "]"),
    ("Sq", "'", "'"),
    ("Ql", "'", "'"),
    ("Dq", "\"", "\""),
    ("Qq", "\"", "\""),
    ("Pq", "(", ")"),
    ("Aq", "<", ">"),
    ("Bq", "[", "]"),
    ("Brq", "{", "}"),
];

/// Whether it is a macro, as an argument.
fn is_macro(arg: &Arg) -> bool {
    !arg.plain && KNOWN.contains(&arg.text.as_str()) && !OF_LINES.contains(&arg.text.as_str())
}

fn closes(arg: &Arg) -> bool {
    !arg.plain && matches!(arg.text.as_str(), "." | "," | ";" | ":" | "?" | "!" | ")" | "]")
}

fn opens(arg: &Arg) -> bool {
    !arg.plain && matches!(arg.text.as_str(), "(" | "[")
}

/// Escapes resolved; an escape that is not known stands for what follows it.
pub fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match rest.next() {
            Some('&' | '|' | '^' | ':' | '%') | None => {}
            Some('e') => out.push('\\'),
            Some('~') => out.push(' '),
            Some('f') => drop(rest.next()),
            Some('(') => {
                out.push_str(special(&[rest.next(), rest.next()].into_iter().flatten().collect::<String>()))
            }
            Some(other) => out.push(other),
        }
    }
    out
}

/// `\(em` and the like.
fn special(name: &str) -> &'static str {
    match name {
        "em" | "en" => "-",
        "bu" => "o",
        "aq" | "oq" | "cq" => "'",
        "dq" | "lq" | "rq" => "\"",
        "ge" => ">=",
        "le" => "<=",
        "->" => "->",
        "rs" => "\\",
        _ => "",
    }
}

/// The arguments of a macro line: blanks separate them, double quotes hold them together.
pub fn args(line: &str) -> Vec<Arg> {
    let mut found = Vec::new();
    let mut rest = line.trim_start();
    while !rest.is_empty() {
        let (raw, after, quoted) = match rest.strip_prefix('"') {
            Some(inside) => {
                let (raw, after) = inside.split_once('"').unwrap_or((inside, ""));
                (raw, after, true)
            }
            None => {
                let (raw, after) = rest.split_once([' ', '\t']).unwrap_or((rest, ""));
                (raw, after, false)
            }
        };
        found.push(Arg { text: unescape(raw), plain: quoted || raw.contains("\\&") });
        rest = after.trim_start();
    }
    found
}

impl Words {
    /// Words of running text.
    pub fn text(&mut self, line: &str) {
        for word in line.split_whitespace() {
            self.push(&unescape(word));
        }
    }

    /// One word, or, with blanks in it, several.
    fn push(&mut self, text: &str) {
        for word in text.split(' ') {
            match self.list.last_mut().filter(|_| self.glue) {
                Some(last) => last.push_str(word),
                None => self.list.push(word.to_owned()),
            }
            self.glue = false;
        }
    }

    /// Something that follows without a blank.
    fn attach(&mut self, text: &str) {
        self.glue = !self.list.is_empty();
        self.push(text);
    }

    /// The next word follows without a blank.
    pub fn join(&mut self) {
        self.glue = true;
    }

    /// Everything, for a heading or a tag.
    pub fn line(&self) -> String {
        self.list.join(" ")
    }

    /// A macro line or the rest of one; `name` is the page's.
    pub fn phrase(&mut self, args: &[Arg], name: &str) {
        let (mut rest, mut flag) = (args, false);
        while let Some((arg, after)) = rest.split_first() {
            rest = after;
            if is_macro(arg) {
                flag = arg.text == "Fl";
                rest = self.call(&arg.text, after, name);
            } else if closes(arg) {
                self.attach(&arg.text);
            } else if opens(arg) {
                self.push(&arg.text);
                self.join();
            } else if flag && arg.text != "|" {
                self.push(&format!("-{}", arg.text));
            } else {
                self.push(&arg.text);
            }
        }
    }

    /// A macro within a line; returns what follows and is still to be set.
    fn call<'a>(&mut self, what: &str, rest: &'a [Arg], name: &str) -> &'a [Arg] {
        if let Some((_, open, close)) = ENCLOSING.iter().find(|(m, _, _)| *m == what) {
            let after = rest.iter().rev().take_while(|a| closes(a)).count();
            let (inside, after) = rest.split_at(rest.len() - after);
            self.push(open);
            self.join();
            self.phrase(inside, name);
            self.attach(close);
            return after;
        }
        let alone = rest.first().is_none_or(|next| is_macro(next) || closes(next));
        match what {
            "Nm" if alone => self.push(name),
            "Fl" if alone => self.push("-"),
            "Ar" if alone => self.push("file ..."),
            "Oo" | "Bo" => self.open("["),
            "Po" => self.open("("),
            "Oc" | "Bc" => self.attach("]"),
            "Pc" => self.attach(")"),
            "Ns" => self.join(),
            "Ap" => {
                self.attach("'");
                self.join();
            }
            "Pf" | "Xr" => return self.pair(what, rest),
            _ => {}
        }
        rest
    }

    fn open(&mut self, text: &str) {
        self.push(text);
        self.join();
    }

    /// `Pf (  Fl x`: a prefix; `Xr qu 1`: a page and its section.
    fn pair<'a>(&mut self, what: &str, rest: &'a [Arg]) -> &'a [Arg] {
        match (what, rest) {
            ("Xr", [page, section, rest @ ..]) if !closes(section) => {
                self.push(&format!("{}({})", page.text, section.text));
                rest
            }
            ("Pf", [prefix, rest @ ..]) => {
                self.open(&prefix.text);
                rest
            }
            _ => rest,
        }
    }
}

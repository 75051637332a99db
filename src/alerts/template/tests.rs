use super::*;
use crate::base::rng::Rng;

fn rendered(template: &str) -> String {
    render(template, &Facts::sample(Kind::Down), Escape::Nothing).unwrap()
}

fn refused(template: &str) -> (u32, Option<u32>, String) {
    let e = check(template).unwrap_err();
    (e.line, e.column, e.message)
}

#[test]
fn every_field_of_the_table_exists() {
    let table: Vec<&str> = include_str!("../template.rs")
        .lines()
        .filter_map(|l| l.strip_prefix("//! | "))
        .filter_map(|l| l.split('|').next())
        .flat_map(|l| l.split(','))
        .map(|f| f.trim().trim_matches('`'))
        .filter(|f| !f.is_empty() && *f != "field" && !f.starts_with("---"))
        .collect();
    assert!(table.len() >= 24, "{table:?}");
    for kind in [Kind::Down, Kind::Recovered, Kind::Summary] {
        for field in &table {
            let template = format!("{{{{ {field} }}}}");
            render(&template, &Facts::sample(kind), Escape::Nothing).unwrap_or_else(|e| panic!("{e}"));
        }
    }
    for (field, _) in fields(&Facts::sample(Kind::Down)) {
        assert!(table.contains(&field), "{field} is not in the table");
    }
}

#[test]
fn loops_conditions_and_filters_work_as_in_jinja() {
    assert_eq!(
        rendered("{{ name|upper }}/{{ NONE|default('x') }}/{{ detail|truncate(10) }}"),
        "WEB/x/connect..."
    );
    assert_eq!(
        rendered(
            "{% for r in reports if not r.ok %}{{ loop.index }}:{{ r.node }}{% if not loop.last %};{% endif %}{% endfor %}"
        ),
        "1:alpha.example.com:9901;2:beta.example.com:9901"
    );
    assert_eq!(rendered("{{ reports|join(', ', 'detail')|replace('connection', 'c.')|length }}"), "40");
    assert_eq!(
        rendered("{{ (reports|first).node }} {{ 'yes' if state == 'down' else 'no' }}"),
        "alpha.example.com:9901 yes"
    );
    assert_eq!(
        rendered("{{ ok }}/{{ total }} {{ 'caps'|capitalize }}{{ ' x '|trim }} {{ unix }}"),
        "0/3 Capsx 1778598092"
    );
    assert_eq!(rendered("<b>&{{ target }}"), "<b>&https://www.example.com/");
}

#[test]
fn a_mistake_is_told_with_line_and_column_when_the_template_is_set() {
    assert_eq!(check("fine {{ name }}"), Ok(()));
    let (line, column, message) = refused("one\ntwo {{ nmae }}");
    assert_eq!((line, column), (2, Some(8)), "{message}");
    assert!(message.contains("undefined"), "{message}");
    let (line, column, message) = refused("a\n\n{% if %}x{% endif %}");
    assert_eq!((line, column.is_some()), (3, true), "{message}");
    assert!(message.starts_with("syntax error"), "{message}");
    let (line, _, message) = refused("{{ name|nofilter }}");
    assert!(line == 1 && message.contains("nofilter"), "{message}");
    assert_eq!(refused("é\n{% set x = 1 %}").1, Some(4));
    assert!(refused("{{ name").2.contains("syntax"), "{:?}", refused("{{ name"));
    assert!(refused("{% for x in reports %}").0 == 1);
    assert!(refused(&"x".repeat(LONGEST + 1)).2.contains("at most"));
    let shown = check("a\n{{ x }}").unwrap_err().to_string();
    assert!(shown.starts_with("template:2:4: ") && !shown.contains('\n'), "{shown}");
}

#[test]
fn a_field_that_only_some_messages_use_is_checked_on_all_kinds() {
    assert!(check("{% if kind == 'summary' %}{{ chagnes }}{% endif %}").is_err());
    assert!(check("{% for c in changes %}{{ c.time }}{{ c.oops }}{% endfor %}").is_err());
    assert!(check("{% for c in changes %}{{ c.from }}>{{ c.to }}{% endfor %}").is_ok());
}

#[test]
fn nothing_reaches_outside_or_grows_without_bound() {
    for bad in [
        "{% include 'etc/passwd' %}",
        "{% import 'x' as y %}",
        "{% macro a() %}{% endmacro %}",
        "{{ range(1000000) }}",
        "{{ 'x' * 1000000000 }}",
        "{{ debug() }}",
        "{{ name|replace('', name)|replace('', body)|replace('', body)|replace('', body)|replace('', body) }}",
        "{% for a in body %}{% for b in body %}{% for c in body %}{% endfor %}{% endfor %}{% endfor %}",
        "{% for a in body %}{{ body }}{{ body }}{{ body }}{% endfor %}",
    ] {
        assert!(check(bad).is_err(), "{bad}");
    }
    let slow = refused(
        "{% for a in body %}{% for b in body %}{% for c in body %}{% endfor %}{% endfor %}{% endfor %}",
    );
    assert_eq!(slow.2, "it takes too many steps");
    let long = refused("{% for a in body %}{{ body }}{{ body }}{% endfor %}");
    assert!(long.2.contains("longer than"), "{long:?}");
}

#[test]
fn chat_templates_show_foreign_markup_and_keep_their_own() {
    let mut facts = Facts::sample(Kind::Down);
    "*x* `y`".clone_into(&mut facts.detail);
    let text = render("**{{ detail }}** {{ detail|upper }} {{ ok }}", &facts, Escape::Markdown).unwrap();
    assert_eq!(text, r"**\*x\* \`y\`** \*X\* \`Y\` 0");
    "*web*".clone_into(&mut facts.check_name);
    assert_eq!(render("{{ name == '*web*' }}", &facts, Escape::Markdown).unwrap(), "True");
}

#[test]
fn no_template_panics_whatever_is_in_it() {
    let pieces = [
        "{{",
        "}}",
        "{%",
        "%}",
        "{#",
        "#}",
        " if ",
        " for ",
        " in ",
        "reports",
        "name",
        "'",
        "\"",
        "\\",
        "(",
        ")",
        "|",
        "join",
        "replace",
        "truncate",
        "first",
        ",",
        ".",
        "-",
        "/",
        "//",
        "%",
        "0",
        "9223372036854775807",
        "not ",
        " else ",
        " endif ",
        " endfor ",
        "é",
        "\n",
        "loop",
        ".index",
        "==",
        "<",
        " is ",
        "none",
        "1e308",
        "ok",
        "x",
        "{{ reports|first }}",
        "{% for r in reports %}",
        "{% endfor %}",
        "{{ ok // 0 }}",
        "{{ 1 % 0 }}",
        "{{ -unix }}",
    ];
    let facts = Facts::sample(Kind::Summary);
    let mut rng = Rng::new(0x5eed);
    for _ in 0..5_000 {
        let length = rng.below(14);
        let template: String = (0..length).filter_map(|_| rng.pick(&pieces)).copied().collect();
        // Either answer will do; a panic, a hang or more than the bound will not.
        if let Ok(text) = render(&template, &facts, Escape::Markdown) {
            assert!(text.len() <= ROOM, "{template:?}");
        }
    }
}

#[test]
fn deep_nesting_is_an_error_and_not_the_end_of_the_stack() {
    let facts = Facts::sample(Kind::Down);
    for (open, middle, close) in [
        ("(", "1", ")"),
        ("not ", "ok", ""),
        ("-", "1", ""),
        ("'a' if ok else ", "'b'", ""),
        ("ok and ", "ok", ""),
        ("1 - ", "1", ""),
        ("1 < ", "1", ""),
        ("", "detail", "|trim"),
        ("", "loop", ".x"),
        ("detail|default(", "1", ")"),
        ("{% if ok %}", "", "{% endif %}"),
        ("{% for x in detail %}", "", "{% endfor %}"),
        ("{% if ok %}", "", "{% elif ok %}"),
    ] {
        for times in [LONGEST / (open.len() + close.len()), 90, 45, 30, 20] {
            let inner = format!("{}{middle}{}", open.repeat(times), close.repeat(times));
            let template = if open.starts_with("{%") { inner } else { format!("{{{{ {inner} }}}}") };
            // A thread as small as those that send, and half of that for safety.
            let facts = facts.clone();
            let worker = std::thread::Builder::new().stack_size(1 << 20);
            let rendering = worker.spawn(move || drop(render(&template, &facts, Escape::Nothing))).unwrap();
            rendering.join().unwrap();
        }
    }
}

use super::*;

static ITEM: Shape = Shape::Fields(&[text("id"), text("name"), text("note"), texts("tags")]);
static FILE: Shape = Shape::Fields(&[
    text("title"),
    Field { name: "box", shape: Shape::Fields(&[text("width")]) },
    Field { name: "items", shape: Shape::Items("item", &ITEM) },
]);

fn error_of(text: &str) -> String {
    Document::read("f", text, &FILE).unwrap_err().to_string()
}

#[test]
fn single_values_are_taken_as_they_stand_and_only_an_empty_one_is_nothing() {
    let yaml = "title: 1e3\nitems:\n  - {name: 'null', note: ~, tags: [0x1f, \"\"]}\n  - name: true\n    note: |\n      *a\n      &b\nbox:\n";
    let document = Document::read("f", yaml, &FILE).unwrap();
    let top = document.top();
    assert_eq!(top.text("title"), Some("1e3"));
    assert!(top.part("box").unwrap().fields.is_empty());
    let items = top.items("items", "item");
    assert_eq!(items[0].text("name"), Some("null"));
    assert_eq!(items[0].text("note"), None);
    assert_eq!(items[0].texts("tags").iter().map(|(t, _)| *t).collect::<Vec<_>>(), ["0x1f", ""]);
    assert_eq!(items[1].text("name"), Some("true"));
    assert_eq!(items[1].text("note"), Some("*a\n&b\n"));
}

#[test]
fn what_is_wrong_is_told_with_its_place_and_the_item_it_is_in() {
    for (text, want) in [
        ("", "f:1:1: the file is empty"),
        ("# nothing\n\n", "f:1:1: the file is empty"),
        ("just text\n", "f:1:1: the file must have fields, like \"name: value\""),
        ("- a\n", "f:1:1: the file must have fields, like \"name: value\""),
        (
            "title: a\ntitel: b\n",
            "f:2:1: unknown field \"titel\"; written by a newer qu? upgrade this node, or remove the field",
        ),
        ("title: a\ntitle: b\n", "f:2:1: field \"title\" is there twice; remove one"),
        ("title: [a]\n", "f:1:8: \"title\" must be a single value, not a list or fields"),
        ("box: 5\n", "f:1:6: \"box\" must have fields, like \"name: value\""),
        ("box:\n  width: {}\n", "f:2:10: \"width\" in box must be a single value, not a list or fields"),
        (
            "box:\n  height: 1\n",
            "f:2:3: unknown field \"height\" in box; written by a newer qu? upgrade this node, or remove the field",
        ),
        ("items: {}\n", "f:1:8: \"items\" must be a list; each item begins with a dash"),
        ("items:\n  - a\n", "f:2:5: item number 1 must have fields, like \"name: value\""),
        (
            "items:\n  - name: é\n  - nmae: b\n    name: c d\n",
            "f:3:5: unknown field \"nmae\" in item \"c d\"; written by a newer qu? upgrade this node, or remove the field",
        ),
        ("items:\n  - id: 17\n    tags: x\n", "f:3:11: \"tags\" in item 17 must be a list, like [one, two]"),
        (
            "items:\n  - note: 17\n    tags: [x, [y]]\n",
            "f:3:15: value 2 of \"tags\" in item number 1 must be a single value, not a list or fields",
        ),
        ("? [a]\n: b\n", "f:1:3: a list or mapping stands where a field's name should be"),
        (
            "title: \"a\n",
            "f:2:1: not valid YAML: found unexpected end of stream, while scanning a quoted scalar",
        ),
        (
            "title: a\n\tbox: b\n",
            "f:2:1: not valid YAML: found a tab character that violates indentation, while scanning a plain scalar",
        ),
        ("title: a: b\n", "f:1:9: not valid YAML: mapping values are not allowed in this context"),
        ("title: a\0b\n", "f:1:9: the character \\u{0} is not allowed in YAML; write it as an escape"),
        ("title: a\n---\ntitle: b\n", "f:2:1: a second document begins here; a file holds one"),
        ("title: a\n...\ntitle: b\n", "f:1:1: not valid YAML: more than one document; a file holds one"),
    ] {
        assert_eq!(error_of(text), want, "{text:?}");
    }
}

#[test]
fn aliases_anchors_and_tags_are_refused_by_name_wherever_they_can_stand() {
    let kinds = [
        ("*a", "an alias (*) is not allowed here; write the value out, or quote it"),
        ("&a b", "an anchor (&) is not allowed here; remove it, or quote the value"),
        ("!!str b", "a tag (!) is not allowed here; remove it, or quote the value"),
    ];
    for (bad, why) in kinds {
        for (text, line, column) in [
            (format!("title: {bad}\n"), 1, 8),
            (format!("# c\ntitle:\n  {bad}\n"), 3, 3),
            (format!("items:\n  - name: x\n    tags: [x, {bad}]\n"), 3, 15),
            (format!("items:\n  - {bad}\n"), 2, 5),
            (format!("{{\"title\":{bad}}}\n"), 1, 10),
            (format!("title: |\n  *x\n  &y\nbox: {bad}\n"), 4, 6),
            (format!("title: 'it''s\n  *x'\nbox: {bad}\n"), 3, 6),
            (format!("title: \"\\\"*x\"\nbox: {bad}\n"), 2, 6),
            (format!("--- {bad}\n"), 1, 5),
        ] {
            assert_eq!(error_of(&text), format!("f:{line}:{column}: {why}"), "{text:?}");
        }
    }
}

#[test]
fn stars_and_ampersands_inside_texts_are_no_aliases() {
    for text in [
        "title: http://a/?x=1&y=*2\n",
        "title: a * b & c ! d\n",
        "title: 'x'  # see *a and &b\n",
        "title: \"*a\n  &b\"\n",
        "items:\n  - name: x\n    note: |-\n      * one\n\n      & two\n    tags: ['*', \"&\"]\n",
        "items:\n- name: >\n    * x\n",
        "%YAML 1.1\n---\ntitle: a-*b\n",
        "title: |2\n    * x\n  * y\n",
        "title:\r\n  \"a\"\r\n",
    ] {
        let read = Document::read("f", text, &FILE);
        assert!(read.is_ok(), "{text:?}: {}", read.unwrap_err());
    }
}

#[test]
fn bombs_and_depth_end_in_an_error_soon() {
    let deep = format!("title: {}\n", "[".repeat(200_000));
    assert_eq!(error_of(&deep), "f:1:40: more than 32 lists within each other; that is no configuration");
    let deep = format!("{}a\n", "- ".repeat(200_000));
    assert_eq!(error_of(&deep), "f:1:65: more than 32 lists within each other; that is no configuration");
    let mut steps = String::new();
    for depth in 0..2000 {
        steps.push_str(&" ".repeat(depth));
        steps.push_str("box:\n");
    }
    assert!(error_of(&steps).starts_with("f:2:2: unknown field \"box\" in box;"), "{}", error_of(&steps));
    let large = "#".repeat(LARGEST_FILE + 1);
    assert_eq!(error_of(&large), "f:1:1: larger than 64 MiB; that is no configuration");
}

#[test]
fn aliases_that_the_scanner_overlooks_do_not_multiply() {
    // A plain text that goes on over a line beginning with a quote, which the scanner takes for
    // the beginning of a quoted one.
    let mut text = String::from("title: go\n  \"on\nitems:\n  - &a {note: ");
    text.push_str(&"x".repeat(5000));
    text.push_str("}\n");
    text.push_str(&"  - *a\n".repeat(500));
    assert_eq!(error_of(&text), "f:4:15: values are repeated by aliases (*), which are not allowed here");
}

#[test]
fn places_of_values_are_found_again() {
    let yaml = "title: x\nitems:\n  - name: a\n    note: b\n    tags:\n      - p\n      - q\n";
    let document = Document::read("f", yaml, &FILE).unwrap();
    let items = document.top().items("items", "item");
    assert_eq!(items[0].bad("note", "no").to_string(), "f:4:11: \"note\" in item \"a\": no");
    assert_eq!(items[0].wrong("note", "is odd").to_string(), "f:4:5: \"note\" in item \"a\" is odd");
    assert_eq!(items[0].missing("id").to_string(), "f:3:5: missing field \"id\" in item \"a\"");
    assert_eq!(items[0].texts("tags")[1].1.bad("no").to_string(), "f:7:9: \"tags\" in item \"a\": no");
    assert_eq!(items[0].line(), 3);
}

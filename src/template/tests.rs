use super::*;

fn body(source: &str) -> Result<String, TemplateFault> {
    render(source, Part::Body, &samples()[0], str::to_owned)
}

fn refused(source: &str) -> String {
    check(source, Part::Body).unwrap_err().to_string()
}

#[test]
fn a_template_names_fields_lists_and_numbers() {
    let source = "{{ severity | upper }} {{ rollout }} {{ canary.name }} {{ share }}\n{% for m in metrics if m.verdict != \"ok\" %}{{ m.label }}: {{ m.canary }} against \
                  {{ m.stable }}\n{% endfor %}{% if exposure.errors > 0 %}{{ exposure.errors }} failed{% endif %}\n{{ next | join(\"; \") }}";
    let said = body(source).unwrap();
    assert_eq!(
        said,
        "CRITICAL fraud v2 at 5 %\nerrors: 10.2 % against 0.11 %\n318 failed\nhaldane explain fraud -n ml; haldane retry fraud -n ml"
    );
    assert_eq!(check(source, Part::Body), Ok(()));
}

#[test]
fn a_title_is_one_line() {
    assert_eq!(render("{{ rollout }}\n  {{ headline }}", Part::Title, &samples()[0], str::to_owned).unwrap(), "fraud Rolled back");
}

#[test]
fn a_fault_names_the_line_and_what_is_wrong() {
    for (source, wanted) in [
        ("a\n{{ rolout }}", "line 2: `rolout` is no field of an alert"),
        ("{{ canary.nam }}", "line 1: `canary.nam` is no field of an alert"),
        ("a\nb\n{% if %}", "line 3: syntax error"),
        ("{{ title | shout }}", "line 1: unknown filter"),
        ("{% include \"/etc/passwd\" %}", "line 1: syntax error"),
        ("{{ open(\"/etc/passwd\") }}", "line 1: "),
        ("", "says nothing"),
        ("{% if false %}x{% endif %}", "says nothing"),
    ] {
        let said = refused(source);
        assert!(said.starts_with(wanted), "{source:?}: {said}");
    }
}

#[test]
fn neither_time_nor_memory_nor_text_is_without_a_bound() {
    let doubled = format!("{{% set x = \"aaaaaaaaaa\" %}}{}{{{{ x }}}}", "{% set x = x ~ x %}".repeat(60));
    let replaced = format!("{{% set x = \"aaaaaaaaaa\" %}}{}{{{{ x }}}}", "{% set x = x | replace(\"a\", x) %}".repeat(12));
    let loops = "{% for a in range(10000) %}{% for b in range(10000) %}{% for c in range(10000) %}{% endfor %}{% endfor %}{% endfor %}x";
    for source in [doubled.as_str(), &replaced, loops, "{{ \"x\" * 100000000000 }}"] {
        let said = refused(source);
        assert!(said.contains("costs too much"), "{said}");
    }
    assert_eq!(refused(&"x".repeat(BODY_MAX + 1)), format!("says {} bytes; {BODY_MAX} are the most", BODY_MAX + 1));
    assert!(refused(&"{# #}".repeat(SOURCE_MAX)).starts_with("the template has"));
    assert!(check(&"x".repeat(TITLE_MAX + 1), Part::Title).is_err());
}

#[test]
fn values_are_escaped_and_the_template_is_not() {
    let mut fields = samples()[0].clone();
    fields.by = "<!channel>".into();
    let escape: Escape = |text| text.replace('<', "&lt;");
    assert_eq!(render("<https://x|y> {{ by }} {{ weight }}", Part::Body, &fields, escape).unwrap(), "<https://x|y> &lt;!channel> 5");
    assert_eq!(render("{{ by | upper }}{{ by | safe }}", Part::Body, &fields, escape).unwrap(), "&lt;!CHANNEL>&lt;!channel>");
}

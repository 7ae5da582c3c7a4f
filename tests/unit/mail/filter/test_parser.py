import pytest
from hypothesis import given
from hypothesis import strategies as st

from mail.filter.compiler import compile_filters
from mail.filter.parser import outline, parse
from mail.filter.syntax import Action, All, Any, Branch, Condition, FilterError, Not

PIECES = ["a", "if", "else", "true", "subject", "drop", "(", ")", "{", "}", ":", "!", ";", ",", "==", "<", "not"]
PIECES += ["and", "or", "'x'", '"', "'", "5M", "\n", " ", "#", "é", "\x00", "=", "\\", "header", "b:"]


def faults(text: str) -> list[str]:
    return [str(fault) for fault in parse(text).faults]


def test_shapes() -> None:
    (item,) = parse(
        """# comment
        Tag-1! IF (not header('X-Seen') or rcpt-count > 2K AND true) { log-entry("a;b"); }
        Else if valid { if true { drop(); }; deliver(); }"""
    ).filters
    assert (item.name, item.active, item.position.line) == ("Tag-1", False, 2)
    rule = item.branch.rule
    assert isinstance(rule, Any)
    assert isinstance(rule.rules[0], Not)
    assert isinstance(rule.rules[1], All)
    count = rule.rules[1].rules[0]
    assert isinstance(count, Condition)
    assert (count.name, count.operator, count.value and count.value.content) == ("rcpt-count", ">", 2048)
    (entry,) = item.branch.then
    assert isinstance(entry, Action)
    assert entry.arguments[0].content == "a;b"
    (otherwise,) = item.branch.otherwise
    assert isinstance(otherwise, Branch)
    assert isinstance(otherwise.then[0], Branch)


def test_backslashes() -> None:
    def text(source: str) -> object:
        (item,) = parse(f"a: if subject == {source} {{}}").filters
        rule = item.branch.rule
        assert isinstance(rule, Condition)
        return rule.value and rule.value.content

    assert text(r'"\\.com$"') == r"\.com$"
    assert text(r'"\d+"') == r"\d+"
    assert text(r'"\"q\" it\'s"') == '"q" it\'s'
    assert text("'say \"x\"'") == 'say "x"'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x", "line 1, column 1: expected a filter name and ':', found 'x'"),
        ("x if true {}", "line 1, column 3: expected ':' after the filter name 'x', found 'if'"),
        ("x: if (true { drop(); }", "line 1, column 13: expected ')', found '{'"),
        ("x: if true { drop() }", "line 1, column 21: expected ';', found '}'"),
        (
            'a: if (subject == "b";) {}',
            "line 1, column 22: expected ')' or an operator ('and', 'or'), found ';'",
        ),
        ('a: if subject == "b {}', 'line 1, column 18: this string is not closed: "b {}'),
        ("a: if {}", "line 1, column 7: expected a rule, found '{'"),
        ("a: if true {", "line 1, column 13: expected an action, 'if' or '}', found the end of the text"),
        ("a: if subject = 'x' {}", "found '='"),
    ],
)
def test_faults_say_where_and_what_was_expected(text: str, expected: str) -> None:
    (found,) = faults(text)
    assert expected in found


def test_one_fault_does_not_hide_the_next() -> None:
    found = faults("a: if true { drop() }\nok: if true { drop(); }\nb: if tru e {}\nc: if true {\nd: if true {}\n")
    assert [text.partition(":")[0] for text in found] == [
        "line 1, column 21",
        "line 3, column 11",
        "line 5, column 1",
    ]
    assert "the next filter 'd'" in found[2]


@pytest.mark.parametrize("opening", ["(", "not ", "true { if ", "(not ", "true {} else if "])
def test_nesting_has_a_bound(opening: str) -> None:
    (found,) = faults("x: if " + opening * 5000)
    assert "nested deeper" in found


def refused(text: str) -> FilterError | None:
    try:
        compile_filters(text)
    except FilterError as error:
        return error
    return None


@given(st.lists(st.sampled_from(PIECES), max_size=60).map(" ".join) | st.text(max_size=200))
def test_any_text_compiles_or_is_refused_with_positions_inside_it(text: str) -> None:
    error = refused(text)
    lines = text.split("\n")
    for fault in error.faults if error is not None else ():
        assert 1 <= fault.position.line <= len(lines)
        assert 1 <= fault.position.column <= len(lines[fault.position.line - 1]) + 1


def test_a_deep_but_allowed_rule_compiles() -> None:
    compile_filters("x: if " + "(" * 55 + "true" + ")" * 55 + " { drop(); }")


def test_the_outline_cuts_a_text_at_its_filters_with_the_comments_above() -> None:
    text = "# one\na: if true { drop(); } # still a\n\n# b: if (\nb! if subject == 'c: if' { drop(); }\n# rest"
    found = outline(text)
    assert [(one.name, one.active) for one in found] == [("a", True), ("b", False)]
    assert [text[one.start : one.end] for one in found] == [
        "# one\na: if true { drop(); } # still a\n",
        "\n# b: if (\nb! if subject == 'c: if' { drop(); }\n",
    ]
    assert [text[one.mark] for one in found] == [":", "!"]


@given(st.text(alphabet="ab:!{}()'\"#; \nif", max_size=60))
def test_the_outline_of_any_text_is_in_order_and_within_it(text: str) -> None:
    at = 0
    for one in outline(text):
        assert at == one.start <= one.mark < one.end <= len(text)
        assert text[one.mark] in ":!"
        at = one.end

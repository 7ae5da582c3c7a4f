import pytest

from core.record import Accepted, Decision, Edit, Recipient
from mail.filter.compiler import Around, compile_filters
from mail.filter.syntax import FilterError
from mail.filter.view import ScanSettings, View
from mail.mime import Headers

MESSAGE = (
    b"From: Joe <joe@example.test>\r\n"
    b"Subject: =?utf-8?q?caf=C3=A9_au_lait?=\r\n"
    b"X-List: one\r\nX-List: two\r\n\r\nsecret body\r\n"
)


def view(message: bytes = MESSAGE, *, scan: ScanSettings | None = None, **fields: object) -> View:
    values: dict[str, object] = {
        "mid": 7,
        "icid": 3,
        "received_at": 0.0,
        "sender": "joe@example.test",
        "recipients": [Recipient(0, "a@x.example"), Recipient(1, "B@y.example")],
        "size": len(message),
        "listener": "InboundMail",
        "remote_ip": "192.0.2.9",
        "sender_group": "SUSPECTLIST",
    }
    accepted = Accepted(**{**values, **fields})  # type: ignore[arg-type]
    return View(accepted, Headers(message), lambda: message, scan or ScanSettings())


def run(text: str, target: View | None = None) -> View:
    target = target or view()
    compile_filters(text, around=Around("esa.example.test")).run(target, lambda decision: None)
    return target


def holds(rule: str, target: View | None = None) -> bool:
    return run(f"f: if {rule} {{ drop(); }}", target).final == "drop"


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("body-contains('secret') and rcpt-count > 5", False),
        ("body-contains('secret') or rcpt-count < 5", True),
    ],
)
def test_the_cheap_side_of_a_rule_decides_before_the_content_is_read(rule: str, expected: bool) -> None:
    def content() -> bytes:
        raise AssertionError("read")

    seen = view()
    unread = View(seen.accepted, Headers(MESSAGE), content, ScanSettings())
    assert holds(rule, unread) is expected


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("true", True),
        ("not true", False),
        ("valid", True),
        ("subject == 'café'", True),
        ("subject == '^lait'", False),
        ("subject != 'lait'", False),
        ("mail-from == '@example\\\\.test$'", True),
        ("rcpt-to == '^B@'", True),
        ("rcpt-to == '^b@'", False),
        ("rcpt-to != 'nobody'", True),
        ("remote-ip == '192.0.2.0/24'", True),
        ("remote-ip != '192.0.2.1-9'", False),
        ("recv-listener == 'InboundMail'", True),
        ("recv-listener != 'OutboundMail'", True),
        ("sendergroup == 'SUSPECT'", True),
        ("header('x-list')", True),
        ("header('X-None')", False),
        ("header('X-List') == 'two'", True),
        ("header('X-None') != 'two'", True),
        ("body-size > 10", True),
        ("body-size >= 1K", False),
        ("rcpt-count == 2", True),
        ("rcpt-count != 2", False),
        ("random(5) < 5", True),
        ("random(5) >= 5", False),
        ("body-contains('s.cret')", True),
        ("body-contains('e', 2)", True),
        ("body-contains('e', 3)", False),
        ("attachment-filename == 'exe'", False),
        ("true and not true or true", True),
        ("true and (not true or not true)", False),
        ("TRUE AND Subject == 'lait'", True),
    ],
)
def test_rules(rule: str, expected: bool) -> None:
    assert holds(rule) is expected


def test_an_attachment_is_found_by_its_name_and_by_its_decoded_content() -> None:
    message = (
        b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\nhello\r\n'
        b'--b\r\nContent-Type: application/octet-stream; name="run.exe"\r\n'
        b"Content-Disposition: attachment; filename=run.exe\r\nContent-Transfer-Encoding: base64\r\n\r\n"
        b"YSBoaWRkZW4gdGhpbmc=\r\n--b--\r\n"
    )
    assert holds("attachment-filename == '(?i)\\\\.exe$'", view(message))
    assert holds("body-contains('hidden thing')", view(message))
    assert not holds("body-contains('absent')", view(message))


def test_text_in_another_character_set_is_found() -> None:
    message = b"Content-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: 8bit\r\n\r\ncaf\xe9\r\n"
    assert holds("body-contains('café')", view(message))


def test_unscannable_is_no_match_unless_configured() -> None:
    bomb = b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n' + b"--b\r\n\r\n" * 5000
    plain = view(bomb)
    assert not holds("body-contains('x')", plain)
    assert "part boundaries" in plain.unscannable
    assert holds("body-contains('x')", view(bomb, scan=ScanSettings(unscannable_matches=True)))
    assert not holds("valid", view(bomb))


def test_a_final_action_ends_everything() -> None:
    seen = run("a: if true { log-entry('1'); deliver(); log-entry('2'); } b: if true { drop(); }")
    assert (seen.final, seen.final_by, seen.entries) == ("deliver", "a", ["1"])


def test_else_and_nested_ifs() -> None:
    seen = run(
        "a: if not true { drop(); } else { if subject == 'lait' { log-entry('in'); } else { drop(); }"
        " log-entry('out'); }"
    )
    assert (seen.final, seen.entries) == ("", ["in", "out"])


def test_else_runs_only_when_the_rule_is_false() -> None:
    assert run("a: if true { log-entry('then'); } else { log-entry('else'); }").entries == ["then"]


def test_inactive_filters_do_not_run() -> None:
    assert run("a! if true { drop(); }").final == ""


def test_header_tests_see_the_current_header() -> None:
    seen = run(
        "a: if true { strip-header('X-List'); insert-header('X-New', 'v-$MID'); }"
        "b: if not header('x-list') and header('x-new') == '^v-7$' { drop(); }"
    )
    assert seen.final == "drop"
    assert seen.edits == [Edit("strip", "X-List"), Edit("insert", "X-New", "v-7")]


def test_subject_rule_sees_an_inserted_subject() -> None:
    seen = run("a: if true { insert-header('Subject', 'other'); } b: if subject == '^other$' { drop(); }")
    assert seen.final == "drop"


def test_the_last_filter_to_hold_in_a_quarantine_wins_and_other_quarantines_stay() -> None:
    seen = run(
        "a: if true { quarantine('Policy'); } b: if true { quarantine('Virus'); } "
        "c: if subject == 'lait' { quarantine('Policy'); }"
    )
    assert {name: raised.filter for name, raised in seen.holds.items()} == {"Policy": "c", "Virus": "b"}
    assert seen.holds["Policy"].matched == "lait"


def test_variables_are_filled_in_and_cleaned() -> None:
    message = b"Subject: a\x1bb\r\nX-Y: p\r\n q\r\n\r\n"
    seen = run(
        "f1: if subject == 'b' { log-entry(\"$MID $Subject $EnvelopeFrom $RemoteIP $FilterName $MatchedContent "
        "$RecvListener $Header['x-y'] $Hostname $Reputation $nothing $5\"); }",
        view(message),
    )
    assert seen.entries == [
        "7 a\\x1bb joe@example.test 192.0.2.9 f1 b InboundMail p q esa.example.test None $nothing $5"
    ]


def test_only_filters_that_act_leave_a_record() -> None:
    records: list[Decision] = []
    program = compile_filters("a: if not true { drop(); } b: if subject == 'au' { quarantine('P'); no-op(); }")
    program.run(view(), records.append)
    assert [(item.rule, item.input, item.verdict) for item in records] == [("b", "au", 'quarantine "P"; no-op')]
    program.run(view(), records.append, every=True)
    assert [item.rule for item in records[1:]] == ["a", "b"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("drop: if true {}", "line 1, column 1: 'drop' is a reserved word"),
        ("a: if nope == 'x' {}", "line 1, column 7: there is no rule 'nope'"),
        ("a: if true { nix(); }", "line 1, column 14: there is no action 'nix'"),
        ("a: if subject > 'x' {}", "line 1, column 7: subject is compared with == or !=, found >"),
        ("a: if subject {}", "line 1, column 7: subject needs a comparison"),
        ("a: if subject == 5 {}", "line 1, column 18: the value of subject must be a quoted regular expression"),
        ('a: if subject == "ab\\\\.(?=x)" {}', "line 1, column 24: regular expression: look-ahead"),
        ("a: if body-size > 'x' {}", "line 1, column 19: the value of body-size must be a number"),
        ("a: if true { drop('x'); }", "drop takes no arguments, found 1"),
        ("a: if true { insert-header('a b', 'c'); }", "line 1, column 28: 'a b' is not a header name"),
        ("a: if remote-ip == 'x.y' {}", "line 1, column 20: 'x.y' is not an IP address"),
        ("a: if random(0) < 1 {}", "must be 1 or more"),
        ("a: if body-contains('x', 'y') {}", "line 1, column 26"),
        ("a: if true {}\nA: if true {}", "line 2, column 1: there is already a filter 'A'"),
        ("a: if true { quarantine(''); }", "cannot be the name of a quarantine"),
    ],
)
def test_faults_of_meaning(text: str, expected: str) -> None:
    with pytest.raises(FilterError) as caught:
        compile_filters(text)
    assert expected in str(caught.value)


def test_all_faults_of_a_text_come_at_once_in_order() -> None:
    with pytest.raises(FilterError) as caught:
        compile_filters("a: if nope { drop(1); }\nb: if true { \nc: if subject == '(' {}")
    assert [fault.position.line for fault in caught.value.faults] == [1, 1, 3, 3]


def test_actions_name_only_what_the_machine_has() -> None:
    around = Around(interfaces={"out1"}, bounce_profiles={"default"})
    compile_filters("a: if true { alt-src-host('Out1'); bounce-profile('DEFAULT'); }", around=around)
    with pytest.raises(FilterError) as caught:
        compile_filters("a: if true { alt-src-host('Out2'); bounce-profile('short'); }", around=around)
    assert [fault.reason for fault in caught.value.faults] == [
        "there is no interface or group 'Out2'",
        "there is no bounce profile 'short'",
    ]

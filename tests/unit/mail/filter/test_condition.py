"""`mail.filter.condition`: the filter language asked about recipients in the queue."""

from collections.abc import Iterator

import pytest

from core.record import Accepted, Recipient
from mail.filter.condition import Queued, QueuedView, compile_condition
from mail.filter.syntax import FilterError

CONTENT = b"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nX-Flag: yes\r\n\r\nthe secret word\r\n"


class Reader:
    """Gives content and counts how often it was read."""

    def __init__(self) -> None:
        self.reads = 0

    def __call__(self) -> Iterator[bytes]:
        self.reads += 1
        yield CONTENT


def asked(text: str, reader: Reader | None = None, rid: int = 0) -> bool:
    recipients = [Recipient(0, "bob@there.test"), Recipient(1, "eve@there.test")]
    accepted = Accepted(7, 1, 0.0, "ann@here.test", recipients, len(CONTENT))
    view = QueuedView(accepted, reader or Reader())
    view.turn(Queued(recipients[rid], 3600.5, 3, "451 4.7.1 greylisted", "there.test"))
    return compile_condition(text)(view)


@pytest.mark.parametrize(
    "text",
    [
        "true",
        "mail-from == '@here\\.test$' and rcpt-to == '^bob@'",
        "age >= 3600",
        "attempts == 3 and not (attempts > 3)",
        "last-reply == '4\\.7\\.1'",
        "destination == '^there\\.test$'",
        "rcpt-count == 2",
        "body-size < 1K",
        "subject == 'Gr.*e$'",
        "header('X-Flag') == 'yes'",
        "body-contains('secret')",
    ],
)
def test_what_the_queue_and_the_message_say_can_be_asked(text: str) -> None:
    assert asked(text)
    assert not asked(f"not ({text})")


def test_the_recipient_in_question_counts_not_its_siblings() -> None:
    assert asked("rcpt-to == 'eve'", rid=1)
    assert not asked("rcpt-to == 'eve'", rid=0)


def test_content_is_read_only_for_rules_that_need_it() -> None:
    reader = Reader()
    asked("age > 1 and mail-from == 'ann'", reader)
    assert reader.reads == 0
    asked("subject == 'Gr'", reader)
    assert reader.reads == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("colour == 'red'", "line 1, column 1: there is no rule 'colour'"),
        ("age > 'old'", "line 1, column 7: the value of age must be a number, found 'old'"),
        ("subject ==", "line 1, column 11: expected a quoted string or a number, found ')'"),
        ("true) { drop(); } x: if (true", "line 1, column 1: one rule is wanted, without actions"),
        ("true) { drop(); } if (true", "column"),
        ("x" * 5000, "longer than 4000 characters"),
    ],
)
def test_a_text_that_is_no_rule_is_refused_with_its_place(text: str, said: str) -> None:
    with pytest.raises(FilterError) as caught:
        compile_condition(text)
    assert said in str(caught.value)


def test_a_filter_file_has_no_rules_about_the_queue() -> None:
    from mail.filter.compiler import compile_filters

    with pytest.raises(FilterError, match="there is no rule 'attempts'"):
        compile_filters("late: if (attempts > 3) { drop(); }")


@pytest.mark.parametrize(
    "text",
    [
        "header('X-Flag') == 'y'",
        "age > 1 and not (body-contains('s'))",
        "attachment-filename == 'x'",
        "valid",
        "header('a')",
    ],
)
def test_who_may_not_see_content_could_ask_about_it(text: str) -> None:
    with pytest.raises(FilterError) as caught:
        compile_condition(text, content=False)
    assert "asks about content" in str(caught.value.faults[0])
    compile_condition(text)


def test_what_lists_show_may_be_asked_without_content() -> None:
    compile_condition("subject == 'a' and mail-from == 'b' and body-size > 1 and age > 1", content=False)

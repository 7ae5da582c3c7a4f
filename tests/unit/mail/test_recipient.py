"""`mail.recipient`: whether a recipient is taken, by the tables of a listener."""

import pytest

from mail.access import build_access
from mail.config import ListenerSection, RatSection
from mail.recipient import judge
from protocol.address import parse_path

ACCESS = build_access(
    ListenerSection(
        name="In", rat=(RatSection(recipient="joe@example.test", rule="REJECT"), RatSection(recipient="example.test"))
    )
)


@pytest.mark.parametrize("address", ["joe@example.test", '"joe"@example.test', '"J\\oe"@example.test'])
def test_a_quoted_name_went_past_the_row_that_refuses_it(address: str) -> None:
    """RFC 5321 4.1.2: quotes do not make another mailbox."""
    refusal, _ = judge(parse_path(f"<{address}>".encode()), ACCESS, "esa.test", relay=False)
    assert refusal is not None
    assert refusal.code == 550


def test_other_recipients_of_the_domain_are_taken() -> None:
    assert judge(parse_path(b'<"ann b"@example.test>'), ACCESS, "esa.test", relay=False) == (None, False)

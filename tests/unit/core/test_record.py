"""`core.record`: documents that were damaged where they are stored."""

import msgspec
import pytest

from core.record import Accepted, Outcome, Recipient, decode_accepted, decode_outcome, encode

ACCEPTED = encode(Accepted(7, 1, 0.0, "a@x.test", [Recipient(0, "b@y.test")], 5))
OUTCOME = encode(Outcome(7, "deliver", reason="sent on"))


def test_documents_come_back() -> None:
    assert decode_accepted(ACCEPTED).sender == "a@x.test"
    assert decode_outcome(OUTCOME).reason == "sent on"


def test_text_that_is_no_utf8_is_a_damaged_document_like_any_other() -> None:
    """It was a UnicodeDecodeError, which went past everybody who looks for damage: listings and deliveries broke."""
    with pytest.raises(msgspec.DecodeError):
        decode_accepted(ACCEPTED.replace(b"a@x.test", b"a@\xff.test"))
    with pytest.raises(msgspec.DecodeError):
        decode_outcome(OUTCOME.replace(b"sent on", b"sent \xff\xfe"))

import pytest

from core.record import Recipient
from mail.envelope import Envelope, envelope_of, tls_demand
from mail.mime import Headers


def test_parameters_are_kept_in_the_records_form() -> None:
    envelope = envelope_of(
        7, "a@x.example", {"BODY": "binarymime", "SMTPUTF8": None, "RET": "hdrs", "ENVID": "QQ+2B1", "REQUIRETLS": None}
    )
    assert (envelope.body, envelope.utf8, envelope.ret, envelope.envid) == ("BINARYMIME", True, "HDRS", "QQ+2B1")
    assert envelope.add("b@x.example", {"NOTIFY": "success,Failure", "ORCPT": "rfc822;b@x.example"}) == 0
    assert envelope.add("c@x.example", {}) == 1
    assert envelope.recipients == [
        Recipient(0, "b@x.example", notify="SUCCESS,FAILURE", orcpt="rfc822;b@x.example"),
        Recipient(1, "c@x.example"),
    ]


def test_a_recipient_that_is_in_already_keeps_its_first_parameters() -> None:
    envelope = Envelope(1, "")
    envelope.add("b@x.example", {"NOTIFY": "NEVER"})
    assert envelope.add("b@x.example", {"NOTIFY": "SUCCESS"}) is None
    assert [one.notify for one in envelope.recipients] == ["NEVER"]


@pytest.mark.parametrize(
    ("header", "parameter", "demand"),
    [
        (b"TLS-Required: No\r\n\r\n", False, "no"),
        (b"tls-required:no\r\n\r\n", False, "no"),
        (b"TLS-Required: Yes\r\n\r\n", False, ""),
        (b"TLS-Required: No\r\nTLS-Required: No\r\n\r\n", False, ""),
        (b"Subject: TLS-Required: No\r\n\r\n", False, ""),
        (b"TLS-Required: No\r\n\r\n", True, "yes"),
    ],
)
def test_what_a_message_says_of_tls_on_its_way(header: bytes, parameter: bool, demand: str) -> None:
    assert tls_demand(Envelope(1, "", require_tls=parameter), Headers(header)) == demand

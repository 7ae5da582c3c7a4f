"""The envelope of one transaction as the session builds it: sender, recipients and what their parameters ask for.

Made at MAIL by `mail/receive.py`, which turns it into the `Accepted` record when the content is there. The
parameters come checked from the protocol. Judges nobody; raises nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from core.record import Recipient
from mail.mime import Headers

Parameters = Mapping[str, str | None]


@dataclass(slots=True)
class Envelope:
    """One transaction; MID 0 stands for none."""

    mid: int
    sender: str
    body: str = "7BIT"
    seven_bit: bool = False
    """Whether MAIL said so in as many words."""
    utf8: bool = False
    ret: str = ""
    envid: str = ""
    require_tls: bool = False
    invalid_bounce: bool = False
    """Whether a recipient failed bounce verification, and was taken all the same."""
    recipients: list[Recipient] = field(default_factory=list)
    _seen: set[str] = field(default_factory=set)

    def add(self, address: str, parameters: Parameters) -> int | None:
        """Add a recipient and give its RID; None if it is in already, whose first parameters stay."""
        if address in self._seen:
            return None
        self._seen.add(address)
        rid = len(self.recipients)
        if parameters:
            notify, orcpt = parameters.get("NOTIFY") or "", parameters.get("ORCPT") or ""
            self.recipients.append(Recipient(rid, address, notify=notify.upper(), orcpt=orcpt))
        else:
            self.recipients.append(Recipient(rid, address))
        return rid


NO_ENVELOPE: Final = Envelope(0, "")


def envelope_of(mid: int, sender: str, parameters: Parameters) -> Envelope:
    """Start the envelope that MAIL asks for."""
    envelope = Envelope(mid, sender)
    for key, value in parameters.items():
        if key != "SIZE":  # by far the most frequent, and the protocol's own
            _note(envelope, key, value or "")
    return envelope


def _note(envelope: Envelope, key: str, value: str) -> None:
    if key == "BODY":
        envelope.body = value.upper()
        envelope.seven_bit = envelope.body == "7BIT"
    elif key == "SMTPUTF8":
        envelope.utf8 = True
    elif key == "RET":
        envelope.ret = value.upper()
    elif key == "ENVID":
        envelope.envid = value
    elif key == "REQUIRETLS":
        envelope.require_tls = True


def tls_demand(envelope: Envelope, headers: Headers) -> str:
    """Give what the message says of TLS on its way: `yes`, `no` or ''; the parameter outranks the header field.

    RFC 8689 3 and 5: only `TLS-Required: No`, and only once, says no.
    """
    if envelope.require_tls:
        return "yes"
    asked = headers.values(b"tls-required")
    return "no" if len(asked) == 1 and asked[0].lower() == b"no" else ""

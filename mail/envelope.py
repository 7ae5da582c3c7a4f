"""The envelope of one transaction as the session builds it: sender, recipients and what their parameters ask for.

Made at MAIL by `mail/receive.py`, which turns it into the `Accepted` record when the content is there. The
parameters come checked from the protocol. Judges nobody; raises nothing.
"""

from collections.abc import Mapping, Sequence
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
    original_sender: str = ""
    """Where masquerading changed the sender, else empty."""
    asked: int = 0
    """Recipients that RCPT named, each once."""
    discarded: int = 0
    """Those of them that an alias sends to /dev/null."""
    _seen: set[str] = field(default_factory=set)

    def add(self, address: str, parameters: Parameters, original: str = "") -> int | None:
        """Add a recipient and give its RID; None if it is in already, whose first parameters stay.

        `original` is the address that the client gave, where a table changed it.
        """
        if address in self._seen:
            return None
        self._seen.add(address)
        self.asked += 1
        rid = len(self.recipients)
        if parameters:
            notify, orcpt = parameters.get("NOTIFY") or "", parameters.get("ORCPT") or ""
            self.recipients.append(Recipient(rid, address, original, notify.upper(), orcpt))
        else:
            self.recipients.append(Recipient(rid, address, original))
        return rid

    def expand(self, addresses: Sequence[str], original: str, parameters: Parameters) -> int | None:
        """Add what an alias stands for and give the first RID; None if all are in already.

        RFC 3461 5.2.7.3: of several only one goes on with NOTIFY=SUCCESS.
        """
        asked, first = self.asked, None
        for address in addresses:
            rid = self.add(address, parameters, original)
            if first is None and rid is not None:
                first = rid
                parameters = _for_further(parameters)
        self.asked = asked + (first is not None)
        return first

    def discard(self, address: str) -> bool:
        """Take a recipient that nothing is delivered to; false if it is known already."""
        mark = f"/dev/null {address}"
        if mark in self._seen:
            return False
        self._seen.add(mark)
        self.asked += 1
        self.discarded += 1
        return True


def _for_further(parameters: Parameters) -> Parameters:
    words = (parameters.get("NOTIFY") or "").upper().split(",")
    if "SUCCESS" not in words:
        return parameters
    return {**parameters, "NOTIFY": ",".join(word for word in words if word != "SUCCESS") or "NEVER"}


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

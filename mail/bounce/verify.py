"""Bounce verification at a listener: whether the recipient of a bounce carries a valid tag, and taking tags off.

The session asks at RCPT (`mail/receive.py`). A bounce has the null sender; its recipient must be an address that mail
went out with. Other mail may answer such an address, too: a genuine tag is taken off, whatever its age. Pure.
"""

from dataclasses import dataclass
from typing import Literal

from mail.bounce.tag import Tags, read_tag
from protocol.address import AddressError, Path, parse_path


@dataclass(frozen=True, slots=True)
class Verification:
    """What a listener does."""

    tags: Tags
    mode: Literal["off", "reject", "header"]
    untagged_valid: bool = False
    mark: bytes = b""
    """The header line of a bounce that is taken all the same, ending in CRLF."""

    def judge(self, recipient: Path, *, bounce: bool) -> tuple[Path, bool]:
        """Give the recipient without its tag, and whether the mail may come in as it is.

        Postmaster is asked by hosts that check senders, and needs no tag.
        """
        checked = bounce and self.mode != "off"
        tagged = read_tag(recipient.text)
        if tagged is None:
            genuine = self.untagged_valid or recipient.local.lower() == "postmaster"
            return recipient, genuine or not checked
        if self.tags.valid(tagged, bounce=checked):
            return _path(tagged.address, recipient), True
        return recipient, not checked


def _path(address: str, instead: Path) -> Path:
    try:
        return parse_path(f"<{address}>".encode(), smtputf8=True)
    except AddressError:
        return instead

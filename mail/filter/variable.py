"""Action variables: `$MID`, `$Subject`, `$Header['x']` … in the texts of insert-header and log-entry.

A text is cut once when the filters are loaded and filled in for each message it is used on. What a peer sent comes
out cleaned: no line ends, no control characters. A `$word` that is no variable stays as it stands.
"""

import re
import time
from collections.abc import Callable
from typing import TypeAlias

from core.maillog import clean
from mail.filter.view import View
from mail.mime import decode_words

Piece: TypeAlias = Callable[[View], str]
_VARIABLE = re.compile(r"\$(?:Header\[(?:'([!-9;-~]+?)'|\"([!-9;-~]+?)\")\]|([A-Za-z_]+))")
_MAX_TEXT = 4000


def _stamp(form: str, utc: bool) -> Piece:
    def piece(_view: View) -> str:
        now = time.time()
        return time.strftime(form, time.gmtime(now) if utc else time.localtime(now))

    return piece


def _recipients(view: View) -> str:
    return ", ".join(recipient.address for recipient in view.accepted.recipients)


def _filenames(view: View) -> str:
    return ", ".join(part.filename for part in view.parts().leaves if part.filename)


_PIECES: dict[str, Piece] = {
    "bodysize": lambda view: str(view.accepted.size),
    "date": _stamp("%m/%d/%Y", utc=False),
    "time": _stamp("%H:%M:%S", utc=False),
    "timestamp": _stamp("%a, %d %b %Y %H:%M:%S %z", utc=False),
    "gmttimestamp": _stamp("%a, %d %b %Y %H:%M:%S +0000", utc=True),
    "envelopefrom": lambda view: view.accepted.sender,
    "enveloperecipients": _recipients,
    "filenames": _filenames,
    "filtername": lambda view: view.filter,
    "group": lambda view: view.accepted.sender_group,
    "matchedcontent": lambda view: view.matched_text(),
    "mid": lambda view: str(view.accepted.mid),
    "policy": lambda view: view.accepted.policy or ">Unknown<",
    "recvint": lambda view: view.accepted.listener,
    "recvlistener": lambda view: view.accepted.listener,
    "remoteip": lambda view: view.accepted.remote_ip,
    "remotehost": lambda view: view.accepted.remote_host or "unknown",
    "reputation": lambda _view: "None",
    "subject": lambda view: decode_words(view.subject()),
}


def _header(name: str) -> Piece:
    key = name.lower().encode()
    return lambda view: ", ".join(decode_words(value) for value in view.header(key))


class Template:
    """A text with variables, cut into its pieces."""

    __slots__ = ("_pieces", "_plain")

    def __init__(self, text: str, hostname: str) -> None:
        self._plain = clean(text, _MAX_TEXT)
        self._pieces: list[Piece | str] = []
        at = 0
        for match in _VARIABLE.finditer(text):
            piece = self._piece(match, hostname)
            if piece is not None:
                self._pieces += [text[at : match.start()], piece]
                at = match.end()
        if self._pieces:
            self._pieces.append(text[at:])

    @staticmethod
    def _piece(match: re.Match[str], hostname: str) -> Piece | str | None:
        name = match[1] or match[2]
        if name:
            return _header(name)
        word = match[3].lower()
        return hostname if word == "hostname" else _PIECES.get(word)

    def expand(self, view: View) -> str:
        """Fill in the variables for one message."""
        if not self._pieces:
            return self._plain
        text = "".join(piece if isinstance(piece, str) else piece(view) for piece in self._pieces)
        return clean(text, _MAX_TEXT)

"""Following another session's screen until it ends or the watcher breaks off, over a daemon's control socket.

Shared by `techsupport watch` and by `watch` of the bastion. The daemon answers when there is something to see, and
after some seconds anyway, with frames in base64 and a token under which it is asked on. Whatever ends the watching, the
watcher's terminal is put back.
"""

import base64
import binascii
import codecs
from typing import Any

from core.drawing import END, Drawing
from core.errors import EX_SOFTWARE, GatepostError
from ops.cli.registry import Call, Document

_ANSWER_S = 30.0


async def follow(call: Call, daemon: str, verb: str, id_: str) -> Document:
    """Draw a session's screen as it is and then what comes; gives its id and how it ended."""
    drawing, decoder, token = Drawing(), codecs.getincrementaldecoder("utf-8")("replace"), None
    try:
        while True:
            found = await call.appliance.ask(daemon, verb, _ANSWER_S, id=id_, watch=token, by=str(call.caller))
            token = found["watch"]
            for kind, data in found["frames"]:
                if kind == "o":
                    text = decoder.decode(_octets(daemon, data))
                    call.draw(drawing.for_terminal(text).replace("\r\n", "\n") if call.width else drawing.plain(text))
            if found["ended"]:
                return {"id": found.get("id") or id_, "ended": found["ended"]}
    finally:
        if call.width and token is not None:
            call.draw(f"{END}\n")


def _octets(daemon: str, data: Any) -> bytes:
    try:
        return base64.b64decode(str(data), validate=True)
    except binascii.Error:
        raise GatepostError(f"{daemon} sent a frame that cannot be read", EX_SOFTWARE) from None

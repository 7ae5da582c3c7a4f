"""What the first bytes on a port, or their absence, say about the road to the bastion.

A pure table, used by `dial.py`; shown to the administrator by `techsupport status`.
"""

from dataclasses import dataclass

OUR_BANNER = b"SSH-2.0-Gatepost"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of one attempt on one address and port."""

    name: str
    """`ours` if the banner is ours (which the host key still has to prove), else what is in the way."""
    advice: str
    stage: str = "banner"
    """How far the attempt came: name, tcp, banner, key exchange, login, forward."""


OURS = Verdict("ours", "")
TIMEOUT = Verdict("time-out", "the port does not answer: a firewall drops it; choose another port", "tcp")
REFUSED = Verdict("refused", "the port is closed on the way or at the bastion; choose another port", "tcp")
RESET = Verdict("reset", "the connection was reset before a banner: a firewall looks inside; choose another port")
CLOSED = Verdict("closed", "the bastion closed the connection at once: it is busy, or something on the way did it")
SILENT = Verdict("silent", "nothing was said for seconds: a proxy waits for us; choose another port")
KEY_CHANGED = Verdict(
    "host-key",
    "the host key is not ours: SSH inspection on the path, or not the bastion; ask for an exception from decryption",
    "key exchange",
)
LOGIN_REFUSED = Verdict("login", "the bastion does not know this appliance's key; enroll it again", "login")
NAME_REFUSED = Verdict("forward", "the bastion did not let this appliance take its name", "forward")
BROKEN = Verdict("broken", "the SSH handshake broke off: a firewall looks inside; choose another port", "key exchange")
_FOREIGN_SSH = Verdict("foreign-ssh", "another SSH server answers: this port is redirected on the way")
_SMTP = Verdict("smtp", "a mail server or ESMTP inspection answers: choose another port, or exempt this host from it")
_HTTP = Verdict("http", "a web proxy answers: choose another port, or exempt this host from it")
_TLS = Verdict("tls", "a TLS middlebox answers: exempt this host from TLS inspection")
_UNKNOWN = Verdict("unknown", "something that is not SSH answers: choose another port")

_PREFIXES: tuple[tuple[bytes, Verdict], ...] = (
    (OUR_BANNER, OURS),
    (b"SSH-", _FOREIGN_SSH),
    (b"220", _SMTP),
    (b"421", _SMTP),
    (b"554", _SMTP),
    (b"***", _SMTP),
    (b"HTTP/", _HTTP),
    (b"<", _HTTP),
    (b"\x15\x03", _TLS),
    (b"\x16\x03", _TLS),
)


def of_banner(first: bytes) -> Verdict:
    """Name who speaks, by what was said first; nothing at all means that the connection was closed."""
    if not first:
        return CLOSED
    for prefix, verdict in _PREFIXES:
        if first.startswith(prefix):
            return verdict
    return _UNKNOWN

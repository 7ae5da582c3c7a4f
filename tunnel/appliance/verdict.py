"""What the first bytes on a port, or their absence, say about the road to the bastion.

A pure table, used by all that dials; `techsupport status` and `techsupport probe` show it. The stage says how far an
attempt came; which verdict belongs to which culprit is in docs/remote-access.md.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum

OUR_BANNER = b"SSH-2.0-Gatepost"


class Stage(StrEnum):
    """How far an attempt came."""

    NAME = "name"
    PROXY = "proxy"
    TCP = "tcp"
    TLS = "tls"
    BANNER = "banner"
    KEX = "kex"
    AUTH = "auth"
    REGISTER = "register"
    FORWARD = "forward"


class Way(StrEnum):
    """How SSH was carried."""

    SSH = "ssh"
    TLS = "tls"
    PROXY = "proxy"
    PROXY_TLS = "proxy-tls"

    @property
    def in_tls(self) -> bool:
        """Whether SSH runs inside TLS."""
        return self in (Way.TLS, Way.PROXY_TLS)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of one attempt on one address and port."""

    name: str
    """`ours` if the banner is ours (which the host key still has to prove), else what is in the way."""
    advice: str
    stage: str = Stage.BANNER

    def at(self, stage: str) -> "Verdict":
        """Give the same verdict at another stage."""
        return replace(self, stage=stage)

    @property
    def suggests_inspection(self) -> bool:
        """Whether something on the way looks into the connection, so that TLS round it may help."""
        return self is not OURS and self.stage in (Stage.BANNER, Stage.KEX)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt on one address and port."""

    address: str
    port: int
    verdict: Verdict
    took_s: float
    at: float
    way: Way = Way.SSH
    detail: str = ""
    """What was seen, where that says more than the verdict: a fingerprint, a reply."""

    def shown(self) -> dict[str, object]:
        """Give it as `--json` shows it."""
        return {
            "address": self.address,
            "port": self.port,
            "way": self.way.value,
            "verdict": self.verdict.name,
            "stage": str(self.verdict.stage),
            "advice": self.verdict.advice,
            "detail": self.detail,
            "took_ms": round(self.took_s * 1000),
            "at": self.at,
        }


Note = Callable[[Attempt], None]

OURS = Verdict("ours", "")
LATE = Verdict("late", "answers only after we have spoken: a protocol-aware firewall or proxy is on the way")
TIMEOUT = Verdict("time-out", "the port does not answer: a firewall drops it; choose another port", Stage.TCP)
UNANSWERED = Verdict("time-out", "connected, and nothing was said while another port answered; choose another port")
REFUSED = Verdict("refused", "the port is closed on the way or at the bastion; choose another port", Stage.TCP)
NO_ROUTE = Verdict("no-route", "this network has no way to the bastion; check routes and gateway", Stage.TCP)
RESET = Verdict("reset", "the connection was reset: a firewall looks inside; choose another port")
CLOSED = Verdict("closed", "the bastion closed the connection at once: it is busy, or something on the way did it")
SILENT = Verdict("silent", "nothing is said even after we spoke: a protocol-aware firewall; choose another port")
SLOW = Verdict("slow", "the banner did not come whole in time: a very slow line, or something that holds us up")
KEY_CHANGED = Verdict(
    "host-key",
    "the host key is not ours: SSH inspection on the path, or not the bastion; ask for an exception from decryption, "
    "or use port 443 with TLS",
    Stage.KEX,
)
LOGIN_REFUSED = Verdict("login", "the bastion does not know this appliance's key; enroll it again", Stage.AUTH)
NAME_REFUSED = Verdict("forward", "the bastion did not let this appliance take its name; ask support", Stage.FORWARD)
FROZEN = Verdict(
    "frozen",
    "the bastion has frozen this serial number: an older state of this machine, a clone or a restored snapshot, has "
    "been seen; ask support to look and to thaw it",
    Stage.REGISTER,
)
UNREGISTERED = Verdict("register", "the bastion did not take the registration; ask support", Stage.REGISTER)
NO_CONTROL = Verdict(
    "no-control",
    "the bastion knows no control channel: a plain SSH server is taken only with tunnel.registration = optional",
    Stage.REGISTER,
)
BUSY = Verdict("busy", "the bastion is busy; this appliance comes back when it was asked to", Stage.KEX)
BROKEN = Verdict("broken", "the SSH handshake broke off: a firewall looks inside; choose another port", Stage.KEX)
TLS_FOREIGN = Verdict(
    "tls-certificate",
    "the TLS certificate is not of the authorities in tunnel.tls_ca: TLS inspection on the path, or another "
    "certificate at the bastion; exempt the bastion, or empty tunnel.tls_ca: the host key decides in any case",
    Stage.TLS,
)
NO_TLS = Verdict("no-tls", "TLS is not spoken there; choose another port", Stage.TLS)
PROXY_DOWN = Verdict("proxy-down", "the proxy does not answer; check tunnel.proxy", Stage.PROXY)
PROXY_REFUSED = Verdict("proxy-refused", "the proxy does not connect to this port; have it allowed there", Stage.PROXY)
PROXY_LOGIN = Verdict("proxy-login", "the proxy wants other credentials; check tunnel.proxy_credentials", Stage.PROXY)
PROXY_FOREIGN = Verdict("no-proxy", "what answers there is no such proxy; check tunnel.proxy", Stage.PROXY)
FOREIGN_SSH = Verdict("foreign-ssh", "another SSH server answers: this port is redirected on the way")
_SMTP = Verdict("smtp", "a mail server or ESMTP inspection answers: choose another port, or exempt this host from it")
_HTTP = Verdict("http", "a web proxy answers: choose another port, set tunnel.proxy, or exempt this host from it")
MIDDLEBOX = Verdict("tls", "a TLS middlebox answers: exempt this host from TLS inspection")
_UNKNOWN = Verdict("unknown", "something that is not SSH answers: choose another port")

_PREFIXES: tuple[tuple[bytes, Verdict], ...] = (
    (OUR_BANNER, OURS),
    (b"SSH-", FOREIGN_SSH),
    (b"220", _SMTP),
    (b"421", _SMTP),
    (b"554", _SMTP),
    (b"***", _SMTP),
    (b"HTTP/", _HTTP),
    (b"<", _HTTP),
    (b"\x15\x03", MIDDLEBOX),
    (b"\x16\x03", MIDDLEBOX),
)


def of_banner(first: bytes) -> Verdict:
    """Name who speaks, by what was said first; nothing at all means that the connection was closed."""
    if not first:
        return CLOSED
    if OUR_BANNER.startswith(first) or (first.startswith(OUR_BANNER) and b"\n" not in first):
        return SLOW
    for prefix, verdict in _PREFIXES:
        if first.startswith(prefix):
            return verdict
    return _UNKNOWN


def printable(first: bytes, limit: int = 80) -> str:
    """Give what was said first as it may be shown: one line, nothing that a terminal would obey."""
    line = first.split(b"\n", 1)[0].strip()[:limit]
    return "".join(chr(octet) if 32 <= octet < 127 else f"\\x{octet:02x}" for octet in line)

"""The log-in of a receiving session: what its peer is offered, and who it has proven to be.

`mail/receive.py` derives its session from `LoginSide`. Knows the policy of the peer's group, no envelope. Logs nothing
of its own; raises nothing.
"""

from typing import Final

from core.smtp.session import Challenge, Later
from mail.hat import Policy
from mail.login.attempt import Login, Logins
from protocol.reply import Reply

NOT_OFFERED: Final = Reply(502, "5.5.1", "Command not implemented")
LOG_IN_FIRST: Final = Reply(530, "5.7.0", "#5.7.0 Authentication required")
_WITHHELD: Final = {
    (True, True): frozenset[str](),
    (True, False): frozenset({"STARTTLS"}),
    (False, True): frozenset({"AUTH"}),
    (False, False): frozenset({"AUTH", "STARTTLS"}),
}
"""By whether log-in and TLS are offered; one object each, so that the answer to EHLO is looked up quickly."""


class LoginSide:
    """What a session knows of log-in."""

    __slots__ = ("_login", "_tls_offered")

    def __init__(self) -> None:
        self._login: Login | None = None
        self._tls_offered = True

    def _offer_login(self, logins: Logins | None, policy: Policy, icid: int, ip: str) -> None:
        """Learn what the peer's group may do."""
        self._tls_offered = policy.tls != "off"
        if logins is not None and policy.auth != "off":
            self._login = Login(logins, icid, ip)

    @property
    def withheld(self) -> frozenset[str]:
        """Keep AUTH and STARTTLS from groups whose policy has them off."""
        return _WITHHELD[self._login is not None, self._tls_offered]

    def login(self, mechanism: str, initial: bytes | None) -> Reply | Later | Challenge:
        """Begin a log-in."""
        return NOT_OFFERED if self._login is None else self._login.start(mechanism, initial)

    def login_response(self, response: bytes | None) -> Reply | Later | Challenge:
        """Go on with it, or forget it."""
        return NOT_OFFERED if self._login is None else self._login.respond(response)

"""What an engineer may do on which appliance now: certificate, entry in the store, case, grant, roles.

Asked at the login, before each channel and every few seconds for what is open, so that a closed case, a disabled
engineer or a grant that has run out ends what it had allowed. Also gets the certificates with which the bastion enters
an appliance in the engineer's name. Raises GatepostError (77) with a line for the engineer; knows no SSH connection.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from core import clock
from core.errors import EX_NOPERM, GatepostError
from tunnel.bastion.hours import is_from, is_within
from tunnel.bastion.store import Case, CaseSerial, EngineerEntry, Grant, Store
from tunnel.identity import VIA_BASTION, Engineer
from tunnel.keyd.api import FORWARD, ROLES, SFTP, SHELL
from tunnel.keyd.client import Keyd

__all__ = ["FORWARD", "ROLES", "SFTP", "SHELL", "Denied", "Entitled", "Entitlements"]

RELAY_S = 60.0

Timely = Callable[[EngineerEntry, str, float], str]
"""Says why an engineer may not come in from this source at this time; '' if so."""
Approved = Callable[[Case, Engineer, str, bool], Awaitable[str]]
"""Says why an engineer's work on a case from this source is not approved; '' if it is. May wait for the approval where
the last argument says so, and else takes what would have to wait for good."""
Elsewhere = Callable[[Grant, str, str, bool], Awaitable[str]]
"""Gets a certificate by a grant of another node's keyd, for this key and key id, with or without forwarding."""


def timely(entry: EngineerEntry, source: str, at: float) -> str:
    """Say why an engineer may not come in from this source at this time; '' if so."""
    if not is_within(entry.hours, at):
        return f"{entry.name} may not work at this time; the hours are {', '.join(entry.hours)}"
    return "" if is_from(entry.sources, source) else f"{entry.name} may not come in from this address"


class Denied(GatepostError):
    """An engineer may not do this; `rule` is one word for counting."""

    def __init__(self, rule: str, text: str) -> None:
        super().__init__(text, EX_NOPERM)
        self.rule = rule


@dataclass(frozen=True, slots=True)
class Entitled:
    """What an engineer may do on one appliance."""

    serial: str
    roles: frozenset[str]
    """Those of the store; the certificate has to permit the same."""
    row: CaseSerial
    grant: Grant
    until_at: float
    approved: bool = True
    """Whether a second person has approved the case."""

    @property
    def via(self) -> str:
        """The appliance through which this one is reached; '' if it has a tunnel of its own."""
        return self.row.via


class Entitlements:
    """Decides, from the store, at the moment of asking."""

    def __init__(
        self,
        store: Store,
        keyd: Keyd,
        *,
        timely: Timely,
        approved: Approved,
        node: str = "",
        elsewhere: Elsewhere | None = None,
    ) -> None:
        self._store = store
        self._keyd = keyd
        self._timely = timely
        self._approved = approved
        self._node = node
        self._elsewhere = elsewhere

    async def of(self, engineer: Engineer, serial: str, source: str, *, hold: bool = False) -> Entitled:
        """Give what an engineer may do on an appliance; `hold` before anything is opened: it waits for an approval.

        Raises Denied with what is missing and who can help.
        """
        if serial not in engineer.serials:
            raise Denied("certificate", f"your certificate is not for {serial.upper()}")
        entry = await self._entry(engineer, source)
        case = await self._store.cases.get(engineer.case)
        if case is None or case.closed_at:
            raise Denied("case", f"case {engineer.case} is {'not known' if case is None else 'closed'}")
        if engineer.name not in case.engineers:
            raise Denied("case", f"{engineer.name} does not work on case {case.number}")
        if why := await self._approved(case, engineer, source, hold):
            raise Denied("approval", why)
        row = case.row(serial)
        if row is None:
            raise Denied("case", f"{serial.upper()} is not of case {case.number}")
        grant = await self.grant(case.number, serial)
        return Entitled(serial, frozenset(entry.roles), row, grant, grant.until_at, bool(case.approved_at))

    async def grant(self, number: str, serial: str) -> Grant:
        """Give the grant for an appliance of a case, if it has not run out. Raises Denied."""
        grant = await self._store.cases.granted(number, serial)
        how = f"`gatepost bastion case seed {number} {serial.upper()}` takes the customer's seed string"
        if grant is None:
            raise Denied("grant", f"no seed string is known for {serial.upper()} in case {number}; {how}")
        if grant.until_at and grant.until_at <= clock.now():
            raise Denied("grant", f"the seed string of {serial.upper()} has run out; {how}")
        published = await self._store.appliances.published(serial)
        if published is not None and published.supersedes(grant, clock.now()):
            raise Denied(
                "grant", f"the seed string of {serial.upper()} is a former one: access was enabled anew; {how}"
            )
        return grant

    async def certificate(self, engineer: Engineer, grant: Grant, public_key: str, *, forwarding: bool = False) -> str:
        """Get the minute-long certificate with which the bastion enters an appliance for an engineer."""
        if grant.node not in ("", self._node) and self._elsewhere is not None:
            return await self._elsewhere(grant, public_key, engineer.key_id, forwarding)
        return await self._keyd.certify(
            grant.grant_id, public_key, engineer.key_id + VIA_BASTION, life_s=RELAY_S, forwarding=forwarding
        )

    async def _entry(self, engineer: Engineer, source: str) -> EngineerEntry:
        entry = await self._store.engineers.get(engineer.name)
        if entry is None or entry.disabled_at:
            known = "not known here" if entry is None else "disabled"
            raise Denied("engineer", f"engineer {engineer.name} is {known}")
        if why := self._timely(entry, source, clock.now()):
            raise Denied("engineer", why)
        return entry

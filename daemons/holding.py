"""What a management host holds mail in, from its configuration: the store of arriving mail, the quarantines."""

from core.content import ContentStore
from core.errors import ConfigError, Problem
from core.maillog import MailLog
from core.switch import Prepared, prompt
from cpq.config import policy_of
from cpq.content import ContentFolder
from cpq.held import Catalogue
from cpq.hold import HoldIntake, Place
from cpq.policy import Policy
from cpq.store import SqliteStore
from daemons.config import Sma
from daemons.machine import Machine
from daemons.reload import Part
from daemons.wiring import journal_settings


def hold_intake(machine: Machine, document: Sma, policy: Policy, log: MailLog) -> HoldIntake:
    """Open the quarantine store for arriving mail."""
    folder = machine.spool / "quarantine"
    contents = ContentStore(folder / "arriving", journal_settings(document.spool).content)
    store, files = SqliteStore(folder / "quarantine.db"), ContentFolder(folder / "content")
    place = Place(store, files, contents, policy, machine.numbers("mid"), log)
    return HoldIntake(place, machine.serial, quota_octets=document.cpq.quota_mib << 20)


def following_quarantines(policy: Policy) -> Part:
    """Have a policy follow the configuration; what is held keeps its time."""

    async def prepare(candidate: Machine) -> Prepared:
        assert isinstance(candidate.document, Sma), "only a management host has quarantines"
        other = policy_of(candidate.document.quarantine)
        return Prepared(prompt(lambda: policy.adopt(other)))

    return prepare


def keeping_quarantines(policy: Policy, catalogue: Catalogue) -> Part:
    """Refuse a configuration without a quarantine that still holds mail: another's default action would end it."""

    async def prepare(candidate: Machine) -> Prepared:
        assert isinstance(candidate.document, Sma), "only a management host has quarantines"
        other = policy_of(candidate.document.quarantine)
        problems = []
        for name in [name for name in policy.names if name not in other.known]:
            if count := await catalogue.held_in(name):
                problems.append(Problem(str(candidate.config), "quarantine", _still_holds(name, count)))
        if problems:
            raise ConfigError(problems)
        return Prepared()

    return prepare


def _still_holds(name: str, count: int) -> str:
    held = "1 message" if count == 1 else f"{count:,} messages"
    return f"{name} still holds {held}: keep it, or release or delete them first (quarantine list --quarantine {name})"

"""What a management host's cpq-listener puts held mail into, translated from its configuration."""

from core.content import ContentStore
from core.maillog import MailLog
from cpq.config import policy_of
from cpq.content import ContentFolder
from cpq.hold import HoldIntake, Place
from cpq.store import SqliteStore
from daemons.config import Sma
from daemons.machine import Machine
from daemons.wiring import journal_settings


def hold_intake(machine: Machine, document: Sma, log: MailLog) -> HoldIntake:
    """Open the quarantine store for arriving mail."""
    folder = machine.spool / "quarantine"
    contents = ContentStore(folder / "arriving", journal_settings(document.spool).content)
    store, files = SqliteStore(folder / "quarantine.db"), ContentFolder(folder / "content")
    place = Place(store, files, contents, policy_of(document.quarantine), machine.numbers("mid"), log)
    return HoldIntake(place, machine.serial, quota_octets=document.cpq.quota_mib << 20)

"""One machine as its daemons see it: the folders and files below the one that holds `gatepost.toml`.

Every daemon root opens a `Machine` first; it reads and checks the configuration. What lies where is written down
in docs/architecture.md.
"""

import os
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from core.config.document import check_document, read_toml
from core.errors import EX_CANTCREAT, EX_USAGE, ConfigError, GatepostError, Problem
from core.ids import IdBlocks
from core.load import ProcessLoad, SystemLoad
from core.log.book import Logs
from core.log.config import details_of, subscriptions_of
from core.log.debug import InjectionDebug
from core.log.file import head_of
from core.maillog import MailLog
from core.metrics import Counters
from core.switch import digest_of
from core.tls import ServerCertificate
from cpq.pairing import Pairings
from daemons.config import Document, model_of
from daemons.formats import begin_use, refuse_newer, release
from mail.delivery.tls.context import Contexts


@dataclass(frozen=True)
class Machine:
    """A configured machine."""

    config: Path
    document: Document
    digest: str = ""
    """Tells what the file held, or held shortly before the document was read of it."""

    @classmethod
    def open(cls, config: Path, document_file: Path | None = None, without: Collection[str] = ()) -> "Machine":
        """Read and check the configuration. Raises `ConfigError` with every problem, `FormatRefused`.

        `document_file` is read in the place of the machine's own, which goes on to say where the machine is. Tables
        named in `without` are left out, for whoever has no use for them and no time.
        """
        written = refuse_newer(config.resolve().parent)
        file = document_file or config
        digest = digest_of(file)
        tables = {name: value for name, value in read_toml(file).items() if name not in without}
        try:
            document = check_document(tables, model_of(tables, file), str(file))
        except ConfigError as error:
            raise _with_release(error, file, written.release) from None
        return cls(config.resolve(), document, digest)

    @property
    def dir(self) -> Path:
        """The machine's folder."""
        return self.config.parent

    @property
    def role(self) -> str:
        """`esa`, `sma` or `bastion`."""
        return self.document.appliance.role

    @property
    def serial(self) -> str:
        """Serial number as it is shown."""
        return self.document.appliance.serial

    @property
    def hostname(self) -> str:
        """Full host name."""
        return self.document.appliance.hostname

    @property
    def spool(self) -> Path:
        """Where messages are: journals, queue, quarantine, id blocks."""
        return self.dir / "spool"

    @property
    def state(self) -> Path:
        """What daemons remember between runs."""
        return self.dir / "state"

    @property
    def keys(self) -> Path:
        """Private keys and certificates of this machine."""
        return self.dir / "keys"

    @property
    def pairing(self) -> Path:
        """Certificates and facts of paired appliances."""
        return self.dir / "pairing"

    def journal(self, owner: str) -> Path:
        """Journal folder of one owner."""
        return self.spool / "journal" / owner

    def socket(self, daemon: str) -> Path:
        """Control socket of a daemon."""
        return self.dir / "run" / f"{daemon}.sock"

    def numbers(self, kind: str) -> IdBlocks:
        """Open the machine's counter of `mid`, `icid` or `dcid`."""
        folder = self.spool / "ids"
        folder.mkdir(parents=True, exist_ok=True, mode=0o750)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise GatepostError(f"{folder} cannot be written by this user; run as its owner, or chown it", EX_CANTCREAT)
        return IdBlocks(folder / kind)

    def pairings(self) -> Pairings:
        """Open the paired appliances."""
        return Pairings(self.pairing, self.keys / "cpq.key", self.keys / "cpq.crt")

    def certificate(self, *, https: bool = False) -> ServerCertificate:
        """Open the certificates that listeners or the web side show. Raises `ConfigError` with all that are bad."""
        document, tls = self.document, self.document.tls
        name = tls.https_certificate if https else tls.receiving_certificate
        first = _pair(self, name) if name else (self.keys / "tls.crt", self.keys / "tls.key")
        further = [] if https else [(self.dir / one.certificate, self.dir / one.key) for one in document.certificate]
        return ServerCertificate(*first, further, tls.gui if https else tls.inbound)

    @cached_property
    def logs(self) -> Logs:
        """The logs that this process writes."""
        document, head = self.document, head_of(release(), self.serial)
        rows = subscriptions_of(self.dir / "log", document.log, document.log_subscription)
        return Logs(rows, head, details=details_of(document.log), key=self.keys / "log_push_ed25519")

    def mail_log(self) -> MailLog:
        """Open this process's writer of the text mail log."""
        return self.logs.open("mail")

    @cached_property
    def injection_debug(self) -> InjectionDebug:
        """What this process's listeners ask whether a connection is to be recorded."""
        return InjectionDebug(self.logs, self.mail_log())

    def log(self, kind: str) -> MailLog:
        """Open a log other than the mail log, by its type (`core/log/subscription.py`)."""
        return self.logs.open(kind)

    def note(self, text: str) -> None:
        """Write a line of the system log, at once. A user who may not write there (keyd's) has none."""
        if os.access(self.dir / "log", os.W_OK | os.X_OK):
            with self.logs.lock:
                system = self.logs.open("system")
                system.info(text)
                system.flush()

    def counters(self, daemon: str) -> Counters:
        """Open the counters of a daemon; the queue, which every mail machine has, also looks at the machine."""
        counters = Counters(self.state / f"{daemon}.counters.json")
        load = SystemLoad(self.spool, self.dir / "log") if daemon == "delivery-queue" else ProcessLoad()
        counters.show(load.gauges, load.sample)
        return counters


def _with_release(error: ConfigError, file: Path, last: str) -> ConfigError:
    """Say so where a document with faults was used by another release, which may know more keys."""
    if last in ("", release()):
        return error
    reason = f"release {last} was started here last and this is {release()}: what it does not know has to be taken out"
    return ConfigError([*error.problems, Problem(str(file), "", reason)])


def _pair(machine: Machine, name: str) -> tuple[Path, Path]:
    """Give the files of a [[certificate]] by its name, which the document has checked: certificate and key."""
    found = next(one for one in machine.document.certificate if one.name == name)
    return machine.dir / found.certificate, machine.dir / found.key


def outbound_contexts(machine: Machine) -> Contexts:
    """Make what delivery speaks. Raises `OSError` for a certificate or authorities that cannot be read."""
    tls, section = machine.document.tls, getattr(machine.document, "delivery_tls", None)
    authorities = str(machine.dir / section.authorities) if section and section.authorities else ""
    own = _pair(machine, tls.delivery_certificate) if tls.delivery_certificate else None
    return Contexts(authorities, tls.outbound, own)


def machine_for(what: str, config: Path, roles: Collection[str]) -> Machine:
    """Open a machine for something that only some roles have, which will use its stores.

    Raises `ConfigError`, `FormatRefused`, or status 64 for another role.
    """
    machine = Machine.open(config)
    if machine.role not in roles:
        there = " or ".join(roles)
        raise GatepostError(
            f"{what} belongs on a machine of role {there}; {config} is of role {machine.role}", EX_USAGE
        )
    begin_use(machine.dir)
    return machine

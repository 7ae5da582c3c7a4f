"""Files of this machine for administrators, by SFTP of the console: the folders and the code that support has.

`captures/`, `configuration/` and `logs/`; each file that passed is a line of the audit log.
"""

from core.maillog import Log, clean
from daemons.machine import Machine
from ops.cli.account import Caller
from ops.cli.files import Files
from tunnel.service.files import FilesSession


def files_of(machine: Machine, log: Log) -> Files:
    """Give what serves files to whoever may have them."""

    def serve(caller: Caller) -> FilesSession:
        def noted(way: str, path: str, octets: int, sha256: str, whole: bool) -> None:
            part = "" if whole else ", not the whole of it"
            log.info(clean(f"CLI {caller}: {way} {path}, {octets} octets{part}; SHA-256 {sha256 or '-'}"))

        return FilesSession(machine.dir, noted, private=True)

    return serve

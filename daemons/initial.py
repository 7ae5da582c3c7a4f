"""`gatepost init`: makes a new machine's folder with keys, certificates and a commented configuration.

Nothing is overwritten: a folder that already holds a machine is an error. Everything secret is 0600.
"""

import argparse
import os
import socket
from pathlib import Path
from typing import Any

from core import agreement, clock, pki
from core.config import is_host
from core.config.document import UNFINISHED
from core.disk import Disk, replace_file
from core.errors import EX_CANTCREAT, EX_DATAERR, EX_OK, GatepostError
from core.role import SSH_KEYS
from core.ssh import key as ssh_key
from daemons.config import DOCUMENTS
from daemons.example import render
from daemons.owner import acting_as, owner_of
from daemons.password import asked
from ops.access.rule import stored_password
from ops.cli.account import KEY, PASSWORD
from ops.config import LoginSection
from tunnel.bastion.authority import Known, introduce
from tunnel.keyd.keyring import FOLDER as KEYD
from tunnel.keyd.keyring import Keyring

_FOLDERS = ("keys", "spool", "state", "run", "log", "pairing", "captures", "configuration")


def add_arguments(sub: argparse.ArgumentParser) -> None:
    """Describe the command to the executable."""
    sub.set_defaults(action=_init)
    sub.add_argument("--role", choices=sorted(DOCUMENTS), required=True)
    sub.add_argument("--dir", type=Path, required=True, help="folder of the machine, to be made")
    sub.add_argument("--hostname", default=None, help="full host name (default: this machine's)")
    number = sub.add_mutually_exclusive_group()
    number.add_argument("--serial", default=None, help="serial number (default: a new one)")
    number.add_argument("--hardware", action="store_true", help="a new one in the shape of a hardware appliance's")
    sub.add_argument("--admin-key", type=Path, metavar="FILE", help="public SSH key of the first administrator")
    sub.add_argument(
        "--admin-password",
        action="store_true",
        help="ask for a password of the first administrator, or read it as the one line of standard input",
    )


def _init(args: argparse.Namespace) -> int:
    serial = args.serial or pki.new_serial(hardware=args.hardware)
    hostname = args.hostname or socket.getfqdn()
    stored = (
        stored_password(asked(), "admin", least=LoginSection().least_length, hostname=hostname)
        if args.admin_password
        else ""
    )
    make(args.role, args.dir, hostname=hostname, serial=serial, admin_key=args.admin_key, admin_password=stored)
    config = args.dir / "gatepost.toml"
    print(f"{config}: made; edit it, then: gatepost check --config {config}")
    return EX_OK


def make(
    role: str,
    folder: Path,
    *,
    hostname: str,
    serial: str | None = None,
    admin_key: Path | None = None,
    admin_password: str = "",
) -> str:
    """Make the machine's folder and give its serial number; `admin_password` is as it is stored."""
    config = folder / "gatepost.toml"
    if config.exists():
        raise GatepostError(
            f"{config} exists already; choose another --dir, or remove that machine first", EX_CANTCREAT
        )
    if os.path.lexists(folder / UNFINISHED):
        text = f"{folder} holds what a broken-off `gatepost restore` has left; restore again, or empty it"
        raise GatepostError(text, EX_CANTCREAT)
    serial = serial or pki.new_serial()
    if not pki.is_serial(serial):
        raise GatepostError(f"{serial!r} is no serial number; leave --serial out to get a new one", EX_DATAERR)
    if not is_host(hostname):
        raise GatepostError(f"--hostname {hostname!r}: give a full host name without blanks", EX_DATAERR)
    values: dict[str, Any] = {"appliance": {"role": role, "serial": serial, "hostname": hostname}}
    if admin_key is not None or admin_password:
        values["user"] = _administrator(admin_key, admin_password)
    try:
        with acting_as(owner_of(config)):  # a folder that is there may be another user's
            make_folders(folder, role)
            _make_keys(role, folder, serial)
            _make_certificates(role, folder / "keys", serial, hostname)
            replace_file(Disk(), config, render(DOCUMENTS[role], values).encode())
    except OSError as error:
        raise GatepostError(f"{folder}: {error.strerror}; choose a folder that can be written", EX_CANTCREAT) from error
    return serial


def make_folders(folder: Path, role: str) -> list[Path]:
    """Make the folders of a machine that are missing, and give those. Raises `OSError`."""
    missing = [folder / name for name in _FOLDERS if not (folder / name).exists()]
    for path in missing:
        path.mkdir(parents=True, mode=0o750)
    if role == "bastion":
        (folder / "run").chmod(0o1770)  # keyd's user, of the same group, has its socket there and removes no other
    return missing


def _administrator(key: Path | None, password: str) -> dict[str, Any]:
    user: dict[str, Any] = {"name": "admin", "role": "administrator"}
    if key is not None:
        user["keys"] = [ssh_key.read_public(key)]
    if password:
        ways = [KEY, PASSWORD] if key is not None else [PASSWORD]
        user |= {"password": password, "password_at": round(clock.now()), "login": ways}
    return user


def _make_keys(role: str, folder: Path, serial: str) -> None:
    """Make the keys of a machine that are missing; those that are there stay.

    Keys that came later, keyd's and the exchange key, are also made by the daemon that needs them, at its start.
    """
    keys = folder / "keys"
    for name in SSH_KEYS[role]:
        ssh_key.ensure_key(keys / f"{name}_ed25519", f"{name} {serial}")
    if role == "bastion":
        ring = Keyring(folder / KEYD)
        lines = {name: ssh_key.public_text(getattr(ring, name)) for name in Known.__struct_fields__}
        introduce(folder, Known(**lines))
    else:
        agreement.ensure_key(keys / "exchange_x25519")


def _make_certificates(role: str, keys: Path, serial: str, hostname: str) -> None:
    pairs = {"cpq": pki.make_cpq_certificate(serial), "tls": pki.make_server_certificate(hostname)}
    for name, (key, certificate) in pairs.items():
        if name == "cpq" and role == "bastion":
            continue
        replace_file(Disk(), keys / f"{name}.key", key, mode=0o600)
        replace_file(Disk(), keys / f"{name}.crt", certificate, mode=0o644)

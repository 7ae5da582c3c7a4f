"""`gatepost check`: all that a machine's daemons would refuse to start with, without starting them."""

import os
import socket
from collections.abc import Callable
from functools import partial
from ipaddress import ip_address
from itertools import combinations
from pathlib import Path

from core.config.document import read_toml
from core.errors import ConfigError, GatepostError, Problem
from core.role import SSH_KEYS
from core.ssh import key as ssh_key
from core.tls import ServerCertificate
from daemons.config import DOCUMENTS, Appliance, Bastion, Esa, Sma, document_of
from daemons.delivery import unsubscribe_list
from daemons.keyd import guests_of
from daemons.machine import Machine, outbound_contexts
from daemons.port import ports
from daemons.stamping import disclaimers
from daemons.wiring import bounce_tags, filters_of, handler_of, rewriting
from mail.bounce.config import load_texts
from mail.delivery.unsubscribe import read
from tunnel.keyd.keyring import FOLDER, secured

_EVERY = ("0.0.0.0", "::")


def _tried(build: Callable[[], object]) -> tuple[Problem, ...]:
    try:
        build()
    except ConfigError as error:
        return error.problems
    except GatepostError as error:
        file, _, reason = error.text.partition(": ")
        return (Problem(file, "", reason),)
    return ()


def _private_keys(role: str, folder: Path) -> list[Problem]:
    problems: list[Problem] = []
    for name in SSH_KEYS[role]:
        problems += _tried(partial(ssh_key.read_key, folder / f"{name}_ed25519"))
    return problems


def _keys(machine: Machine) -> list[Problem]:
    """Open what the daemons will open, with the rights of whoever asks."""
    problems = _private_keys(machine.role, machine.keys)
    problems += _tried(machine.certificate)
    if machine.document.tls.https_certificate:
        problems += _tried(partial(machine.certificate, https=True))
    problems += _tried(partial(_outbound, machine))
    if isinstance(machine.document, Appliance):
        problems += _tried(lambda: machine.pairings().server_context())
    return problems


def _outbound(machine: Machine) -> None:
    """Open what delivery shows and trusts. Raises `ConfigError`."""
    try:
        outbound_contexts(machine)
    except OSError as error:
        reason = f"the certificate of delivery or its authorities cannot be used: {error}"
        raise ConfigError([Problem(str(machine.config), "tls.delivery_certificate", reason)]) from error


def _taken_twice(config: Path, document: Esa | Sma | Bastion) -> list[Problem]:
    """Name the places that only one of two daemons could have; a wildcard is every address."""
    problems = []
    for first, second in combinations(ports(document), 2):
        here, there = first.address, second.address
        if first.port == second.port and (here == there or not {here, there}.isdisjoint(_EVERY)):
            taken = f"{there} port {first.port} is taken by {first.key} ({here})"
            problems.append(Problem(str(config), second.key, f"{taken}; give one of them another address or port"))
    return problems


def _keys_beside(config: Path) -> list[Problem]:
    """Check the keys of a machine whose document cannot be read as a whole. Raises `ConfigError` without a role."""
    role = next(role for role, kind in DOCUMENTS.items() if kind is document_of(config))
    keys = config.resolve().parent / "keys"
    return [*_private_keys(role, keys), *_tried(lambda: ServerCertificate(keys / "tls.crt", keys / "tls.key"))]


def _list_beside(config: Path) -> tuple[Problem, ...]:
    """Check the file of the unsubscribe list of a document that cannot be read as a whole."""
    section = read_toml(config).get("unsubscribe")
    file = section.get("file") if isinstance(section, dict) else None
    if not isinstance(file, str) or not file:
        return ()
    return _tried(lambda: read((), config.resolve().parent / file, "drop", str(config)))


def _opened(config: Path) -> Machine:
    """Open the machine; what is wrong with its keys is told together with what is wrong in its document."""
    document_of(config)
    try:
        return Machine.open(config)
    except ConfigError as error:
        raise ConfigError([*error.problems, *_keys_beside(config), *_list_beside(config)]) from error


def check(config: Path) -> list[str]:
    """Check document, filters and keys; give notes on what is hardly meant. Raises `ConfigError` with every fault."""
    machine = _opened(config)
    if problems := faults_of(machine):
        raise ConfigError(problems)
    return _notes(machine)


def faults_of(machine: Machine) -> list[Problem]:
    """Give every fault of a machine whose document can be read: of its keys, its files, and between its sections."""
    config, problems = machine.config, _keys(machine)
    if isinstance(machine.document, Esa | Sma | Bastion):
        problems += _taken_twice(config, machine.document)
    if isinstance(machine.document, Esa):
        document = machine.document
        problems += _tried(partial(filters_of, machine, document))
        problems += _tried(partial(rewriting, machine, document))
        problems += _tried(partial(disclaimers, machine, document))
        for section in document.listener:
            problems += _tried(partial(handler_of, machine, section))
    if isinstance(machine.document, Esa | Sma):
        problems += _tried(partial(unsubscribe_list, machine, machine.document))
        problems += _tried(partial(load_texts, machine.document.text, machine.dir))
        problems += _tried(partial(bounce_tags, machine, machine.document))
    if isinstance(machine.document, Bastion):
        problems += _tried(partial(guests_of, config, machine.document.keyd))
        folder = machine.dir / FOLDER
        if folder.exists() and folder.stat().st_uid == os.geteuid():
            problems += _tried(partial(secured, folder))
    return problems


def _notes(machine: Machine) -> list[str]:
    notes = []
    if isinstance(machine.document, Esa) and not machine.document.listener:
        notes.append(
            "there is no [[listener]]: this gateway takes no mail; `gatepost cli listenerconfig new` makes one"
        )
    if isinstance(machine.document, Esa | Sma):
        notes += _absent(machine.document)
    health = machine.document.health
    if health.enabled and not _is_loopback(health.address):
        where = f"{health.address} port {health.port}"
        notes.append(f"[health] listens on {where} without log-in or TLS: let only your collectors reach it")
    if not machine.document.user:
        notes.append(
            "there is no [[user]]: nobody can log in to the console; "
            "`gatepost cli userconfig new NAME --role administrator --key LINE` makes one"
        )
    return notes


def _is_loopback(address: str) -> bool:
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


def _absent(document: Esa | Sma) -> list[str]:
    """Name the addresses that mail is to leave by and that this machine does not have."""
    wanted = {f"[[interface]] {row.name}": row.address for row in document.interface}
    wanted["[delivery] source_address"] = document.delivery.source_address
    notes = []
    for where, address in wanted.items():
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            try:
                probe.bind((address, 0))
            except OSError:
                notes.append(f"{where}: this machine has no address {address}, mail cannot leave by it")
    return notes

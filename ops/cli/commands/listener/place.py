"""Listeners in the pending tables: finding one, naming its interface, the parameters that count for its policy.

Used by the other modules of this package. Raises `GatepostError` 66 for a listener that is not there, 65 for an address
that is none of this machine's known ones.
"""

from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from typing import Any

from core.errors import EX_DATAERR, EX_NOINPUT, GatepostError
from ops.cli.appliance import Appliance
from ops.cli.commands.listener.predefined import KINDS, short_size
from ops.cli.registry import Call

Tables = Mapping[str, Any]
Row = dict[str, Any]


def listeners_of(tables: Tables) -> list[Row]:
    """Give the listeners of a document, in their order."""
    return list(tables.get("listener") or [])


def listener_of(tables: Tables, name: str) -> Row:
    """Give a listener by its name, in any case. Raises status 66."""
    found = next((row for row in listeners_of(tables) if str(row["name"]).lower() == name.lower()), None)
    if found is None:
        there = ", ".join(str(row["name"]) for row in listeners_of(tables)) or "none"
        raise GatepostError(f"no listener is called {name!r}; there are: {there}", EX_NOINPUT)
    return found


def kind_of(row: Mapping[str, Any]) -> str:
    """Give the kind of a listener."""
    return str(row.get("kind", "public"))


def address_of(row: Mapping[str, Any]) -> str:
    """Give the address of a listener."""
    return str(row.get("address", "127.0.0.1"))


def interfaces_of(tables: Tables) -> dict[str, str]:
    """Give the named interfaces with their addresses."""
    return {str(row["name"]): str(row["address"]) for row in tables.get("interface") or []}


def interface_at(tables: Tables, address: str) -> str:
    """Give the name of the interface that has an address, '' if none has."""
    return next((name for name, held in interfaces_of(tables).items() if held == address), "")


def address_from(tables: Tables, word: str) -> str:
    """Give the address that a word means: itself, or that of the interface of this name. Raises status 65."""
    named = {name.lower(): address for name, address in interfaces_of(tables).items()}
    if word.lower() in named:
        return named[word.lower()]
    try:
        return str(ip_address(word))
    except ValueError:
        there = ", ".join(interfaces_of(tables)) or "no interface has a name"
        raise GatepostError(
            f"{word!r} is neither an IP address nor an interface; there are: {there}", EX_DATAERR
        ) from None


def line_of(tables: Tables, row: Mapping[str, Any]) -> str:
    """Give the line by which the model shows a listener."""
    name, address = interface_at(tables, address_of(row)), address_of(row)
    where = f"{name}, {address}" if name else address
    return f"{row['name']} (on {where}) SMTP Port {row.get('port', 25)} {KINDS[kind_of(row)]}"


def default_policy(call: Call, row: Mapping[str, Any]) -> Row:
    """Give the parameters that count for a listener's peers as long as no group or named policy says otherwise."""
    usual = {"tls": "preferred", "auth": "off"}
    policy = {**usual, **call.appliance.listener_defaults.get(kind_of(row), {}), **(row.get("policy") or {})}
    return policy | {"max_message_size": short_size(policy.get("max_message_size", 0))}


def known(appliance: Appliance, before: Sequence[str]) -> Sequence[str]:
    """Give the names that complete the place of a listener: those in force."""
    return [] if before else [str(row.get("name", "")) for row in appliance.configuration().get("listener") or []]

"""`smtproutes`, `altsrchost`, `interfaceconfig`, `unsubscribe`: where mail goes, how it leaves, who gets none.

Declarations for the table engine; behaviour.md 2.17, 2.21, 2.22, 2.30.
"""

from ops.cli.account import ADMINISTRATORS
from ops.cli.editing import Extra, Question, Reference, Rights, Settings, Table
from ops.formats.ini import Sections
from ops.formats.line import Lines

_ADMIN = Rights(writers=ADMINISTRATORS)
_GATEWAYS_ONLY = Rights(machines=frozenset({"esa"}))
WAYS_OUT = Reference(("interface",), also=("auto",), more=(("interface_group",),))
"""Interfaces and groups, and the system's choice."""

ROUTES = Table(
    command="smtproutes",
    summary="Hosts that take a domain's mail instead of its MX.",
    path=("route",),
    key="domain",
    one="route",
    many="routes",
    places=("domain", "hosts"),
    format=Lines("SMTP routes: domain, then its hosts", "domain", "hosts", several=True),
    columns=(("domain", "Domain"), ("hosts", "Hosts")),
    questions=(
        Question("domain", ".example.com stands for all below it, ALL for every other domain.\nDomain of the route:"),
        Question(
            "hosts",
            "Separated by commas: name, [name] (its addresses, not its MX) or address, each with :PORT and /pri=N if "
            "need be. USEDNS alone goes by DNS, /dev/null alone drops the mail.\nHosts that take its mail:",
        ),
    ),
)

SOURCES = Table(
    command="altsrchost",
    summary="Which interface mail leaves by, from who sent it.",
    path=("alt_source",),
    key="match",
    one="mapping",
    many="mappings",
    places=("match", "interface"),
    format=Lines("Alternate sources: sender, then interface or group", "match", "interface"),
    columns=(("match", "Sender"), ("interface", "Interface")),
    questions=(
        Question("match", "Address or block of the sending host, or user@domain, user@ or @domain.\nSender:"),
        Question("interface", "Interface or group that its mail leaves by:"),
    ),
    rights=_GATEWAYS_ONLY,
    ordered=True,
    refers={"interface": WAYS_OUT},
)

INTERFACES = Table(
    command="interfaceconfig",
    summary="Addresses that mail can leave by, groups of them.",
    path=("interface",),
    key="name",
    one="interface",
    many="interfaces",
    places=("name", "address", "hostname"),
    format=Sections("Interfaces", "name"),
    columns=(("name", "Name"), ("address", "Address"), ("hostname", "Hostname")),
    questions=(
        Question("name", "Name of the interface:"),
        Question("address", "Its IP address, which this machine must have:"),
        Question("hostname", "Host name that its connections give (EHLO):"),
    ),
    rights=_ADMIN,
    extras=(Extra("GROUPS", "Show and change groups of interfaces.", "interfaceconfig groups"),),
)

GROUPS = Table(
    command="interfaceconfig groups",
    summary="Groups of interfaces, which take turns and count as one.",
    path=("interface_group",),
    key="name",
    one="group",
    many="groups",
    places=("name", "interfaces"),
    format=Lines("Interface groups: name, then its interfaces", "name", "interfaces", several=True),
    columns=(("name", "Name"), ("interfaces", "Interfaces")),
    questions=(
        Question("name", "Name of the group:"),
        Question("interfaces", "Names of its interfaces, separated by commas:"),
    ),
    rights=_ADMIN,
    refers={"interfaces": Reference(("interface",))},
)

UNSUBSCRIBED = Table(
    command="unsubscribe",
    summary="Who gets no mail from this machine.",
    path=("unsubscribe", "entries"),
    key="entry",
    one="entry",
    many="entries",
    places=("entry",),
    format=Lines("Global unsubscribe, one entry a line", "entry"),
    columns=(("entry", "Entry"),),
    questions=(Question("entry", "user@domain, user@, @domain, @.partial, or a receiving host's address.\nEntry:"),),
    extras=(Extra("SETUP", "Switch the list on or off, choose what is done.", "unsubscribe setup"),),
)

UNSUBSCRIBE_SETUP = Settings(
    command="unsubscribe setup",
    shown_by="unsubscribe status",
    path=("unsubscribe",),
    title="the global unsubscribe",
    summary="Switch the global unsubscribe on or off and choose what is done.",
    keys=("enabled", "action", "file"),
    questions=(
        Question("enabled", "Do you want the list to count?"),
        Question("action", "What is done with a message to a recipient on it:"),
        Question("file", "File with further entries, in the folder of the configuration (- for none):"),
    ),
)

EDITED = (ROUTES, SOURCES, INTERFACES, GROUPS, UNSUBSCRIBED, UNSUBSCRIBE_SETUP)

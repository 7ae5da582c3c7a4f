"""`listenerconfig new`: a listener with the host access table of its kind, by the model's questions or in one line.

The questions come in the model's order (behaviour.md 2.13); their answers are the arguments of the batch form.
Raises `GatepostError` 65 with every fault.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from core.errors import EX_DATAERR, GatepostError
from core.schema import Key, Refused, Schema
from ops.cli.argument import Help, Parameter
from ops.cli.commands.listener.place import (
    Row,
    address_from,
    address_of,
    default_policy,
    interfaces_of,
    line_of,
    listeners_of,
)
from ops.cli.commands.listener.predefined import KINDS, access_of, parameters_text
from ops.cli.dialogue import Dialogue
from ops.cli.editing.asking import Asking
from ops.cli.editing.changing import PENDING, with_warnings
from ops.cli.editing.row import value_of
from ops.cli.editing.table import Rights
from ops.cli.editing.words import option
from ops.cli.registry import Call, Command, Document

POLICY_KEYS: Final = (
    "max_message_size",
    "max_connections_per_address",
    "max_messages_per_session",
    "max_recipients_per_message",
    "max_recipients_per_hour",
    "max_invalid_recipients_per_hour",
    "tls",
    "auth",
)
MODES: Final = {"tls": ("off", "preferred", "required"), "auth": ("off", "offered", "required")}
QUESTIONS: Final = {
    "max_message_size": "Enter the maximum size of a message, in octets or as 20M (0 = no limit)",
    "max_connections_per_address": "Enter the maximum number of connections from a single IP (0 = no limit)",
    "max_messages_per_session": "Enter the maximum number of messages per connection (0 = no limit)",
    "max_recipients_per_message": "Enter the maximum number of recipients per message (0 = no limit)",
    "max_recipients_per_hour": "Enter the maximum number of recipients per hour from a remote host (0 = no limit)",
    "max_invalid_recipients_per_hour": "Enter the maximum number of invalid recipients per hour from a remote host "
    "(directory harvest attack prevention, 0 = off)",
    "tls": "Do you want to allow encrypted TLS connections?",
    "auth": "Would you like to allow SMTP authentication?",
}
NO_QMQP: Final = "QMQP is not offered: no client is left that needs it."
DOMAINS: Final = """
Please specify the domains or specific email addresses that you want to accept mail for.
Hostnames such as "example.com" are allowed.
Partial hostnames such as ".example.com" are allowed.
Usernames such as "postmaster@" are allowed.
Full email addresses such as "joe@example.com" or "joe@[1.2.3.4]" are allowed.
Separate multiple addresses with commas."""
RELAYS: Final = """
Please specify the systems allowed to relay email through this machine.
Hostnames such as "example.com" are allowed.
Partial hostnames such as ".example.com" are allowed.
IP addresses, IP address ranges, and partial IP addresses are allowed.
Separate multiple entries with commas."""
RATE_ABOUT: Final = """
Rate limiting defines the maximum number of recipients per hour you are willing to receive from a remote host."""
RATE: Final = "Do you want to enable rate limiting per host?"
PREFIX: Final = "policy."


def created(rights: Rights, schema: Schema) -> Command:
    """Make the command."""
    keys = policy_keys(schema)

    async def run(call: Call, **given: Any) -> Document:
        tables = call.editing.tables()
        row = row_from(tables, keys, given)

        def edit(tables: dict[str, Any]) -> None:
            _must_be_free(tables, row)
            tables["listener"] = [*(tables.get("listener") or []), row]

        warnings = await call.editing.change(f"listenerconfig new {row['name']}", edit)
        return {"listener": row, "line": line_of(tables, row), "warnings": warnings}

    async def dialogue(call: Call, talk: Dialogue) -> Document | None:
        return await ask(call, talk, keys, schema)

    return Command(
        "listenerconfig new",
        "Create a listener with the host access table of its kind.",
        run,
        _parameters(keys),
        render,
        dialogue,
        roles=rights.writers,
        machines=rights.machines,
        details="A public listener takes mail for the domains or recipients that follow, the others relay for the "
        "hosts that follow. ADDRESS may be the name of an interface. `commit` opens the port.",
    )


def policy_keys(schema: Schema) -> list[Key]:
    """Give the keys of a listener's default policy that are asked for."""
    shape = schema["listener"].shape
    assert shape is not None
    by_name = {key.name: key for key in shape.flat()}
    return [by_name[PREFIX + name] for name in POLICY_KEYS]


def _parameters(keys: Sequence[Key]) -> tuple[Parameter, ...]:
    return (
        Parameter("name", "positional", str, Help("name of the new listener"), (), True),
        Parameter("kind", "positional", str, Help("public, private or a sinkhole", "KIND"), tuple(KINDS), True),
        Parameter("address", "positional", str, Help("IP address, or name of an interface"), (), True),
        Parameter("port", "positional", int, Help("TCP port", least=1, most=65_535), (), True),
        Parameter("hosts", "rest", str, Help("domains to accept mail for, or hosts that may relay", "HOST")),
        *(_option(key) for key in keys),
    )


def _option(key: Key) -> Parameter:
    made = option(key)
    return Parameter(key.name.removeprefix(PREFIX), made.kind, made.type, made.help, made.choices)


def row_from(tables: Mapping[str, Any], keys: Sequence[Key], given: Mapping[str, Any]) -> Row:
    """Make the row of a new listener of words."""
    kind = given["kind"]
    hosts = [part.strip() for word in given.get("hosts") or () for part in word.split(",") if part.strip()]
    policy = {
        key.name.removeprefix(PREFIX): value_of(key, given[key.name.removeprefix(PREFIX)])
        for key in keys
        if given.get(key.name.removeprefix(PREFIX)) is not None
    }
    row: Row = {
        "name": given["name"],
        "kind": kind,
        "address": address_from(tables, given["address"]),
        "port": given["port"],
    }
    if policy:
        row["policy"] = policy
    if kind == "public" and hosts:
        row["rat"] = hosts
    return row | access_of(kind, hosts)


def _must_be_free(tables: Mapping[str, Any], row: Row) -> None:
    for other in listeners_of(tables):
        if str(other["name"]).lower() == str(row["name"]).lower():
            raise GatepostError(f"a listener {other['name']} is there already", EX_DATAERR)
        refuse_same_port(row, other)


def refuse_same_port(row: Mapping[str, Any], other: Mapping[str, Any]) -> None:
    """Raise status 65 if two listeners would have the same address and port."""
    if (address_of(row), row.get("port", 25)) == (address_of(other), other.get("port", 25)):
        where = f"{address_of(row)}:{row.get('port', 25)}"
        raise GatepostError(f"{where} is the port of {other['name']}; choose another port or address", EX_DATAERR)


def render(document: Document, width: int) -> str:
    """Say what was made."""
    row = document["listener"]
    text = (
        f"Listener {row['name']} created.\nDefaults have been set for a {KINDS[row['kind']]} listener.\n"
        f"Use listenerconfig -> EDIT to customize the listener; {PENDING}."
    )
    return with_warnings(text, document, width)


async def ask(call: Call, talk: Dialogue, keys: Sequence[Key], schema: Schema) -> Document:
    """Put the model's questions; gives the arguments of the batch form."""
    tables = call.editing.tables()
    kind = ("private", "public", "sinkhole")[
        await talk.choose(
            "\nPlease select the type of listener you want to create.", ["Private", "Public", "Sinkhole"], 2
        )
    ]
    if kind == "sinkhole" and await talk.confirm("Do you want messages to be queued onto disk?"):
        kind = "sinkhole-queuing"
    name = await _name(talk, tables, _key(schema, "name"))
    address = await ask_address(talk, tables)
    talk.say(f"\n{NO_QMQP}")
    await talk.choose("Choose a protocol.", ["SMTP"], 1)
    port = await ask_port(talk, tables, address, 25, name)
    hosts = await _hosts(talk, kind, _host_key(schema, kind))
    given: Document = {"name": name, "kind": kind, "address": address, "port": port, "hosts": hosts}
    talk.say(RATE_ABOUT)
    if await talk.confirm(RATE):
        given["max_recipients_per_hour"] = await _number(talk, QUESTIONS["max_recipients_per_hour"], "100")
    return given | await _policy(call, talk, keys, given)


async def _policy(call: Call, talk: Dialogue, keys: Sequence[Key], given: Mapping[str, Any]) -> Document:
    """Show the parameters that come with the kind and let them be changed."""
    rate = given.get("max_recipients_per_hour")
    row: Row = {"kind": given["kind"], "policy": {"tls": "preferred"}}
    if rate is not None:
        row["policy"]["max_recipients_per_hour"] = int(rate)
    talk.say()
    talk.say(parameters_text(default_policy(call, row)))
    talk.say()
    if not await talk.confirm("Would you like to change the default host access policy?"):
        return {}
    effective = {"policy": default_policy(call, row)}
    asking = Asking(call, talk, keys, {}, tables=call.editing.tables(), refers={}, effective=effective, new=False)
    for name in POLICY_KEYS:
        if name != "max_recipients_per_hour" or rate is None:
            await ask_parameter(asking, PREFIX + name)
    return {name.removeprefix(PREFIX): words for name, words in asking.answers.items()}


async def ask_parameter(asking: Asking, key: str) -> None:
    """Ask for one parameter of a policy; what counts now is the default."""
    name = key.rpartition(".")[2]
    if name not in MODES:
        await asking.key(key, QUESTIONS.get(name, ""))
        return
    words = MODES[name]
    present = str(asking.value(key) or words[name == "tls"])
    texts = [word.capitalize() for word in words]
    chosen = present
    while True:
        chosen = words[await asking.dialogue.choose(QUESTIONS[name], texts, words.index(present) + 1)]
        if name != "auth" or chosen == "off" or asking.tables.get("smtp_user"):
            break
        asking.dialogue.say("There is nobody who could log in: [[smtp_user]] is empty.")
    if chosen != present:
        asking.set(key, chosen)


def _key(schema: Schema, name: str) -> Key:
    shape = schema["listener"].shape
    assert shape is not None
    return shape.key(name)


def _host_key(schema: Schema, kind: str) -> Key:
    """Give the key that hosts of a new listener become values of."""
    table, name = ("rat", "recipient") if kind == "public" else ("sender_group", "entries")
    shape = _key(schema, table).shape
    assert shape is not None
    key = shape.key(name)
    return key.item or key


async def _name(talk: Dialogue, tables: Mapping[str, Any], key: Key) -> str:
    taken = {str(row["name"]).lower() for row in listeners_of(tables)}
    while True:
        answer = await talk.ask('\nPlease create a name for this listener (Ex: "InboundMail"):', below=True)
        reason = f"A listener {answer} is there already." if answer.lower() in taken else _refusal(key, answer)
        if not reason:
            return answer
        talk.say(reason)


def _refusal(key: Key, answer: str) -> str:
    """Say why an answer cannot be a value of a key, '' if it can."""
    try:
        key.read(answer)
    except Refused as error:
        return str(error)
    return "" if answer else "An answer is needed here."


async def ask_address(talk: Dialogue, tables: Mapping[str, Any], present: str = "") -> str:
    """Let an interface be chosen, or an address be given; gives the address."""
    named = interfaces_of(tables)
    others = dict.fromkeys(address_of(row) for row in listeners_of(tables) if address_of(row) not in named.values())
    texts = [f"{name} ({address})" for name, address in named.items()] + list(others)
    addresses = [*named.values(), *others]
    if present and present not in addresses:
        texts.append(present)
        addresses.append(present)
    first = addresses.index(present) + 1 if present else 1
    chosen = await talk.choose("\nPlease choose an IP interface for this listener.", [*texts, "Another address"], first)
    if chosen < len(addresses):
        return addresses[chosen]

    async def attempt() -> str:
        return address_from(tables, await talk.ask("Enter the IP address"))

    return await talk.until_right(attempt)


async def ask_port(talk: Dialogue, tables: Mapping[str, Any], address: str, present: int, name: str) -> int:
    """Ask for a port until it is one that no other listener has."""
    while True:
        answer = await talk.ask("\nPlease enter the TCP port for this listener.", str(present), below=True)
        if not (answer.isdecimal() and answer.isascii() and 1 <= int(answer[:6]) <= 65_535):
            talk.say("Please answer with a number from 1 to 65535.")
            continue
        row = {"address": address, "port": int(answer)}
        try:
            for other in listeners_of(tables):
                if str(other["name"]).lower() != name.lower():
                    refuse_same_port(row, other)
        except GatepostError as error:
            talk.say(error.text)
            continue
        return int(answer)


async def _hosts(talk: Dialogue, kind: str, key: Key) -> list[str]:
    question = DOMAINS if kind == "public" else RELAYS
    while True:
        answer = await talk.ask(question, below=True)
        words = [part.strip() for part in answer.split(",") if part.strip()]
        reasons = [reason for word in words if (reason := _refusal(key, word))]
        if not reasons:
            return words
        for reason in reasons:
            talk.say(reason)


async def _number(talk: Dialogue, question: str, default: str) -> str:
    while True:
        answer = (await talk.ask(question, default)).replace(",", "")
        if answer.isdecimal() and answer.isascii():
            return answer
        talk.say("Please answer with a number.")

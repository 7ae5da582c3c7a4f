"""What of a listener is edited by the table engine: recipient table, sender groups, policies, and its settings.

Declarations only; `COMMAND` is the menu path that they begin with.
"""

from typing import Any, Final

from ops.cli.account import EVERYONE, STAFF
from ops.cli.commands.listener.create import POLICY_KEYS, PREFIX, ask_parameter
from ops.cli.commands.listener.place import default_policy, listener_of
from ops.cli.commands.listener.predefined import parameters_text
from ops.cli.editing.asking import Asking
from ops.cli.editing.table import Extra, Question, Reference, Rights, Settings, Table
from ops.formats import Parsed
from ops.formats.hat import format_table, parse
from ops.formats.line import Lines
from ops.formats.rat import RecipientAccess

RIGHTS: Final = Rights(EVERYONE, STAFF, frozenset({"esa"}))
COMMAND: Final = "listenerconfig edit NAME"
ACCESS: Final = f"{COMMAND} hostaccess"
_REJECTING: Final = ("reject_code", "reject_text")
_ANSWERS: Final = ("limit_code", "limit_text", "harvest_code", "harvest_text", "banner_text")
"""Said on one line only: no dialogue asks for them."""


class Policies:
    """The named policies of a host access table as a format of their own."""

    def parse(self, text: str) -> Parsed:
        """Read the policies of a text; groups are not kept."""
        found = parse(text)
        notes = [
            *found.notes,
            *(f"line {one.line}: {one.values['name']}: not kept: it is a group" for one in found.groups),
        ]
        return Parsed(tuple(found.policies), tuple(found.faults), tuple(notes))

    def format(self, rows: Any) -> str:
        """Write the policies."""
        return format_table(rows, [], {"rule": "CONTINUE"}).rpartition("\nALL")[0]


class Groups:
    """The sender groups of a host access table; the whole table has its own commands (access.py)."""

    def parse(self, text: str) -> Parsed:
        """Read the groups of a text; policies are not kept."""
        found = parse(text)
        return Parsed(tuple(found.groups), tuple(found.faults), tuple(found.notes))

    def format(self, rows: Any) -> str:
        """Write the groups."""
        return format_table([], rows, {"rule": "CONTINUE"}).rpartition("\nALL")[0]


async def _ask_group(asking: Asking) -> None:
    await asking.key("name", "Enter the name of the sender group")
    await asking.key(
        "entries", "Enter its entries, separated by commas: hosts, .partial hosts, IP addresses, ranges, CIDR blocks"
    )
    row = listener_of(asking.tables, asking.call.places[0])
    policies = [str(one["name"]) for one in row.get("mail_flow_policy") or []]
    rules = ["CONTINUE (no policy)", "ACCEPT", "RELAY", "REJECT", "TCPREFUSE"]
    present = str(asking.value("mail_flow_policy") or "").lower()
    places = [*(name.lower() for name in policies), *(rule.split()[0].lower() for rule in rules)]
    known = places.index(present) if present in places else places.index(str(asking.value("rule")).lower())
    chosen = await asking.dialogue.choose(
        "Choose the mail flow policy, or a rule of its own:", [*(f"${name}" for name in policies), *rules], known + 1
    )
    if chosen < len(policies):
        asking.set("rule", None)
        asking.set("mail_flow_policy", policies[chosen])
    else:
        asking.set("mail_flow_policy", None)
        asking.set("rule", rules[chosen - len(policies)].split()[0])
    await asking.key("comment", "Enter a comment")


async def _ask_policy(asking: Asking) -> None:
    await asking.key("name", "Enter the name of the policy")
    rule = await asking.key("rule", "Choose the rule:")
    await asking.key("comment", "Enter a comment")
    if rule in {"REJECT", "TCPREFUSE"}:
        for name in _REJECTING if rule == "REJECT" else ():
            await ask_parameter(asking, name)
    elif await asking.yes("Would you like to set parameters of its own? (The others are the listener's.)"):
        counts = default_policy(asking.call, listener_of(asking.tables, asking.call.places[0]))
        for name in POLICY_KEYS:
            asking.count(name, counts.get(name))
            await ask_parameter(asking, name)


async def _ask_tls(asking: Asking) -> None:
    await asking.key("tls", "Choose how TLS begins:")
    await ask_parameter(asking, PREFIX + "tls")


async def _ask_auth(asking: Asking) -> None:
    await ask_parameter(asking, PREFIX + "auth")


async def _ask_defaults(asking: Asking) -> None:
    row = listener_of(asking.tables, asking.call.places[0])
    counts = default_policy(asking.call, row)
    asking.dialogue.say(parameters_text(counts))
    asking.dialogue.say()
    for name in POLICY_KEYS:
        asking.count(PREFIX + name, counts.get(name))
        await ask_parameter(asking, PREFIX + name)


RECIPIENTS: Final = Table(
    command=f"{COMMAND} rcptaccess",
    path=("listener", "NAME", "rat"),
    key="recipient",
    one="recipient entry",
    many="recipient entries",
    format=RecipientAccess(),
    columns=(("recipient", "Recipient"), ("rule", "Rule"), ("code", "Code"), ("text", "Text"), ("comment", "Comment")),
    summary="Show and change which recipients a public listener takes mail for.",
    places=("recipient", "rule"),
    questions=(
        Question("recipient", "Enter the recipient: user@domain, user@, domain, .partial, user@[ip], [ip] or ALL"),
        Question("rule", "Select an action:"),
        Question("text", "Enter the reply text of a refusal"),
        Question("bypass_limits", "Would you like to bypass receiving control for this entry?"),
    ),
    rights=RIGHTS,
    ordered=True,
    bare="recipient",
)
GROUPS: Final = Table(
    command=ACCESS,
    path=("listener", "NAME", "sender_group"),
    key="name",
    one="sender group",
    many="sender groups",
    format=Groups(),
    columns=(
        ("name", "Group"),
        ("mail_flow_policy", "Policy"),
        ("rule", "Rule"),
        ("entries", "Entries"),
        ("comment", "Comment"),
    ),
    summary="Show and change the host access table of a listener.",
    places=("name", "entries"),
    questions=_ask_group,
    rights=RIGHTS,
    ordered=True,
    extras=(
        Extra("ADD", "Add entries to a sender group.", f"{ACCESS} add"),
        Extra("REMOVE", "Remove entries from a sender group.", f"{ACCESS} remove"),
        Extra("DEFAULT", "Set the default policy.", f"{ACCESS} default"),
        Extra("POLICY", "Create, change or delete mail flow policies.", f"{ACCESS} policy"),
        Extra("RESET", "Remove all groups and policies and begin with the predefined ones.", f"{ACCESS} reset"),
    ),
)
POLICIES: Final = Table(
    command=f"{ACCESS} policy",
    path=("listener", "NAME", "mail_flow_policy"),
    key="name",
    one="mail flow policy",
    many="mail flow policies",
    format=Policies(),
    columns=(
        ("name", "Policy"),
        ("rule", "Rule"),
        ("max_message_size", "Size"),
        ("max_messages_per_session", "Messages"),
        ("max_recipients_per_message", "Recipients"),
        ("max_recipients_per_hour", "An hour"),
        ("tls", "TLS"),
        ("comment", "Comment"),
    ),
    summary="Show and change the named mail flow policies of a listener.",
    places=("name", "rule"),
    questions=_ask_policy,
    rights=RIGHTS,
)
DOMAIN_MAP: Final = Table(
    command=f"{COMMAND} domainmap",
    path=("listener", "NAME", "domain_map"),
    key="match",
    one="mapping",
    many="mappings",
    format=Lines("Domain map: OLD NEW", "match", "to"),
    columns=(("match", "Original"), ("to", "Mapped to")),
    summary="Show and change which domains of recipients become others.",
    places=("match", "to"),
    questions=(
        Question("match", "Enter the original domain, .partial domain or user@domain"),
        Question("to", "Enter what it becomes"),
    ),
    rights=RIGHTS,
)
MASQUERADE: Final = Table(
    command=f"{COMMAND} masquerade",
    path=("listener", "NAME", "masquerade"),
    key="match",
    one="masquerading entry",
    many="masquerading entries",
    format=Lines("Masquerading: MATCH ADDRESS", "match", "to"),
    columns=(("match", "Address"), ("to", "Becomes")),
    summary="Show and change what addresses of senders become.",
    places=("match", "to"),
    questions=(
        Question("match", "Enter the source address or domain: user, user@domain, @domain, @.partial or ALL"),
        Question("to", "Enter the masqueraded address or domain"),
    ),
    rights=RIGHTS,
    ordered=True,
    extras=(Extra("CONFIG", "Choose where addresses are masqueraded.", f"{COMMAND} masquerade config"),),
)


def _settings(word: str, title: str, summary: str, *keys: str, **more: Any) -> Settings:
    questions = more.pop("questions", ())
    return Settings(
        command=f"{COMMAND} {word}",
        shown_by=f"{COMMAND} {word} print",
        path=("listener", "NAME"),
        title=title,
        summary=summary,
        keys=keys,
        questions=questions,
        rights=RIGHTS,
        **more,
    )


TIMES = ("command_timeout_s", "data_timeout_s", "success_timeout_s", "max_connection_s", "opening_timeout_s")
ERRORS = ("max_errors", "max_idle_commands", "error_delay_s", "error_delay_after", "max_error_delay_s")
SETTINGS: Final = (
    _settings(
        "limits",
        "the connection limit of the listener",
        "Change how many connections a listener takes.",
        "max_connections",
        "tcp_queue",
        questions=(
            Question("max_connections", "Enter the maximum number of concurrent connections for this listener"),
            Question("tcp_queue", "Enter the size of the TCP listen queue"),
        ),
    ),
    _settings(
        "setup",
        "the setup of the listener",
        "Change what a listener lets pass and adds, and how long it is patient with errors.",
        *("eight_bit_headers", "max_received", "reject_local_characters", "handler", *ERRORS, "heading", "footer"),
        refers={"heading": Reference(("text",)), "footer": Reference(("text",))},
    ),
    _settings("timeouts", "the set of time-outs of the listener", "Change how long a listener waits.", *TIMES),
    _settings(
        "greeting",
        "the greeting of the listener",
        "Change what happens before a listener greets: names, delay, early talk.",
        *("reverse_names", "reverse_timeout_s", "greet_delay_s", "early_talk"),
    ),
    _settings(
        "proxy",
        "the list of proxies of the listener",
        "Change who may speak for others by PROXY headers and XCLIENT.",
        *("proxy_from", "xclient_from"),
    ),
    _settings(
        "tls",
        "TLS of the listener",
        "Change whether a listener offers TLS. Certificates go by the name that a client asks for (`certconfig`).",
        *("tls", "policy.tls"),
        questions=_ask_tls,
    ),
    _settings(
        "smtpauth",
        "SMTP authentication of the listener",
        "Change whether clients of a listener may, or have to, log in.",
        "policy.auth",
        questions=_ask_auth,
    ),
    _settings(
        "bounceconfig",
        "the bounce profile of the listener",
        "Choose the bounce profile of what a listener takes.",
        "bounce_profile",
        questions=(Question("bounce_profile", "Please choose a bounce profile to apply:"),),
        refers={"bounce_profile": Reference(("bounce_profile",), also=("Default",))},
    ),
    _settings(
        "bounceverification",
        "bounce verification of the listener",
        "Change what a listener does with bounces to addresses without a valid tag.",
        *("bounce_verification", "bounce_verification_header"),
    ),
    _settings(
        "masquerade config",
        "masquerading of the listener",
        "Choose where addresses of senders are masqueraded.",
        "masquerade_in",
    ),
    _settings(
        "hostaccess default",
        "the default policy of the listener",
        "Change the default policy: what counts for peers in no group, and where a policy says nothing.",
        *("default_rule", "default_policy", *(PREFIX + name for name in (*POLICY_KEYS, *_ANSWERS, *_REJECTING))),
        questions=_ask_defaults,
    ),
)
GLOBAL: Final = (
    Settings(
        command="listenerconfig setup conservation",
        shown_by="listenerconfig setup conservation print",
        path=("conservation",),
        title="resource conservation",
        summary="Change when and how receiving slows down as a whole.",
        rights=RIGHTS,
    ),
    Settings(
        command="listenerconfig setup login",
        shown_by="listenerconfig setup login print",
        path=("smtp_login",),
        title="the limit on failed log-ins",
        summary="Change how failed log-ins at listeners are slowed down and locked out.",
        rights=RIGHTS,
    ),
)
TABLES: Final = (RECIPIENTS, GROUPS, POLICIES, DOMAIN_MAP, MASQUERADE)
OPERATIONS: Final = (
    Extra("NAME", "Change the name of the listener.", f"{COMMAND} name"),
    Extra("INTERFACE", "Change the interface and the port.", f"{COMMAND} interface"),
    Extra("CERTIFICATE", "Change how TLS begins and whether it is offered.", f"{COMMAND} tls"),
    Extra("LIMITS", "Change the injection limits.", f"{COMMAND} limits"),
    Extra("SETUP", "Configure general options.", f"{COMMAND} setup"),
    Extra("TIMEOUTS", "Change how long the listener waits.", f"{COMMAND} timeouts"),
    Extra("GREETING", "Change what happens before the greeting.", f"{COMMAND} greeting"),
    Extra("PROXY", "Choose who may speak for others.", f"{COMMAND} proxy"),
    Extra("HOSTACCESS", "Modify the Host Access Table.", f"{COMMAND} hostaccess"),
    Extra("RCPTACCESS", "Modify the Recipient Access Table.", f"{COMMAND} rcptaccess"),
    Extra(
        "BOUNCECONFIG",
        "Choose the bounce profile to use for messages injected on this listener.",
        f"{COMMAND} bounceconfig",
    ),
    Extra("BOUNCEVERIFICATION", "Choose what to do with bounces without a valid tag.", f"{COMMAND} bounceverification"),
    Extra("MASQUERADE", "Configure the domain masquerading table.", f"{COMMAND} masquerade"),
    Extra("DOMAINMAP", "Configure domain mappings.", f"{COMMAND} domainmap"),
    Extra("SMTPAUTH", "Configure SMTP authentication.", f"{COMMAND} smtpauth"),
)
"""The operations of EDIT in the model's order, with ours among them; a command that is not there is left out."""

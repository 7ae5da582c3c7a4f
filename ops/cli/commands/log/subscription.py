"""`logconfig`: which logs there are, how they are kept, where they go; declarations for the table engine.

`hostkeyconfig` looks at the key of a host that saved files are to go to, and shows the key that this machine logs in
with there. Order of questions: behaviour.md 3.1.
"""

from typing import Annotated, Any

from core.log.subscription import DEFAULTS, DOMAIN_DEBUG, INJECTION_DEBUG, TYPES
from ops.cli.account import ADMINISTRATORS
from ops.cli.argument import Help
from ops.cli.commands.log.choice import logs_of, off_loop
from ops.cli.dialogue import Dialogue
from ops.cli.editing import Extra, Question, Rights, Settings, Table
from ops.cli.editing.asking import Asking
from ops.cli.registry import MACHINES, Call, Document, command
from ops.formats.ini import Sections

_RIGHTS = Rights(writers=ADMINISTRATORS, machines=MACHINES)
_TYPES = {name: words for name, (words, _) in TYPES.items()}
_WAYS = {"none": "Manual Download", "scp": "SCP Push (SFTP where the host has it)", "syslog": "Syslog Push"}
_STAYS = "is always there; switch it off with `logconfig edit NAME --enabled no`"


async def _questions(asking: Asking) -> None:
    if asking.new:
        await asking.key("type", "Choose the log file type for this subscription:", _TYPES)
        await asking.key("name", "Please enter the name for the log:")
    else:
        await asking.key("enabled", "Do you want this log to be written?")
    kind = asking.value("type")
    if kind == INJECTION_DEBUG:
        await asking.key("clients", "Clients: IP address, range, host name or partial host name, separated by commas:")
    if kind == DOMAIN_DEBUG:
        await asking.key("domain", "Domain of the recipients:")
    if kind in {INJECTION_DEBUG, DOMAIN_DEBUG}:
        await asking.key("sessions", "Number of SMTP sessions to record:")
    else:
        await asking.key("level", "Log level: 1 Critical, 2 Warning, 3 Information, 4 Debug:")
    await _way(asking)
    await asking.key("file_name", "Filename to use for log files (empty: after the type):")
    await asking.key("max_size", "Please enter the maximum file size (octets, or with K, M, G):")
    await asking.key("keep", "Please enter the maximum number of files:")
    await asking.key("rollover_every_s", "Seconds between roll-overs by time (0: none):")
    await asking.key("rollover_at", "Times of day to roll over at, as 00:00, 12:00 (none: -):")


async def _way(asking: Asking) -> None:
    """Ask how the log leaves the machine."""
    way = await asking.key("retrieval", "Choose the method to retrieve the logs.", _WAYS)
    if way == "none":
        return
    await asking.key("host", "Hostname to deliver the logs to:")
    await asking.key("port", "Port to connect to:")
    if way == "scp":
        await asking.key("user", "Username on the remote host:")
        await asking.key("directory", "Directory on remote host to place logs:")
        await asking.key("host_key", "Its host key (`logconfig hostkeyconfig HOST` shows it; compare it first):")
    else:
        await asking.key("transport", "Which protocol do you want to use to transfer the log data?")
        await asking.key("syslog_format", "Form of the lines:")
        await asking.key("facility", "Which facility do you want the log data to be sent as?")


SUBSCRIPTIONS = Table(
    command="logconfig",
    summary="Show and change which logs are written, how they are kept and where they go.",
    path=("log_subscription",),
    key="name",
    one="log",
    many="logs",
    places=("name", "type"),
    format=Sections("Log subscriptions", "name"),
    columns=(
        ("name", "Name"),
        ("type", "Type"),
        ("level", "Level"),
        ("retrieval", "Retrieval"),
        ("enabled", "Written"),
    ),
    questions=_questions,
    rights=_RIGHTS,
    fixed=dict.fromkeys(DEFAULTS, _STAYS),
    given={name: {"type": kind} for name, (kind, _) in DEFAULTS.items()},
    extras=(
        Extra("SETUP", "General settings.", "logconfig setup"),
        Extra("LOGHEADERS", "Configure headers to log.", "logconfig logheaders"),
        Extra("HOSTKEYCONFIG", "Look at host keys for SCP push.", "logconfig hostkeyconfig"),
    ),
)

SETUP = Settings(
    command="logconfig setup",
    shown_by="logconfig status",
    path=("log",),
    title="what holds for all logs",
    summary="Set what holds for all logs.",
    keys=("level", "max_bytes", "keep", "message_id", "subject", "remote_response"),
    questions=(
        Question("level", "Log level where a log has none of its own:"),
        Question("max_bytes", "Maximum file size where a log has none of its own (octets):"),
        Question("keep", "Number of files where a log has none of its own:"),
        Question("message_id", "Record Message-ID headers in Mail Logs?"),
        Question("subject", "Record the original Subject header of each message?"),
        Question("remote_response", "Record remote response text in Mail Logs?"),
    ),
    rights=_RIGHTS,
)

HEADERS = Settings(
    command="logconfig logheaders",
    shown_by="logconfig headers",
    path=("log",),
    title="the headers that are logged",
    summary="Choose headers that stand in the mail log when a message is delivered.",
    keys=("headers",),
    questions=(
        Question("headers", "List of headers you wish to record in the log files, separated by commas (none: -):"),
    ),
    rights=_RIGHTS,
)


async def _ask(call: Call, dialogue: Dialogue) -> Document | None:
    host = await dialogue.ask("Host whose key you want to see (empty: only this machine's own key):")
    return {"host": host} if host else {}


def _render(document: Document, width: int) -> str:
    lines = [f"This machine logs in to other hosts with:\n{document['own']}\n{document['own_fingerprint']}"]
    if document["host"]:
        lines.append(
            f"{document['host']} shows (compare the fingerprint with the host's administrator):\n"
            f"{document['host_key']}\n{document['fingerprint']}"
        )
    pins = [
        f"{row['log']}: {row['host']} {row['host_key'] or '(none is set: nothing is sent)'}" for row in document["set"]
    ]
    return "\n\n".join([*lines, *(["Set:\n" + "\n".join(pins)] if pins else [])])


@command(
    "logconfig hostkeyconfig",
    "Show the key of a host for SCP push, and this machine's own.",
    render=_render,
    dialogue=_ask,
    roles=ADMINISTRATORS,
    multiline=("own",),
)
async def hostkeyconfig(
    call: Call,
    host: Annotated[str, Help("host to ask for its key", "HOST")] = "",
    *,
    port: Annotated[int, Help("its SSH port", "PORT", least=1, most=65535)] = 22,
) -> Document:
    """A key counts once it stands in the log's `host_key`: `logconfig edit NAME --host-key KEY`."""
    from core.ssh import ensure_key, fingerprint, host_key_fingerprint, public_text  # only this needs SSH

    logs = logs_of(call)
    key = await off_loop(lambda: ensure_key(logs.key, f"logs@{call.appliance.hostname}"))
    document: dict[str, Any] = {"own": public_text(key), "own_fingerprint": fingerprint(key), "host": host}
    if host:
        found = await host_key_fingerprint(host, port)
        document |= {"host_key": found.public, "fingerprint": found.fingerprint}
    document["set"] = [
        {"log": one.name, "host": one.push.host, "host_key": one.push.host_key}
        for one in logs.all()
        if one.push is not None and one.push.method == "scp"
    ]
    return document


COMMANDS = (hostkeyconfig,)
EDITED = (SUBSCRIPTIONS, SETUP, HEADERS)

"""`alertconfig`: who gets alerts of which classes, how often and from whom; `displayalerts`: what became of them.

Changes go to the caller's pending copy. `alertconfig test` sends now, by the direct path, as the pending copy says.
"""

import asyncio
import secrets
from typing import Annotated, Literal

from core.alert.config import AlertsSection, alerting_of, is_mailbox, takers
from core.alert.kind import CLASSES, split_choice
from core.alert.record import Alert, Delivery
from core.errors import EX_DATAERR, EX_NOINPUT, EX_UNAVAILABLE, GatepostError
from ops.cli.account import ADMINISTRATORS, STAFF
from ops.cli.argument import Help
from ops.cli.commands.staged import (
    File,
    also_called,
    put,
    read_rows,
    render_staged,
    render_written,
    section,
    stage,
    sure,
    words_of,
    write_rows,
)
from ops.cli.display import fitted, moment, number, reason
from ops.cli.registry import Call, Document, command
from ops.cli.table import Column, table
from ops.configuration.place import Tables
from ops.formats.line import Lines

TEST_KIND = "SYSTEM.TEST"
FORM = Lines("Who gets which alerts: ADDRESS: CLASS, CLASS/SEVERITY", "address", "classes", several=True)
Classes = Annotated[str, Help("All, or classes separated by commas, each with its least severity if need be", "CLASS")]
Severity = Annotated[Literal["info", "warning", "critical", ""], Help("the least that is sent", "SEVERITY")]
Address = Annotated[str, Help("mail address")]
Yes = Annotated[bool, Help("do it without a question")]
SETTINGS = ("severity", "repeat_s", "repeat_longest_s", "per_hour", "host", "port")


def rows_of(tables: Tables) -> list[Tables]:
    """Give all recipients, those of [alerts] recipients as rows that take everything."""
    alerts = section(tables, "alerts")
    least = alerts.get("severity", "info")
    plain = [{"address": one, "classes": ["All"], "severity": least} for one in alerts.get("recipients", ())]
    return plain + [
        {
            "address": row.get("address", ""),
            "classes": row.get("classes", ["All"]),
            "severity": row.get("severity", "info"),
        }
        for row in tables.get("alert_recipient", ())
    ]


def _put_rows(tables: Tables, rows: list[Tables]) -> None:
    """Write all recipients as rows of [[alert_recipient]]."""
    put(tables, "alerts", recipients=None)
    if rows:
        tables["alert_recipient"] = rows
    else:
        tables.pop("alert_recipient", None)


def _find(rows: list[Tables], address: str) -> Tables:
    found = next((row for row in rows if row["address"].lower() == address.lower()), None)
    if found is None:
        known = ", ".join(row["address"] for row in rows) or "none"
        raise GatepostError(f"nobody gets alerts at {address!r}; recipients: {known}", EX_NOINPUT)
    return found


def _classes(text: str) -> list[str]:
    """Read classes. Raises status 65 naming what there is."""
    try:
        pairs = [split_choice(one) for one in words_of(text)]
    except ValueError as error:
        raise GatepostError(str(error), EX_DATAERR) from None
    return ["/".join(part for part in pair if part) for pair in pairs] or ["All"]


def facts_of(tables: Tables, hostname: str) -> Document:
    found = AlertsSection().model_dump(mode="json") | section(tables, "alerts")
    return {
        "recipients": rows_of(tables),
        "from": found["sender"] or f"alert@{hostname}",
        **{name: found[name] for name in SETTINGS},
        "classes": [{"name": name, "about": about} for name, about in CLASSES.items()],
    }


def _seconds(value: float) -> str:
    return f"{value:,g}"


def render_list(document: Document, width: int) -> str:
    """Show recipients, then what holds for all."""
    rows = document["recipients"]
    lines = ["Alerts will be sent to nobody."]
    if rows:
        heads = [Column("Recipient", least=20), Column("Classes", least=20), Column("Severity")]
        cells = [[row["address"], ", ".join(row["classes"]), f"{row['severity']} and above"] for row in rows]
        lines = ["Sending alerts to:", table(heads, cells, width)]
    way = f"{document['host']} port {document['port']}" if document["host"] else "the mail exchangers of the recipient"
    lines += [
        "",
        f"Initial number of seconds to wait before sending a duplicate alert: {_seconds(document['repeat_s'])}",
        f"Maximum number of seconds to wait before sending a duplicate alert: {_seconds(document['repeat_longest_s'])}",
        f"Most alerts within an hour: {number(document['per_hour'])}",
        f"Alerts are sent from {document['from']}, to {way}.",
    ]
    return fitted("\n".join(lines), width)


@command("alertconfig list", "Show who gets which alerts.", render=render_list)
async def alertconfig_list(call: Call) -> Document:
    """As the pending configuration has it."""
    return facts_of(call.editing.tables(), call.appliance.hostname)


@command("alertconfig new", "Have somebody get alerts.", render=render_staged, roles=ADMINISTRATORS)
async def alertconfig_new(
    call: Call, address: Address, *, classes: Classes = "All", severity: Severity = "info"
) -> Document:
    """A class may carry its own least severity: `--classes All/Critical,Mail/Info`."""
    row = {"address": address, "classes": _classes(classes), "severity": severity or "info"}

    def edit(tables: Tables) -> None:
        rows = rows_of(tables)
        if any(one["address"].lower() == address.lower() for one in rows):
            raise GatepostError(f"{address} gets alerts already; change that with alertconfig edit", EX_DATAERR)
        _put_rows(tables, [*rows, row])

    return await stage(call, f"alerts of {', '.join(row['classes'])} go to {address}", edit, recipient=row)


@command("alertconfig edit", "Change what somebody gets.", render=render_staged, roles=ADMINISTRATORS)
async def alertconfig_edit(
    call: Call,
    address: Address,
    *,
    to: Annotated[str, Help("another address", "ADDRESS")] = "",
    classes: Classes = "",
    severity: Severity = "",
) -> Document:
    """What is not given stays."""
    wanted = {"address": to, "classes": _classes(classes) if classes else None, "severity": severity}

    def edit(tables: Tables) -> None:
        rows = rows_of(tables)
        _find(rows, address).update({key: value for key, value in wanted.items() if value})
        _put_rows(tables, rows)

    return await stage(call, f"alerts for {to or address} were changed", edit)


@command("alertconfig delete", "Send somebody no more alerts.", render=render_staged, roles=ADMINISTRATORS)
async def alertconfig_delete(call: Call, address: Address) -> Document:
    """All classes."""

    def edit(tables: Tables) -> None:
        rows = rows_of(tables)
        rows.remove(_find(rows, address))
        _put_rows(tables, rows)

    return await stage(call, f"no more alerts go to {address}", edit)


def _as_written(row: Tables) -> Tables:
    """Give a row as its file has it: the least severity stands with each class that has none of its own."""
    least = "" if row["severity"] == "info" else f"/{row['severity'].capitalize()}"
    return {"address": row["address"], "classes": [one if "/" in one else one + least for one in row["classes"]]}


@command(
    "alertconfig export",
    "Write who gets which alerts to a file.",
    render=render_written,
    roles=STAFF,
    multiline={"text"},
)
async def alertconfig_export(call: Call, file: File) -> Document:
    """One recipient a line: `ADDRESS: CLASS, CLASS/SEVERITY`."""
    return await write_rows(call, FORM, file, [_as_written(row) for row in rows_of(call.editing.tables())])


@command("alertconfig import", "Read who gets which alerts from a file.", render=render_staged, roles=ADMINISTRATORS)
async def alertconfig_import(call: Call, file: File) -> Document:
    """In the place of all that there are. A line that cannot be read refuses the whole file, with its number."""
    found = await read_rows(call, FORM, file)
    rows = [{"address": one["address"], "classes": _classes(",".join(one["classes"]))} for one in found]
    rows = [row | {"severity": "info"} for row in rows]
    return await stage(call, f"{len(rows)} alert recipients were imported", lambda tables: _put_rows(tables, rows))


@command("alertconfig clear", "Send nobody any alerts.", render=render_staged, roles=ADMINISTRATORS)
async def alertconfig_clear(call: Call, *, yes: Yes = False) -> Document:
    """They are still recorded, for displayalerts."""
    sure(yes, "nobody would get alerts any more")
    return await stage(call, "alerts go to nobody", lambda tables: _put_rows(tables, []))


@command(
    "alertconfig setup", "Set how often alerts are sent, and by which host.", render=render_staged, roles=ADMINISTRATORS
)
async def alertconfig_setup(
    call: Call,
    *,
    repeat_s: Annotated[float | None, Help("seconds before the same alert again", "SECONDS", 0, 86400)] = None,
    repeat_longest_s: Annotated[
        float | None, Help("most seconds before it, each time twice as many", "SECONDS", 0, 86400)
    ] = None,
    per_hour: Annotated[int | None, Help("most alerts of all kinds in an hour", "N", 1, 10000)] = None,
    host: Annotated[str | None, Help("mail host that takes them; '' = the recipient's MX", "HOST")] = None,
    port: Annotated[int | None, Help("its port", "PORT", 1, 65535)] = None,
) -> Document:
    """What is not given stays."""
    given: Tables = {"repeat_s": repeat_s, "repeat_longest_s": repeat_longest_s}
    given |= {"per_hour": per_hour, "host": host, "port": port}
    values = {key: value for key, value in given.items() if value is not None}
    return await stage(call, "how alerts are sent was changed", lambda tables: put(tables, "alerts", **values))


@command("alertconfig from", "Set the sender of alerts.", render=render_staged, roles=ADMINISTRATORS)
async def alertconfig_from(
    call: Call, address: Annotated[str, Help("mail address; none = alert@HOSTNAME")] = ""
) -> Document:
    """Envelope sender and From."""
    shown = address or f"alert@{call.appliance.hostname}"
    return await stage(
        call, f"alerts are sent from {shown}", lambda tables: put(tables, "alerts", sender=address or None)
    )


def render_test(document: Document, width: int) -> str:
    """Show what became of the message at each recipient."""
    lines = [
        f"{row['address']}: {'delivered' if not row['reason'] else 'not delivered: ' + reason(row['reason'])}"
        for row in document["recipients"]
    ]
    head = f"Test alert, class {document['class']}, severity {document['severity']}:"
    return fitted("\n".join([head, *lines]), width)


@command("alertconfig test", "Send a test alert now.", render=render_test, roles=ADMINISTRATORS)
async def alertconfig_test(
    call: Call,
    to: Annotated[list[str] | None, Help("only these addresses; none = all who get the class", "ADDRESS")] = None,
    *,
    class_: Annotated[str, Help("class of the alert", "CLASS")] = "System",
    severity: Severity = "info",
) -> Document:
    """By the direct path, as the pending configuration has it: past the queue, and past the limits."""
    (chosen,) = _classes(class_)[:1]
    name, grade = chosen.partition("/")[0], (severity or "info").capitalize()
    tables = call.editing.tables()
    if call.appliance.direct is None:
        raise GatepostError("alertconfig test: this machine sends no mail from here", EX_UNAVAILABLE)
    said = alerting_of(tables)
    if bad := [one for one in to or () if not is_mailbox(one)]:
        raise GatepostError(f"{bad[0]!r} is no mail address", EX_DATAERR)
    people = list(to or ()) or takers(said.alerts, said.alert_recipient, name, grade)
    if not people:
        raise GatepostError(f"nobody gets {name}/{grade} alerts; name an address, or see alertconfig new", EX_NOINPUT)
    direct = call.appliance.direct(tables)
    text = f"This is a test alert, asked for by {call.caller}.\n\nHost: {call.appliance.hostname}\nAlert: {TEST_KIND}\n"
    subject = f"{grade} {TEST_KIND}: {call.appliance.hostname}"

    async def one(recipient: str) -> Document:
        why = await direct.send(direct.message(recipient, subject, text), recipient)
        return {"address": recipient, "reason": why}

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(recipient)) for recipient in people[:100]]
    rows = [task.result() for task in tasks]
    await _remember(call, name, grade, rows)
    return {"class": name, "severity": grade, "recipients": rows}


async def _remember(call: Call, name: str, grade: str, rows: list[Document]) -> None:
    if call.appliance.alert_records is None:
        return
    now, one = call.appliance.now(), secrets.token_hex(8)
    to = tuple(row["address"] for row in rows)
    alert = Alert(one, now, "console", name, grade, TEST_KIND, f"test alert, asked for by {call.caller}", to)
    done = [Delivery(one, now, row["address"], row["reason"]) for row in rows]
    await asyncio.to_thread(call.appliance.alert_records.append, [alert, *done])


def render_alerts(document: Document, width: int) -> str:
    """Show each alert: when, class, severity, text, to whom, and what became of it."""
    if not document["alerts"]:
        return "No alerts have been sent or suppressed."
    parts = []
    for row in document["alerts"]:
        times = f" ({number(row['times'])} times)" if row["times"] > 1 else ""
        lines = [f"{moment(row['at'])} {row['class']}/{row['severity']} {row['alert']}, {row['daemon']}{times}"]
        lines += [f"    {line}" for line in str(row["text"]).splitlines()]
        if row["state"] == "suppressed":
            lines.append(f"    Not sent: {row['reason']}.")
        for one in row["recipients"]:
            why = f": {reason(one['reason'])}" if one["reason"] else ""
            lines.append(fitted(f"    {one['address']}: {one['state']}{why}", width))
        parts.append("\n".join(lines))
    return "\n".join(parts)


@command("displayalerts", "Show the last alerts and what became of them.", render=render_alerts, multiline={"text"})
async def displayalerts(call: Call, count: Annotated[int, Help("how many", "N", 1, 1000)] = 10) -> Document:
    """The latest first: those that were sent, and those that were left out and why. Alerts of all daemons."""
    if call.appliance.alert_records is None:
        return {"alerts": []}
    return {"alerts": await asyncio.to_thread(call.appliance.alert_records.last, count)}


COMMANDS = (
    alertconfig_list,
    also_called(alertconfig_list, "alertconfig print"),
    alertconfig_new,
    alertconfig_edit,
    alertconfig_delete,
    alertconfig_clear,
    alertconfig_export,
    alertconfig_import,
    alertconfig_setup,
    alertconfig_from,
    alertconfig_test,
    displayalerts,
)

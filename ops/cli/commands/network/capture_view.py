"""How `packetcapture` shows the state, the settings and the files of captures; knows their documents only."""

from collections.abc import Sequence

from ops.cli.display import brief, fitted, folded, moment, number
from ops.cli.registry import Document
from ops.cli.table import Column, table


def render_status(document: Document, width: int) -> str:
    """Show what runs, what the last one came to, and the settings."""
    lines = ["Status: a capture is running" if document["running"] else "Status: No capture running"]
    if document["running"]:
        lines += [
            f"  Capture:      {document['name']}, started by {document['by']}",
            f"  Current size: {octets(document['bytes'])} (maximum {octets(document['max_bytes'])})",
            f"  Elapsed:      {brief(document['elapsed_s'])}",
            f"  Interfaces:   {document['interface']}",
            f"  Filter:       {document['filter'] or '(none)'}",
        ]
    elif last := document["last"]:
        lines.append(folded("Last capture: ", _came_to(last), width))
    setting = document["setting"]
    lines += [
        "",
        "Current Configuration:",
        f"  Max file size:      {octets(setting['max_bytes'])}",
        f"  Capture Limit:      {_limit(setting)}",
        f"  Capture Interfaces: {', '.join(setting['interfaces'])}",
        f"  Capture Filter:     {setting['filter'] or '(none)'}",
    ]
    return "\n".join(lines)


def _came_to(last: Document) -> str:
    if "ended_at" not in last:
        return f"{last.get('name')}, broken off: its keeper was killed"
    ended = moment(last["ended_at"])
    return f"{last['name']}, {number(last['packets'])} packets, {octets(last['bytes'])}; {last['reason']}, {ended}"


def render_start(document: Document, width: int) -> str:
    """Say what was begun, or what it came to."""
    if document["running"]:
        return f"Packet capture {document['name']} has started.\nIt ends with this session, or `packetcapture stop`."
    return fitted(f"Packet capture {_came_to(document)}.\n" + "\n".join(document["files"]), width)


def render_stop(document: Document, width: int) -> str:
    """Say what it came to."""
    return fitted(f"Packet capture {_came_to(document)}.", width)


def render_setup(document: Document, width: int) -> str:
    """Show the settings."""
    lines = [f"Maximum size {octets(document['max_bytes'])}", f"limit: {_limit(document)}"]
    lines += [f"interfaces: {', '.join(document['interfaces'])}", f"filter: {document['filter'] or '(none)'}"]
    return fitted("; ".join(lines) + ".", width)


def render_list(document: Document, width: int) -> str:
    """Show one file a line."""
    heads = [Column("File", least=20), Column("Size", right=True), Column("Written")]
    rows = [[str(one["name"]), octets(one["bytes"]), moment(one["written_at"])] for one in document["files"]]
    shown = table(heads, rows, width) if rows else "There are no captures."
    return f"{shown}\nFetch them with sftp or scp from captures/." if rows else shown


def render_delete(document: Document, width: int) -> str:
    """Say how many went."""
    return f"{_counted(document['deleted'])} deleted."


def _counted(names: Sequence[str]) -> str:
    return "1 file was" if len(names) == 1 else f"{len(names)} files were"


def _limit(setting: Document) -> str:
    if setting["until_full"]:
        return "Until the maximum size is reached"
    return brief(setting["duration_s"]) if setting["duration_s"] else "None (run until stopped)"


def octets(value: int) -> str:
    """Show a size in the units in which the maximum is given, those of tcpdump."""
    for unit, length in (("GB", 1_000_000_000), ("MB", 1_000_000), ("KB", 1_000)):
        if value >= length:
            return f"{value / length:.1f}".removesuffix(".0") + f" {unit}"
    return f"{value} bytes"

"""Random valid configurations go through files and dialogues of the console unchanged. All: `GATEPOST_LONG=1`."""

import asyncio
import shlex
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from core.config.document import check_document
from core.schema import Row, get
from daemons.config import DOCUMENTS
from daemons.operator import document_keys
from ops.cli.account import LOCAL
from ops.cli.commands import aliases, delivering, log, quarantining, routing, text
from ops.cli.commands.listener.table import TABLES as OF_A_LISTENER
from ops.cli.editing import Table
from ops.cli.editing.row import Described, described
from ops.cli.session import Session
from ops.configuration.toml import toml
from tests.support.documents import valid_documents
from tests.support.editing import NoSync
from tests.support.long import either
from tests.support.operating import Operating
from tests.support.typist import Typist

DECLARED = [
    *(one for module in (aliases, delivering, log, quarantining, routing, text) for one in module.EDITED),
    *OF_A_LISTENER,
]
ALL = [described(one, document_keys()) for one in DECLARED if isinstance(one, Table)]
RANDOM = settings(
    max_examples=either(12, 1000),
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
        HealthCheck.large_base_example,
        HealthCheck.function_scoped_fixture,
    ],
)


class Trip:
    """One machine with one configuration."""

    def __init__(self, folder: Path, role: str, tables: dict[str, Any]) -> None:
        self.role = role
        self.machine = Operating(folder, toml(tables), disk=NoSync())

    @property
    def tables(self) -> dict[str, Any]:
        """The pending configuration."""
        found: dict[str, Any] = self.machine.tables()
        return found

    async def runs(self, *words: str) -> None:
        """Run a command that must succeed."""
        result = await self.machine.ran(shlex.join(words))
        assert result.status == 0, (words, result)

    async def clears(self, command: list[str]) -> bool:
        """Clear a table; False for one that something else in its listener needs."""
        result = await self.machine.ran(shlex.join([*command, "clear"]))
        assert result.status == 0 or "default_policy names" in result.error, (command, result)
        return result.status == 0

    def there(self) -> Iterator[tuple[Described, list[str], tuple[str, ...]]]:
        """Give every table that has rows, the words of its command, and what stands in their places."""
        for one in ALL:
            nested = any(part == "NAME" for part in one.table.path)
            names = [str(row.get("name", "InboundMail")) for row in self.tables.get("listener", [])] if nested else [""]
            for name in names:
                places = (name,) if nested else ()
                command = [name if word == "NAME" else word for word in one.table.command.split()]
                rows = [one.name(row).rstrip(".").lower() for row in one.load(self.tables, places)]
                # A document may have a name twice in some tables; a file with one is refused.
                if self.role in one.table.rights.machines and rows and len(rows) == len(set(rows)):
                    yield one, command, places

    async def types(self, one: Described, command: list[str], row: Row, monkeypatch: Any) -> Typist:
        """Type a row into the dialogue."""
        typist = Typist(row, [shlex.join(command), "new"], ["", "exit", "exit"])
        with typist.sits(monkeypatch):
            await Session(self.machine.executor, LOCAL, typist, idle_s=60).run()
        return typist


def words_of(one: Described, row: Row, *, new: bool, keys: Sequence[str] = ()) -> list[str]:
    """Give the words that say a row in batch form: those that stand, then options."""
    standing = [name for name in one.table.places or (one.table.key,) if new or name != one.table.key]
    said, loose = [], []
    for key in one.keys:
        value = get(row, key.name)
        if value is None or (keys and key.name not in keys):
            continue
        if new and key.name in standing:
            continue
        said.append(f"--{key.name.replace('_', '-').replace('.', '-')}={key.show(value)}")
    for name in standing if new else ():
        value = get(row, name)
        if value is not None:
            loose += [one.key(name).show(value)]
    return [*said, "--", *loose]


def typable(one: Described, row: Row) -> bool:
    """Tell whether a row can be put in on lines: blanks at the ends and line ends are lost there."""
    body = row.get("text") if one.table.command == "textconfig" else "x"
    if not body or "." in (lines := str(body).split("\n")) or not all(line.isprintable() for line in lines):
        return False
    shown = [key.show(get(row, key.name)) for key in one.keys if key.name != "text"]
    return all(text == text.strip() and text.isprintable() and text != "-" for text in shown)


async def _add(trip: Trip, one: Described, command: list[str], row: Row) -> None:
    """Put a row in by the batch form; one that is always there is changed."""
    if one.fixed(one.name(row)):
        await trip.runs(*command, "edit", *words_of(one, row, new=False), one.name(row))
    else:
        await trip.runs(*command, "new", *words_of(one, row, new=True))


async def through_files(trip: Trip) -> None:
    """Export, clear and import every table."""
    for one, command, places in list(trip.there()):
        before = trip.tables
        await trip.runs(*command, "export", "table.txt")
        await trip.clears(command)
        await trip.runs(*command, "import", "table.txt")
        assert counted(one, trip.tables, places) == counted(one, before, places), (command, one.load(before, places))


async def through_commands(trip: Trip) -> None:
    """Clear every table and put its rows in again, one command each."""
    for one, command, places in list(trip.there()):
        before = trip.tables
        rows = one.load(before, places) if await trip.clears(command) else []
        for row in rows:
            await _add(trip, one, command, row)
        assert counted(one, trip.tables, places) == counted(one, before, places), (command, one.load(before, places))


async def through_dialogues(trip: Trip, monkeypatch: Any) -> None:
    """Clear every table and type its rows in again; what no question is about is added by `edit`."""
    for one, command, places in list(trip.there()):
        before = trip.tables
        rows = one.load(before, places) if await trip.clears(command) else []
        for row in rows:
            if one.fixed(one.name(row)) or not typable(one, row):
                await _add(trip, one, command, row)
                continue
            typist = await trip.types(one, command, row, monkeypatch)
            assert one.place(one.load(trip.tables, places), one.name(row)) is not None, typist.shown
            rest = [key.name for key in one.keys if key.name not in typist.asked and get(row, key.name) is not None]
            if rest:
                await trip.runs(*command, "edit", *words_of(one, row, new=False, keys=rest), one.name(row))
        assert counted(one, trip.tables, places) == counted(one, before, places), (command, one.load(before, places))


def counted(one: Described, tables: dict[str, Any], places: Sequence[str]) -> list[Row]:
    """Give what the rows of a table come to; by name where their order is of no importance."""
    rows = one.load(tables, places)
    full = [{**row, **one.effective(row, rows)} for row in rows]
    for row in full:
        # Blanks at the ends of a value do not count, and names that are chosen come out as the list has them.
        row.update({name: value.strip() for name, value in row.items() if isinstance(value, str)})
        row.update({name: str(row[name]).lower() for name in one.table.refers if isinstance(row.get(name), str)})
    return full if one.table.ordered else sorted(full, key=one.name)


@pytest.mark.parametrize("role", ["esa", "sma"])
@RANDOM
@given(data=st.data())
def test_every_table_survives_files_commands_and_dialogues(role: str, data: Any, monkeypatch: Any) -> None:
    document = data.draw(valid_documents(role))

    async def there_and_back(folder: Path) -> None:
        trip = Trip(folder, role, document)
        await through_files(trip)
        await through_commands(trip)
        await through_dialogues(trip, monkeypatch)
        check_document(trip.tables, DOCUMENTS[role], "afterwards")

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(there_and_back(Path(folder)))

"""Editing: a pending copy per login, faults of what was touched refused, everything else a warning."""

from pathlib import Path
from typing import Any

import pytest

from core.errors import GatepostError
from ops.configuration.commit import Wish
from ops.configuration.place import Tables
from tests.support.editing import Notes, editable, write


def _hostname(tables: Tables) -> None:
    tables["appliance"]["hostname"] = "mx.example.test"


def _add(**row: Any) -> Any:
    def edit(tables: Tables) -> None:
        tables.setdefault(row.pop("table"), []).append(row)

    return edit


async def test_a_change_is_pending_for_its_login_and_for_nobody_else(tmp_path: Path) -> None:
    config, notes = write(tmp_path), Notes()
    appliance = editable(config, notes)
    mine = appliance.editing("admin")
    assert not mine.pending
    assert await mine.change("hostname mx.example.test", _hostname) == []
    assert mine.tables()["appliance"]["hostname"] == "mx.example.test"
    assert mine.in_force()["appliance"]["hostname"] == "esa.example.test"
    assert [change.what for change in mine.changes] == ["hostname mx.example.test"]
    assert not appliance.editing("other").pending
    assert notes.lines == ["admin changed the pending configuration: hostname mx.example.test"]


async def test_a_pending_copy_outlives_the_process_and_is_private(tmp_path: Path) -> None:
    config = write(tmp_path)
    await editable(config).editing("a.b/../c").change("x", _hostname)
    again = editable(config).editing("a.b/../c")
    assert again.pending
    assert {path.parent for path in tmp_path.rglob("*%2Fc.*")} == {tmp_path / "state" / "pending"}
    assert {path.stat().st_mode & 0o777 for path in again.place.pending.glob("*.toml")} == {0o600}


async def test_a_fault_under_what_was_touched_keeps_nothing(tmp_path: Path) -> None:
    editing = editable(write(tmp_path)).editing("admin")
    with pytest.raises(GatepostError) as refused:
        await editing.change("route", _add(table="route", domain="no blank", hosts=["a b"], colour="red"))
    assert refused.value.status == 65
    assert "route[1].colour: unknown key" in refused.value.text
    assert "route[1].hosts" in refused.value.text
    assert not editing.pending


async def test_a_fault_elsewhere_is_a_warning(tmp_path: Path) -> None:
    text = (tmp_path / "x").with_name("gatepost.toml")
    editing = editable(write(tmp_path)).editing("admin")
    assert text.exists()

    def use(tables: Tables) -> None:
        tables["bounce_profile"] = [{"name": "Mine"}]
        tables["destination"] = [{"domain": "a.example", "bounce_profile": "Mine"}]

    def remove(tables: Tables) -> None:
        del tables["bounce_profile"]

    assert await editing.change("use", use) == []
    warnings = await editing.change("remove", remove)
    assert len(warnings) == 1
    assert warnings[0].startswith("commit will refuse: destination[1].bounce_profile: ")
    assert editing.pending


async def test_a_change_back_leaves_nothing_pending(tmp_path: Path) -> None:
    editing = editable(write(tmp_path)).editing("admin")
    await editing.change("there", _hostname)
    await editing.change("back", lambda tables: tables["appliance"].update(hostname="esa.example.test"))
    assert not editing.pending


async def test_clear_drops_the_copy(tmp_path: Path) -> None:
    editing = editable(write(tmp_path)).editing("admin")
    await editing.change("there", _hostname)
    assert await editing.clear()
    assert not await editing.clear()
    assert editing.tables() == editing.in_force()


async def test_what_is_given_out_is_a_copy(tmp_path: Path) -> None:
    editing = editable(write(tmp_path)).editing("admin")
    editing.tables()["listener"].clear()
    editing.in_force()["listener"].clear()
    assert len(editing.tables()["listener"]) == 2


async def test_nothing_of_a_commit_lies_where_support_reads_and_writes(tmp_path: Path) -> None:
    """Versions held secrets in configuration/, and a file put there could have been gone back to."""
    appliance = editable(write(tmp_path))
    await appliance.editing("admin").change("hostname", _hostname)
    await appliance.committer().commit("admin", Wish("admin", confirm_s=60))
    assert not (tmp_path / "configuration").exists()
    assert {path.name for path in (tmp_path / "state" / "configuration").iterdir()} == {
        "lock",
        "versions",
        "confirm.json",
    }


async def test_a_version_of_many_changes_and_a_long_comment_is_found_again(tmp_path: Path) -> None:
    """Its head was cut when it was read: the next version took its number, and its place."""
    appliance = editable(write(tmp_path))
    editing, committer = appliance.editing("admin"), appliance.committer()
    for number in range(30):
        row = _add(table="route", domain=f"d{number}.example", hosts=["192.0.2.1"])
        await editing.change(f"smtproutes new {'ä' * 2000}", row)
    first = await committer.commit("admin", Wish("admin", comment="ä" * 500))
    await editing.change("hostname", _hostname)
    second = await committer.commit("admin", Wish("admin"))
    assert first is not None
    assert second is not None
    assert second.version.number == first.version.number + 1
    assert [one.number for one in committer.versions.all()][:2] == [second.version.number, first.version.number]

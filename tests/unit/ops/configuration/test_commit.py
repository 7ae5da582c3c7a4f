"""Commits whose ground moves under them: a file edited by hand, a second trial, changes made in the meantime."""

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from core.errors import GatepostError, Problem
from ops.configuration.commit import Committer, Wish
from ops.configuration.editing import Editing
from ops.configuration.handover import Answer, Handover
from ops.configuration.place import Place
from tests.support.appliance import NOW
from tests.support.editing import Notes, faults_of_document, write

Happening = Callable[[], Awaitable[object]]


async def _nothing() -> None:
    pass


class Site:
    """A machine without daemons, and what happens while a commit is under way."""

    def __init__(self, folder: Path) -> None:
        self.config = write(folder)
        self.place = Place(self.config)
        self.preparing: Happening = _nothing
        self.applying: Happening = _nothing
        self.notes = Notes()
        site = self

        class Eventful(Handover):
            async def prepare(self, file: Path, token: str, octets: int = 0) -> list[Answer]:
                answers = await super().prepare(file, token, octets)
                await site.preparing()
                return answers

            async def apply(self, token: str, digest: str) -> list[Answer]:
                await site.applying()
                return await super().apply(token, digest)

        self.committer = Committer(
            self.place,
            self._faults,
            note=self.notes,
            now=lambda: NOW,
            handover=lambda role: Eventful(self.place.run, role),
        )

    def _faults(self, tables: Mapping[str, Any]) -> list[Problem]:
        return faults_of_document(self.config, tables)

    def editing(self, login: str = "ann") -> Editing:
        return Editing(self.place, login, self._faults, note=self.notes, now=lambda: NOW)

    async def name(self, hostname: str) -> None:
        await self.editing().change(
            f"hostname {hostname}", lambda tables: tables["appliance"].update(hostname=hostname)
        )

    @property
    def hostname(self) -> str:
        return str(self.place.in_force().tables["appliance"]["hostname"])


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


async def test_a_file_edited_by_hand_while_a_commit_is_under_way_is_not_written_over(site: Site) -> None:
    by_hand = site.config.read_text().replace("esa.example.test", "hand.example.test")

    async def edit() -> None:
        site.config.write_text(by_hand)

    site.preparing = edit
    await site.name("mine.example.test")
    with pytest.raises(GatepostError, match="edited by hand in the meantime") as refused:
        await site.committer.commit("ann", Wish("ann", confirm_s=60.0))
    assert refused.value.status == 65
    assert site.config.read_text() == by_hand
    assert not site.committer.confirmations.any, "what is not in force waits for nobody"
    assert not site.committer.left_over
    assert [one.comment for one in site.committer.versions.all()] == ["found in gatepost.toml"]
    assert site.editing().pending


async def test_a_second_trial_goes_back_to_what_was_confirmed_last(site: Site) -> None:
    for name in ("one", "two"):
        await site.name(f"{name}.example.test")
        done = await site.committer.commit("ann", Wish("ann", confirm_s=60.0))
        assert done is not None
        assert done.until_at == NOW + 60.0
    waiting = site.committer.confirmations.waiting(site.place.in_force().digest)
    assert waiting is not None
    assert await site.committer.go_back(waiting) is not None
    assert site.hostname == "esa.example.test"
    assert not site.committer.confirmations.any
    assert await site.committer.go_back(waiting) is None, "that is settled"


async def test_a_commit_after_a_trial_confirms_both(site: Site) -> None:
    await site.name("one.example.test")
    await site.committer.commit("ann", Wish("ann", confirm_s=60.0))
    await site.name("two.example.test")
    done = await site.committer.commit("ann", Wish("ann"))
    assert done is not None
    assert (done.confirmed, done.until_at, site.hostname) == (True, None, "two.example.test")
    assert not site.committer.confirmations.any


async def test_what_is_changed_while_a_commit_is_under_way_stays_pending(site: Site) -> None:
    await site.name("one.example.test")
    site.applying = lambda: site.editing().change("dns", lambda tables: tables.update(dns={"timeout_s": 9}))
    await site.committer.commit("ann", Wish("ann"))
    assert site.hostname == "one.example.test"
    assert "dns" not in site.place.in_force().tables
    assert [one.what for one in site.editing().changes] == ["dns"]
    assert site.editing().tables()["dns"] == {"timeout_s": 9}
    site.applying = _nothing
    await site.committer.commit("ann", Wish("ann"))
    assert site.place.in_force().tables["dns"] == {"timeout_s": 9}
    assert not site.editing().pending


@pytest.mark.parametrize("save", [True, False])
async def test_a_version_is_offered_for_rollback_if_that_was_wanted(site: Site, save: bool) -> None:
    await site.name("one.example.test")
    done = await site.committer.commit("ann", Wish("ann", save=save))
    assert done is not None
    assert (done.version.number in [one.number for one in site.committer.versions.offered()]) is save

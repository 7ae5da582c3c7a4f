"""Whole tables from files and standard input: all faults at once, nothing by half."""

from pathlib import Path

import pytest

from tests.support.operating import Operating


@pytest.fixture
def machine(tmp_path: Path) -> Operating:
    return Operating(tmp_path)


async def test_every_fault_is_told_with_its_line_and_nothing_is_changed(machine: Operating) -> None:
    await machine.ran("smtproutes new there.example mx.example")
    text = "good.example mx\n bad..example mx\nalone\nx.example USEDNS mx\ngood.example mx2\n"
    found = await machine.ran("smtproutes import -", stdin=text.encode())
    assert found.status == 65
    assert found.error == (
        "line 2: domain: 'bad..example' is not a domain name; "
        "line 3: DOMAIN HOSTS… is needed; "
        "line 4: route 'x.example': USEDNS must stand alone; "
        "line 5: good.example stands in line 1 already"
    )
    assert [row["domain"] for row in machine.tables()["route"]] == ["there.example"]


async def test_a_key_in_a_section_has_the_line_it_stands_in(machine: Operating) -> None:
    text = "[a.example]\nmax_host_concurrency = many\nspeed = 3\n[DEFAULT]\nrecipient_limit = -1\n"
    found = await machine.ran("destconfig import -", stdin=text.encode())
    assert [part.split(":")[:2] for part in found.error.split("; ") if part.startswith("line")] == [
        ["line 2", " max_connections"],
        ["line 3", " speed"],
        ["line 5", " recipient_limit"],
    ]


async def test_what_is_exported_is_imported_again(machine: Operating) -> None:
    for line in (
        "smtproutes new example.com mx1.example.com [mx2.example.com]:26/pri=7",
        "smtproutes new ALL USEDNS",
        "interfaceconfig new Out 127.0.0.1 out.example",
        "interfaceconfig groups new Both Out",
        "altsrchost new @example.com Both",
        "destconfig default --tls required-verify",
        "destconfig new example.com --recipient-limit 5 --recipient-minutes 7 --limit-type mxip",
        "bounceconfig new Bulk --bounce-to ops@example.com --max-bounce-copy 20K --delay-warnings on",
        "unsubscribe new user@example.com",
        "unsubscribe new @.example.net",
    ):
        assert (await machine.ran(line)).error == ""
    before = machine.tables()
    for command in ("smtproutes", "destconfig", "bounceconfig", "altsrchost", "unsubscribe", "interfaceconfig groups"):
        for line in (f"{command} export x.txt", f"{command} clear", f"{command} import x.txt"):
            assert (await machine.ran(line)).error == "", line
    assert (await machine.ran("interfaceconfig export -")).output.startswith(
        "# Interfaces\n\n[Out]\naddress = 127.0.0.1"
    )
    assert machine.tables() == before


async def test_rows_can_be_added_to_those_that_are_there(machine: Operating) -> None:
    await machine.ran("smtproutes new a.example old.example")
    await machine.ran("smtproutes new b.example mx")
    found = await machine.ran("smtproutes import - --add", stdin=b"A.example new.example\nc.example mx\n")
    assert found.output == "2 routes were read beside 2; pending until `commit`."
    assert [(row["domain"], row["hosts"]) for row in machine.tables()["route"]] == [
        ("A.example", ["new.example"]),
        ("b.example", ["mx"]),
        ("c.example", ["mx"]),
    ]


@pytest.mark.parametrize(
    ("data", "reason"),
    [(b"", "nothing came on standard input"), (b"a mx\n\xff", "line 2: - is no UTF-8 text")],
)
async def test_what_is_no_table_is_refused(machine: Operating, data: bytes, reason: str) -> None:
    assert reason in (await machine.ran("smtproutes import -", stdin=data)).error


async def test_a_link_is_not_followed(machine: Operating, tmp_path: Path) -> None:
    folder = machine.appliance.files
    assert folder is not None
    folder.mkdir(exist_ok=True)
    (folder / "link.txt").symlink_to(tmp_path / "gatepost.toml")
    assert "cannot be read" in (await machine.ran("smtproutes import link.txt")).error


async def test_a_large_table_is_read_listed_whole_and_written(machine: Operating) -> None:
    lines = "".join(f"d{number}.example mx{number}.example\n" for number in range(5_000))
    assert (await machine.ran("smtproutes import -", stdin=lines.encode())).error == ""
    assert (await machine.ran("smtproutes list --json")).output.count('"domain"') == 5_000
    assert (
        await machine.ran("smtproutes export all.txt")
    ).output == "5,000 routes were written to configuration/all.txt."


async def test_more_routes_than_there_may_be_are_refused(machine: Operating) -> None:
    lines = "".join(f"d{number}.example mx\n" for number in range(40_001))
    found = await machine.ran("smtproutes import -", stdin=lines.encode())
    assert (found.status, found.error) == (65, "40,001 routes, at most 40,000 are allowed")

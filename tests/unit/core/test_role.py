"""Every daemon of a role is there as what a machine needs of it."""

from pathlib import Path

import pytest

from core.role import DAEMONS, ON, roles_of

ROOT = Path(__file__).parents[3]


def test_every_daemon_belongs_to_a_role() -> None:
    assert {daemon for daemons in ON.values() for daemon in daemons} == set(DAEMONS)
    assert [roles_of(one) for one in ("gateway", "delivery-queue", "web")] == [
        ("esa",),
        ("esa", "sma"),
        ("esa", "sma", "bastion"),
    ]


@pytest.mark.parametrize("daemon", DAEMONS)
def test_a_daemon_has_a_root_a_unit_and_a_page(daemon: str) -> None:
    unit = f"gatepost-{daemon}{'@' if daemon == 'gateway' else ''}.service"
    places = (f"daemons/{daemon.replace('-', '_')}.py", f"systemd/{unit}", f"docs/daemons/{daemon}.md")
    assert [place for place in places if not (ROOT / place).is_file()] == []


@pytest.mark.parametrize("role", ON)
def test_a_role_is_wanted_by_its_target_with_its_daemons_and_no_others(role: str) -> None:
    """A gateway is wanted by the drop-in that says how many there are."""
    units = {path.name for path in (ROOT / "systemd").glob("*.service")}
    lines = (ROOT / f"systemd/gatepost-{role}.target").read_text().splitlines()
    wanted = {name for line in lines if line.startswith("Wants=") for name in line.removeprefix("Wants=").split()}
    assert wanted & units == {f"gatepost-{daemon}.service" for daemon in ON[role] if daemon != "gateway"}

"""No point at which a process may be killed is without a test that kills it there."""

import ast
from pathlib import Path

from tests.fault import test_commit, test_journal_kill, test_quarantine_kill, test_queue_kill
from tests.integration import test_tunnel_registration

ROOT = Path(__file__).parents[2]
PACKAGES = ("core", "cpq", "daemons", "mail", "ops", "protocol", "tunnel")


def points() -> dict[str, str]:
    """Find every `killpoint(NAME)` in the source: {name: file}."""
    found: dict[str, str] = {}
    for package in PACKAGES:
        for file in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "killpoint":
                    (name,) = node.args
                    assert isinstance(name, ast.Constant), f"{file}:{node.lineno}: the name must stand there"
                    assert name.value not in found, f"{name.value} is in {found[name.value]} and in {file}"
                    found[name.value] = str(file)
    return found


def killed_at() -> set[str]:
    """Name the points that tests kill at."""
    quarantine = test_quarantine_kill
    held = {*quarantine.STORING, *quarantine.RESUMING, *quarantine.RELEASING, *quarantine.SENDING}
    return (
        held
        | set(test_queue_kill.POINTS)
        | set(test_journal_kill.named_points())
        | set(test_tunnel_registration.POINTS)
        | set(test_commit.POINTS)
    )


def test_every_named_point_is_killed_at() -> None:
    found = points()
    assert found.keys() - killed_at() == set(), "kill points without a test"
    assert killed_at() - found.keys() == set(), "tests of points that are no more"
    assert len(found) >= 35

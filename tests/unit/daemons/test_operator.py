"""What commands get to know of the machine that they run on."""

import subprocess
import sys
from pathlib import Path

import pytest

from core.errors import EX_USAGE, GatepostError
from daemons.initial import make
from daemons.machine import Machine
from daemons.operator import appliance_of
from ops.cli.sessions import Sessions


def test_the_addresses_that_support_may_go_on_to_are_those_of_the_configuration(tmp_path: Path) -> None:
    make("esa", tmp_path / "esa", hostname="esa.example.test")
    appliance = appliance_of(Machine.open(tmp_path / "esa" / "gatepost.toml"), Sessions())
    appliance.check_hops([])
    appliance.check_hops(["10.1.1.5"])
    with pytest.raises(GatepostError, match=r"169\.254\.169\.254 is in none of tunnel\.hop_networks") as caught:
        appliance.check_hops(["10.1.1.5", "169.254.169.254"])
    assert caught.value.status == EX_USAGE


@pytest.mark.parametrize(
    ("module", "unused"),
    [
        (
            "daemons.operator",
            {"prompt_toolkit", "lark", "mail.pipeline", "daemons.check", "asyncssh", "prometheus_client"},
        ),
        ("daemons.config", {"asyncio", "dns", "fast_mail_parser", "apsw", "re2"}),
        ("daemons.keyd", {"aiosmtplib", "prompt_toolkit", "lark", "apsw", "dns", "fast_mail_parser"}),
        ("daemons.gatepost", {"pydantic", "asyncio", "asyncssh"}),
    ],
)
def test_what_is_not_used_at_the_start_is_not_loaded(module: str, unused: set[str]) -> None:
    """`gatepost cli` took twice as long to start: every command loaded terminal, filters and the whole of delivery."""
    code = f"import sys, {module}; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert unused & set(run.stdout.split()) == set()

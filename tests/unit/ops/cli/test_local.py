"""`gatepost cli`: one command with its status, or lines from standard input."""

import io
import json
from pathlib import Path

from ops.cli.local import run_local
from tests.support.appliance import Daemons, machine


async def test_json_goes_to_standard_output_and_errors_to_standard_error(tmp_path: Path) -> None:
    out, err = io.StringIO(), io.StringIO()
    appliance = machine(tmp_path)
    assert await run_local(appliance, ["version", "--json"], stdout=out, stderr=err) == 0
    assert json.loads(out.getvalue())["serial"] == "42AB-CD"
    assert out.getvalue().count("\n") == 1
    assert await run_local(appliance, ["tophosts", "--json"], stdout=out, stderr=err) == 69
    remedy = "start it with `gatepost run delivery-queue --config FILE`"
    assert err.getvalue() == f"gatepost: delivery-queue is not running; {remedy}\n"


async def test_exit_as_a_single_command_is_done_and_no_internal_error(tmp_path: Path) -> None:
    out, err = io.StringIO(), io.StringIO()
    assert await run_local(machine(tmp_path), ["exit"], stdout=out, stderr=err) == 0
    assert await run_local(machine(tmp_path), ["quit", "--json"], stdout=out, stderr=err) == 0
    assert (out.getvalue(), err.getvalue()) == ("{}\n", "")


async def test_usage_errors_are_status_64_and_show_the_usage(tmp_path: Path) -> None:
    err = io.StringIO()
    assert await run_local(machine(tmp_path), ["hoststatus"], stderr=err) == 64
    assert err.getvalue() == "gatepost: hoststatus: HOST is missing; usage: hoststatus HOST\n"


async def test_without_words_it_reads_lines(daemons: Daemons) -> None:
    out = io.StringIO()
    lines = io.StringIO("hoststatus\nb.example\nversion\n")
    async with daemons.up(delivery_queue={"hoststatus": {"host": "b.example", "state": "up"}}):
        assert await run_local(machine(daemons.run), [], stdin=lines, stdout=out) == 0
    assert "Recipient host: []>\n" in out.getvalue()
    assert "Host mail status for: 'b.example'" in out.getvalue()
    assert "42AB-CD" in out.getvalue()

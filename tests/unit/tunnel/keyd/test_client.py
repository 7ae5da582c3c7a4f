"""tunnel.keyd.client: what an asker hears when keyd is away or does not want to talk."""

from pathlib import Path

import pytest

from core.errors import GatepostError
from tests.support.keyd import keyd
from tunnel.keyd.api import Public, understood
from tunnel.keyd.client import SOCKET, Keyd, asked


def test_a_command_hears_how_to_start_keyd(tmp_path: Path) -> None:
    with pytest.raises(GatepostError, match="keyd is not running; start it: gatepost run keyd --config") as caught:
        asked(Keyd(tmp_path / "run" / SOCKET).public())
    assert caught.value.status == 69
    assert str(tmp_path / "gatepost.toml") in caught.value.text
    assert "\n" not in caught.value.text


async def test_errors_keep_their_status(tmp_path: Path) -> None:
    async with keyd(tmp_path) as desk:
        with pytest.raises(GatepostError) as caught:
            await desk.certify("g1", "ssh-ed25519 AAAA", "x", life_s=1)
        assert caught.value.status == 66


def test_an_answer_of_another_kind_is_not_taken() -> None:
    with pytest.raises(GatepostError, match="restart it after the upgrade") as caught:
        understood(Public, {"support_keys": "none"})
    assert caught.value.status == 70

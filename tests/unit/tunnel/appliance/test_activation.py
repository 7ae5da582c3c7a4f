"""tunnel.appliance.activation: what survives a restart, and a clock that is turned back."""

import stat
from pathlib import Path

import pytest

from core.errors import GatepostError
from tunnel.appliance.activation import SSHACCESS, TUNNEL, Activation, changed, enabled, load, save

DAY_S = 86400.0


def test_no_file_means_disabled(tmp_path: Path) -> None:
    nothing = load(tmp_path / "tunnel.json")
    assert not nothing.account_open(0)
    assert not nothing.tunnel_open(0)


def test_what_is_saved_is_loaded_and_private(tmp_path: Path) -> None:
    path = tmp_path / "tunnel.json"
    activation = enabled(TUNNEL, 1000.0, 7 * DAY_S, 25, Activation(last_good_port=443))
    save(path, activation)
    assert load(path) == activation
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert (activation.port, activation.last_good_port) == (25, 443)


def test_a_damaged_file_is_an_error_and_not_an_open_door(tmp_path: Path) -> None:
    (tmp_path / "tunnel.json").write_text('{"mode": "tunnel"')
    with pytest.raises(GatepostError, match="cannot be read"):
        load(tmp_path / "tunnel.json")


def test_the_tunnel_ends_after_its_life_and_the_account_does_not() -> None:
    activation = enabled(TUNNEL, 1000.0, 7 * DAY_S, 25, Activation())
    assert activation.tunnel_open(1000.0 + 7 * DAY_S - 1)
    assert not activation.tunnel_open(1000.0 + 7 * DAY_S)
    assert activation.account_open(1000.0 + 365 * DAY_S)


def test_a_clock_that_was_set_back_buys_no_time() -> None:
    activation = enabled(TUNNEL, 1000.0, DAY_S, 25, Activation())
    seen = changed(activation, latest_at=1000.0 + 2 * DAY_S)
    assert not seen.tunnel_open(1000.0)
    again = enabled(TUNNEL, 1000.0, DAY_S, 25, seen)
    assert again.tunnel_open(1000.0)
    assert again.activation_id != activation.activation_id


def test_access_without_tunnel_has_no_port_and_no_end() -> None:
    activation = enabled(SSHACCESS, 1000.0, DAY_S, 25, Activation())
    assert (activation.port, activation.tunnel_until_at, activation.account_open(1e12)) == (0, 0.0, True)
    assert not activation.tunnel_open(1001.0)


def test_the_account_can_have_a_limit_of_its_own_that_a_clock_set_back_does_not_prolong() -> None:
    limited = changed(enabled(SSHACCESS, 1000.0, DAY_S, 25, Activation()), account_until_at=2000.0)
    assert limited.account_open(1999.0)
    assert not limited.account_open(2000.0)
    assert not changed(limited, latest_at=2500.0).account_open(1000.0)

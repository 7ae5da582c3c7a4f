"""What must fit together in the tables of delivery: every contradiction is told, at once, with its place."""

from pathlib import Path

import pytest

from core.config.document import load_document
from core.errors import ConfigError
from daemons.config import Esa

_APPLIANCE = '[appliance]\nrole = "esa"\nserial = "S"\nhostname = "esa.example.test"\n'


def problems(folder: Path, text: str) -> dict[str, str]:
    """Check a document and give its faults by key."""
    file = folder / "gatepost.toml"
    file.write_text(_APPLIANCE + text)
    try:
        load_document(file, Esa)
    except ConfigError as error:
        return {problem.key: problem.reason for problem in error.problems}
    return {}


def test_every_impossible_limit_is_told_at_once(tmp_path: Path) -> None:
    found = problems(
        tmp_path,
        """
        [delivery]
        max_connections = 100
        default_interface = "Out9"
        [[destination]]
        domain = "Big.example"
        recipient_limit = 10
        max_connections = 200
        bounce_profile = "short"
        [[destination]]
        domain = "big.EXAMPLE."
        [[destination]]
        domain = "bücher.example"
        [[destination]]
        domain = "xn--bcher-kva.example"
        [[destination]]
        domain = "late.example"
        recipient_limit = 10
        recipient_minutes = 61
        [[interface]]
        name = "Out1"
        address = "127.0.1.2"
        hostname = "out1.example.test"
        [[interface_group]]
        name = "Pool"
        interfaces = []
        [[interface_group]]
        name = "out1"
        interfaces = ["Out1", "OUT1", "Out2"]
        [[alt_source]]
        match = "10.0.0.0/8"
        interface = "Out3"
        """,
    )
    assert found == {
        "destination[5].recipient_minutes": "must be less than or equal to 60 (found 61)",
        "interface_group[1].interfaces": "must have at least 1 item, not 0",
        "destination[1].recipient_minutes": "big.example: recipient_limit needs recipient_minutes, 1 to 60",
        "destination[1].max_connections": "big.example: 200 is more than [delivery] max_connections, the limit for all"
        " destinations together (100)",
        "destination[1].bounce_profile": "big.example: there is no [[bounce_profile]] of the name short",
        "destination[2].domain": "destination[1] is about big.example already",
        "destination[4].domain": "destination[3] is about xn--bcher-kva.example already",
        "delivery.default_interface": "there is no [[interface]] or [[interface_group]] of the name Out9",
        "interface_group[2].name": "there is an [[interface]] out1 as well",
        "interface_group[2].interfaces[1]": "out1: Out1 is named twice",
        "interface_group[2].interfaces[3]": "out1: there is no [[interface]] of the name Out2",
        "alt_source[1].interface": "10.0.0.0/8: there is no [[interface]] or [[interface_group]] of the name Out3",
    }


def test_a_sound_document_has_no_contradiction(tmp_path: Path) -> None:
    assert not problems(
        tmp_path,
        """
        [delivery]
        max_connections = 100
        default_interface = "pool"
        [[bounce_profile]]
        name = "Short"
        [[destination]]
        [[destination]]
        domain = "big.example"
        recipient_limit = 10
        recipient_minutes = 1
        limit_type = "mxip"
        limit_apply = "gateway"
        bounce_profile = "short"
        [[destination]]
        domain = "[192.0.2.1]"
        [[interface]]
        name = "Out1"
        address = "127.0.1.2"
        hostname = "out1.example.test"
        [[interface_group]]
        name = "Pool"
        interfaces = ["out1"]
        [[alt_source]]
        match = "@big.example"
        interface = "OUT1"
        """,
    )


def test_the_name_auto_is_taken(tmp_path: Path) -> None:
    found = problems(tmp_path, '[[interface]]\nname = "Auto"\naddress = "::1"\nhostname = "a.test"\n')
    assert found == {"interface[1].name": "auto stands for the system's choice and cannot be a name"}


@pytest.mark.parametrize(
    ("bound", "host", "looped"),
    [
        ("127.0.0.1", "127.0.0.1:2525", True),
        ("127.0.0.1", "127.0.0.1:2526", False),
        ("127.0.0.1", "127.0.0.2:2525", False),
        ("0.0.0.0", "127.0.0.2:2525", True),
        ("0.0.0.0", "192.0.2.1:2525", False),
        ("::", "[::1]:2525", True),
        ("127.0.0.1", "[ESA.example.test]:2525", True),
        ("127.0.0.1", "USEDNS", False),
        ("127.0.0.1", "/dev/null", False),
    ],
)
def test_a_route_to_our_own_listener_is_a_loop(tmp_path: Path, bound: str, host: str, looped: bool) -> None:
    text = f'[[listener]]\nname = "In"\naddress = "{bound}"\nport = 2525\n'
    found = problems(tmp_path, f'{text}[[route]]\ndomain = "x.test"\nhosts = ["{host}"]\n')
    assert list(found) == (["route[1].hosts"] if looped else [])


def test_a_route_to_our_own_sinkhole_is_no_loop(tmp_path: Path) -> None:
    text = '[[listener]]\nname = "In"\nkind = "sinkhole"\nport = 2525\n'
    assert not problems(tmp_path, f'{text}[[route]]\ndomain = "ALL"\nhosts = ["127.0.0.1:2525"]\n')


def test_a_row_may_leave_the_minutes_to_default(tmp_path: Path) -> None:
    default = "[[destination]]\nrecipient_minutes = 5\n"
    assert not problems(tmp_path, default + '[[destination]]\ndomain = "x.test"\nrecipient_limit = 3\n')

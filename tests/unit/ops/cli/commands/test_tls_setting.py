"""TLS versions and ciphers of the three sides, and what is refused."""

from pathlib import Path

import pytest

from tests.support.golden import same_as_golden
from tests.support.operating import Operating

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture
def machine(tmp_path: Path) -> Operating:
    return Operating(tmp_path)


async def test_the_dialogue_sets_a_side_and_shows_what_a_string_means(machine: Operating) -> None:
    answers = [
        "inbound",
        "2",
        "",
        "outbound",
        "",
        "HIGH:!aNULL",
        "outbound",
        "",
        "ALL:!eNULL",
        "verify",
        "ECDHE+CHACHA20",
    ]
    shown = await machine.talked("sslconfig", *answers, "")
    same_as_golden(GOLDEN / "sslconfig-dialogue.txt", shown)
    assert machine.tables()["tls"]["inbound_versions"] == ["1.3"]
    assert machine.tables()["tls"]["outbound_ciphers"] == "HIGH:!aNULL"


@pytest.mark.parametrize(
    ("line", "status", "reason"),
    [
        ("sslconfig outbound --ciphers ALL:!eNULL", 65, "append :-aNULL"),
        ("sslconfig outbound --ciphers NULL-SHA256", 65, "append :-eNULL"),
        ("sslconfig inbound --ciphers nonsense", 65, "OpenSSL knows no cipher"),
        ("sslconfig gui --versions 1.0,1.2", 65, "TLS 1.0 cannot be had"),
        ("sslconfig gui", 64, "say --versions"),
        ("sslconfig verify nonsense", 65, "OpenSSL knows no cipher"),
    ],
)
async def test_what_protects_nobody_is_refused(machine: Operating, line: str, status: int, reason: str) -> None:
    result = await machine.ran(line)
    assert (result.status, reason in result.error) == (status, True), result


async def test_versions_may_be_written_as_people_write_them(machine: Operating) -> None:
    assert (await machine.ran("sslconfig gui --versions TLSv1.3")).status == 0
    assert machine.tables()["tls"] == {"gui_versions": ["1.3"]}

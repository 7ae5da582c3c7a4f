"""tunnel.keyd.search: which derivations may be meant, and that the right one is found."""

import pytest

from core import agreement
from core.errors import GatepostError
from tests.support.keyd import Box, Clock
from tunnel.keyd.api import Published, SupportKey
from tunnel.keyd.search import Found, Try, candidates, find, refuse_expired, until_at
from tunnel.seed import code
from tunnel.seed.code import Seed, day_of
from tunnel.seed.derive import SSHACCESS, TUNNEL, derived

NOW = Clock().at
TODAY = day_of(NOW)
CHOSEN = Seed("correct horse battery", None, None)
CODED = code.read(code.new_code(2, NOW + 7 * 86400))
PRINT = "0123456789abcdef"


@pytest.mark.parametrize(
    ("seed", "published", "expected"),
    [
        (CODED, None, [Try(2, TODAY + 7, SSHACCESS)]),
        (CODED, Published(fingerprint=PRINT, mode="tunnel"), [Try(2, TODAY + 7, TUNNEL)]),
        (CODED, Published(fingerprint=PRINT), [Try(2, TODAY + 7, TUNNEL), Try(2, TODAY + 7, SSHACCESS)]),
        (CODED, Published(fingerprint=PRINT, mode="tunnel", key_id=1, day=5), [Try(2, TODAY + 7, TUNNEL)]),
        (CHOSEN, Published(fingerprint=PRINT, mode="tunnel", key_id=1, day=5), [Try(1, 5, TUNNEL)]),
        (CHOSEN, Published(fingerprint=PRINT, mode="sshaccess"), [Try(2, 0, SSHACCESS), Try(1, 0, SSHACCESS)]),
    ],
)
def test_what_is_known_is_not_tried(seed: Seed, published: Published | None, expected: list[Try]) -> None:
    assert candidates(seed, published, [2, 1], NOW) == expected


def test_of_a_chosen_string_everything_open_is_tried() -> None:
    tries = candidates(CHOSEN, Published(fingerprint=PRINT), [2, 1], NOW)
    assert len(tries) == len(set(tries)) == 2 * 9 + 2
    assert {each.day for each in tries if each.mode == TUNNEL} == set(range(TODAY, TODAY + 9))


def test_days_go_round_with_their_twelve_bits() -> None:
    late = float(code.DAY_ONE_AT + 4094 * 86400)
    days = [each.day for each in candidates(CHOSEN, Published(fingerprint=PRINT, mode="tunnel"), [1], late)]
    assert days == [4094, 4095, 0, 1, 2, 3, 4, 5, 6]


def test_a_chosen_string_without_fingerprint_is_good_while_there_is_one_support_key() -> None:
    assert candidates(CHOSEN, None, [3], NOW) == [Try(3, 0, SSHACCESS)]
    with pytest.raises(GatepostError, match="ask for the fingerprint") as caught:
        candidates(CHOSEN, None, [3, 4], NOW)
    assert caught.value.status == 65


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(GatepostError, match="no mode of access"):
        candidates(CHOSEN, Published(fingerprint=PRINT, mode="console"), [3], NOW)


def test_a_code_is_good_until_its_day_is_over() -> None:
    tries = [Try(1, TODAY, TUNNEL)]
    end = code.end_of(TODAY, NOW)
    refuse_expired(tries, end - 1)
    with pytest.raises(GatepostError, match="good until 2026-11-18; ask the customer") as caught:
        refuse_expired(tries, end)
    assert caught.value.status == 65
    refuse_expired([Try(1, TODAY, SSHACCESS)], end + 86400)
    refuse_expired([*tries, Try(1, TODAY + 1, TUNNEL)], end)
    both = candidates(code.read(code.new_code(1, NOW)), Published(fingerprint=PRINT), [1], end)
    refuse_expired(both, end)


def test_a_day_that_no_activation_lives_until_is_not_believed() -> None:
    keys = derived(bytes(96))
    assert until_at(Found(Try(1, TODAY + 2000, TUNNEL), keys), NOW, 3600) == NOW + 9 * 86400
    assert until_at(Found(Try(1, TODAY + 2, TUNNEL), keys), NOW, 3600) == code.end_of(TODAY + 2, NOW)


@pytest.mark.parametrize("mode", ["tunnel", "sshaccess"])
def test_the_published_fingerprint_names_the_right_one(mode: str) -> None:
    box = Box()
    private = {1: agreement.make_private(), 2: agreement.make_private()}
    support = SupportKey(key_id=2, public=agreement.encode(agreement.public_of(private[2])))
    day = TODAY + 3 if mode == "tunnel" else 0
    own = box.enable(support, "correct horse battery", mode, day)
    published = Published(fingerprint=own.fingerprint)
    tries = candidates(CHOSEN, published, [2, 1], NOW)
    key = agreement.decode(box.public)
    found = find(CHOSEN, tries, published, serial=box.serial, appliance_key=key, support_key=private.__getitem__)
    assert found is not None
    assert found.tried == Try(2, day, mode.upper())
    assert (found.keys.secret, found.keys.code_key) == (own.secret, own.code_key)
    wrong = Seed("correct horse batterx", None, None)
    assert find(wrong, tries, published, serial=box.serial, appliance_key=key, support_key=private.__getitem__) is None
    ends = until_at(Found(found.tried, found.keys), NOW, 3600)
    assert ends == (code.end_of(day, NOW) if mode == "tunnel" else NOW + 3600)

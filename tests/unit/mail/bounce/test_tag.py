"""`mail.bounce.tag` and `mail.bounce.verify`: tags on envelope senders, and bounces without one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mail.bounce.tag import Key, Tags, read_tag
from mail.bounce.verify import Verification
from protocol.address import parse_path

DAY_S = 86_400.0
NEW, OLD = Key("2", b"n" * 20), Key("1", b"o" * 20, retired_at=100 * DAY_S)


class Time:
    at = 100 * DAY_S

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def tags(time: Time) -> Tags:
    return Tags([OLD, NEW], time)


def path(address: str) -> object:
    return parse_path(f"<{address}>".encode(), smtputf8=True)


def test_a_tag_stands_behind_the_local_part_as_the_model_writes_it(tags: Tags) -> None:
    tagged = tags.add("joe@x.test")
    local, _, domain = tagged.partition("@")
    assert domain == "x.test"
    assert local.startswith("prvs=joe=2107")
    assert len(local.rpartition("=")[2]) == 10
    found = read_tag(tagged)
    assert found is not None
    assert found.address == "joe@x.test"
    assert tags.valid(found, bounce=True)


def test_tagging_never_happens_twice_nor_to_the_null_sender_nor_where_it_does_not_fit(tags: Tags) -> None:
    once = tags.add("joe@x.test")
    assert tags.add(once) == once
    assert tags.add(once.upper()) == once.upper()
    assert tags.add("") == ""
    assert tags.add("a" * 60 + "@x.test") == "a" * 60 + "@x.test"
    assert Tags([], Time()).add("joe@x.test") == "joe@x.test"


@given(st.from_regex(r"[a-z0-9=+._-]{1,40}|\"[a-z @=<>]{1,40}\"", fullmatch=True))
def test_every_address_comes_back_whatever_case_it_comes_back_in(local: str) -> None:
    tags = Tags([NEW], Time())
    tagged = tags.add(f"{local}@x.test")
    if local.lstrip('"').startswith("prvs="):
        return
    for written in (tagged, tagged.upper(), tagged.title()):
        found = read_tag(str(path(written).text))  # type: ignore[attr-defined]
        assert found is not None
        assert found.address.lower() == f"{local}@x.test"
        assert tags.valid(found, bounce=True)


@pytest.mark.parametrize("change", ["jim@x.test", "joe@y.test"])
def test_a_tag_belongs_to_one_address(tags: Tags, change: str) -> None:
    found = read_tag(tags.add("joe@x.test"))
    moved = read_tag(tags.add("joe@x.test").replace("joe", change.partition("@")[0]).replace("x.test", change[4:]))
    assert found is not None
    assert moved is not None
    assert not tags.valid(moved, bounce=True)


def test_a_tag_lives_seven_days(tags: Tags, time: Time) -> None:
    found = read_tag(tags.add("joe@x.test"))
    assert found is not None
    time.at += 7 * DAY_S
    assert tags.valid(found, bounce=True)
    time.at += DAY_S
    assert not tags.valid(found, bounce=True)
    assert tags.valid(found, bounce=False)  # an answer to an old address


def test_days_go_round_after_a_thousand(time: Time) -> None:
    time.at = 1997 * DAY_S
    tags = Tags([NEW], time)
    found = read_tag(tags.add("joe@x.test"))
    assert found is not None
    assert found.day == "004"
    assert tags.valid(found, bounce=True)
    time.at += 8 * DAY_S
    assert not tags.valid(found, bounce=True)


def test_a_retired_key_counts_for_seven_days_and_makes_no_tags(tags: Tags, time: Time) -> None:
    old = read_tag(Tags([Key("1", OLD.secret)], time).add("joe@x.test"))
    assert old is not None
    assert tags.valid(old, bounce=True)
    time.at += 7 * DAY_S
    assert not tags.valid(old, bounce=True)
    assert tags.valid(old, bounce=False)
    assert tags.add("joe@x.test").startswith("prvs=joe=2")


@pytest.mark.parametrize(
    ("mode", "bounce", "tag", "taken", "untagged"),
    [
        ("reject", True, "good", True, True),
        ("reject", True, "bad", False, False),
        ("reject", True, "none", False, False),
        ("reject", False, "none", True, False),
        ("reject", False, "good", True, True),
        ("reject", False, "bad", True, False),
        ("off", True, "none", True, False),
        ("off", True, "good", True, True),
    ],
)
def test_what_a_listener_does(tags: Tags, mode: str, bounce: bool, tag: str, taken: bool, untagged: bool) -> None:
    address = {"good": tags.add("joe@x.test"), "bad": "prvs=joe=2107aaaaaa@x.test", "none": "joe@x.test"}[tag]
    verification = Verification(tags, mode)  # type: ignore[arg-type]
    found, genuine = verification.judge(path(address), bounce=bounce)  # type: ignore[arg-type]
    assert genuine is taken
    assert (found.text != address) is untagged
    assert not untagged or found.text == "joe@x.test"


def test_untagged_bounces_may_be_let_through_but_not_forged_ones(tags: Tags) -> None:
    verification = Verification(tags, "reject", untagged_valid=True)
    assert verification.judge(path("joe@x.test"), bounce=True)[1]  # type: ignore[arg-type]
    assert not verification.judge(path("prvs=joe=2107aaaaaa@x.test"), bounce=True)[1]  # type: ignore[arg-type]


def test_postmaster_needs_no_tag(tags: Tags) -> None:
    verification = Verification(tags, "reject")
    assert verification.judge(path("Postmaster@x.test"), bounce=True)[1]  # type: ignore[arg-type]


@pytest.mark.parametrize("letter", ["\u017f", "\u212a"])
def test_letters_that_only_look_like_those_of_a_tag_were_an_internal_error(tags: Tags, letter: str) -> None:
    """The long s and the Kelvin sign match `[a-z]` without regard to case, and cannot be compared in constant time."""
    assert read_tag(f"prvs=joe=2107{letter}aaaaa@x.test") is None
    verification = Verification(tags, "reject")
    recipient = parse_path(f"<prvs=joe=2107{letter}aaaaa@x.test>".encode(), smtputf8=True)
    assert verification.judge(recipient, bounce=True) == (recipient, False)

"""tunnel.seed.code: codes are found to be mistyped before anything is tried, and chosen strings are worth trying."""

import itertools
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from core.errors import GatepostError
from tunnel.seed import code

SERIAL = "564D00AABBCCDDEEFF00-0123456789AB"
AT = 1_795_000_000.0
CODES = st.builds(code.encode, st.integers(1, 31), st.integers(0, 4095), st.integers(0, 2**68 - 1))


def _refused(text: str) -> str:
    with pytest.raises(GatepostError) as caught:
        code.read(text)
    assert caught.value.status == 65
    return caught.value.text


@given(CODES, st.integers(0, 19), st.integers(1, 31))
@example(code.encode(1, 0, 0), 19, 1)
def test_any_one_wrong_character_is_found(text: str, place: int, change: int) -> None:
    symbols = [code.ALPHABET.index(letter) for letter in text.replace("-", "")]
    symbols[place] ^= change
    _refused("".join(code.ALPHABET[symbol] for symbol in symbols))


@given(CODES, st.lists(st.integers(0, 19), min_size=2, max_size=2, unique=True))
def test_any_two_characters_that_changed_places_are_found(text: str, places: list[int]) -> None:
    letters = list(text.replace("-", ""))
    one, other = places
    letters[one], letters[other] = letters[other], letters[one]
    if "".join(letters) == text.replace("-", ""):
        assert code.read("".join(letters)).text == text.replace("-", "")
    else:
        _refused("".join(letters))


def test_in_one_code_every_substitution_and_every_pair_of_them_is_found() -> None:
    symbols = [code.ALPHABET.index(letter) for letter in code.encode(3, 2517, 2**67 + 12345).replace("-", "")]
    for place, change in itertools.product(range(20), range(1, 32)):
        wrong = symbols[:]
        wrong[place] ^= change
        assert code._checksum(wrong[:-2]) != wrong[-2:]
    for one, other in itertools.combinations(range(20), 2):
        for first, second in itertools.product(range(1, 32, 3), range(1, 32, 3)):
            wrong = symbols[:]
            wrong[one] ^= first
            wrong[other] ^= second
            assert code._checksum(wrong[:-2]) != wrong[-2:]


@given(st.integers(1, 31), st.floats(code.DAY_ONE_AT, code.DAY_ONE_AT + 11 * 365 * 86400))
def test_a_code_carries_the_support_key_and_the_day(key_id: int, at: float) -> None:
    text = code.new_code(key_id, at)
    assert re.fullmatch(r"1[0-9A-Z]{3}(-[0-9A-Z]{4}){4}", text)
    seed = code.read(text)
    assert (seed.key_id, seed.day, str(seed)) == (key_id, code.day_of(at), text)


@pytest.mark.parametrize("key_id", [0, 32, -1])
def test_a_support_key_has_a_number_from_1_to_31(key_id: int) -> None:
    with pytest.raises(ValueError, match="1 to 31"):
        code.new_code(key_id, AT)


def test_two_codes_of_one_moment_differ() -> None:
    assert len({code.new_code(1, AT) for _ in range(200)}) == 200


@pytest.mark.parametrize(
    "written",
    [
        "{0}",
        " {0}\n",
        "{1}",
        "{2}",
        "{3}",
        "{4}",
        "{5}",
        "{6}",
        "{7}",
    ],
)
def test_a_code_is_read_however_it_is_written(written: str) -> None:
    text = code.encode(1, 2517, 0b1010101 << 60)
    forms = (
        text,
        text.lower(),
        text.replace("-", " "),
        text.replace("-", ""),
        text.replace("-", "\u2013"),
        text.replace("0", "o").replace("1", "l"),
        f"{text[:9]} {text[10:14]}  {text[15:]}",
        f"{text[:4]}{text[5:11]} - {text[11:13]} {text[13:]}".lower(),
    )
    assert code.read(written.format(*forms)).text == text.replace("-", "")


@pytest.mark.parametrize("cut", [1, 2])
def test_a_character_that_is_missing_or_too_much_is_told(cut: int) -> None:
    text = code.new_code(1, AT)
    assert "mistyped seed code: it has 19 characters" in _refused(text[:-1])
    assert "mistyped seed code: it has 21 characters" in _refused(text + "A")
    plain = text.replace("-", "")
    assert "mistyped seed code" in _refused(plain[:cut] + plain[cut + 1 :])


def test_a_code_of_a_later_version_says_so() -> None:
    symbols = [2, 1, *[0] * 16]
    text = "".join(code.ALPHABET[symbol] for symbol in symbols + code._checksum(symbols))
    assert "version 2" in _refused(text)


def test_a_code_without_support_key_is_refused() -> None:
    assert "names no support key" in _refused(code.encode(0, 1, 1))


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("  correct   horse battery staple ", "correct horse battery staple"),
        ("correct horse\tbattery staple", "correct horse battery staple"),
        ("\uff43orrect horse battery", "correct horse battery"),
        ("Gr\u0075\u0308ne Wolken im Mai", "Gr\u00fcne Wolken im Mai"),
    ],
)
def test_a_chosen_string_means_the_same_however_it_was_typed(typed: str, meant: str) -> None:
    assert code.chosen(typed, SERIAL) == code.Seed(meant, None, None)
    assert code.read(typed).text == meant


@pytest.mark.parametrize(
    ("typed", "why"),
    [
        ("elevenchars", "12 to 128"),
        ("x y z " * 30, "12 to 128"),
        ("correct horse\x07 battery", "cannot be printed"),
        ("aaaaaaaaaaaaaaaa", "easily guessed"),
        ("!!!!!!!!!!!!!!!!", "easily guessed"),
        ("wolkewolkewolke", "easily guessed"),
        ("123456789012345", "easily guessed"),
        ("49 30 12 34 56 78", "easily guessed"),
        ("abcdefghijklmn", "easily guessed"),
        ("qwertyuiopas", "easily guessed"),
        ("Password 2026!", "easily guessed"),
        ("gatepost support tunnel", "easily guessed"),
        ("changeme-changeme1", "easily guessed"),
        (SERIAL.lower(), "serial number"),
        (SERIAL.replace("-", " "), "serial number"),
        (f"our {SERIAL}", "serial number"),
        ("564d00aabbccdd", "serial number"),
        (code.encode(1, 2517, 99), "nobody chooses"),
    ],
)
def test_a_chosen_string_that_is_worth_nothing_is_refused(typed: str, why: str) -> None:
    with pytest.raises(GatepostError, match=why) as caught:
        code.chosen(typed, SERIAL)
    assert caught.value.status == 65


@given(st.integers(0, 5000), st.integers(-300, 300))
def test_the_day_of_a_code_is_the_one_nearest_to_today(today: int, ahead: int) -> None:
    now = float(code.DAY_ONE_AT + (today + 400) * code.DAY_S + 3600)
    until = now + ahead * code.DAY_S
    end = code.end_of(code.day_of(until), now)
    assert 0 < end - until <= code.DAY_S


def test_a_seed_does_not_show_itself_in_a_log() -> None:
    text = code.new_code(1, AT)
    assert text.replace("-", "")[8:] not in repr(code.read(text))


@given(st.one_of(st.text(max_size=200), st.text("0123456789ABCILOUabc- \u2013\u00a0", min_size=10, max_size=30)))
@example("\u2013" * 12 + "\u0300")
def test_whatever_is_typed_is_a_seed_or_is_refused_and_reads_the_same_when_read_out(typed: str) -> None:
    try:
        seed = code.read(typed)
    except GatepostError:
        assert "\n" not in _refused(typed)
        return
    assert code.read(str(seed)) == seed
    assert code.read(f" {seed}\n") == seed

"""`protocol.totp` against the published vectors, and what makes a code good."""

from urllib.parse import parse_qs, urlsplit

import pytest

from protocol import totp

SECRET = b"12345678901234567890"


def test_codes_are_those_of_rfc_4226_appendix_d() -> None:
    shown = [totp.code(SECRET, counter) for counter in range(10)]
    assert shown[:5] == ["755224", "287082", "359152", "969429", "338314"]
    assert shown[5:] == ["254676", "287922", "162583", "399871", "520489"]


@pytest.mark.parametrize(
    ("at", "last_six"),
    [(59, "287082"), (1111111109, "081804"), (1111111111, "050471"), (1234567890, "005924"), (20000000000, "353130")],
)
def test_codes_are_those_of_rfc_6238_appendix_b(at: int, last_six: str) -> None:
    assert totp.step_of(SECRET, last_six, at) == at // 30


def test_a_code_is_good_one_step_early_and_one_late_and_no_longer() -> None:
    step = 1_000_000
    typed = totp.code(SECRET, step)
    good = [totp.step_of(SECRET, typed, (step + offset) * 30 + 15) for offset in range(-3, 4)]
    assert good == [None, None, step, step, step, None, None]


def test_blanks_are_overlooked_and_what_is_no_code_fits_nothing() -> None:
    at = 59.0
    assert totp.step_of(SECRET, " 287 082 ", at) == 1
    for typed in ("", "28708", "2870822", "é87082", "٢٨٧٠٨٢"):
        assert totp.step_of(SECRET, typed, at) is None


def test_a_secret_survives_the_form_that_people_type() -> None:
    text = totp.secret_text(SECRET)
    assert text == "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
    assert totp.secret_octets(" gezd-gnbv gy3tqojq gezdgnbvgy3tqojq ") == SECRET
    for wrong in ("", "GEZDGNBV", "01890189018901890189018901890189", "!"):
        with pytest.raises(ValueError, match="one-time secret"):
            totp.secret_octets(wrong)


def test_the_address_for_apps_says_who_and_where() -> None:
    parts = urlsplit(totp.uri("ABC", "ann", "esa.example.test"))
    assert (parts.scheme, parts.netloc, parts.path) == ("otpauth", "totp", "/esa.example.test%3Aann")
    assert parse_qs(parts.query)["secret"] == ["ABC"]
    assert parse_qs(parts.query)["issuer"] == ["esa.example.test"]

import pytest

from core.password import check_stored, make_hash, matches


@pytest.mark.parametrize("scheme", ["argon2id", "scram-sha-256"])
def test_a_stored_password_is_matched_by_itself_only(scheme: str) -> None:
    stored = make_hash("correct h\u00f6rse", scheme)
    assert check_stored(stored) == stored
    assert "h\u00f6rse" not in stored
    assert matches(stored, "correct h\u00f6rse")
    assert not matches(stored, "correct horse")
    assert make_hash("correct h\u00f6rse", scheme) != stored


@pytest.mark.parametrize("password", ["short", "bell\x07bell", "\u0627\u0631\u062fabcdefg"])
def test_a_password_that_cannot_be_one(password: str) -> None:
    with pytest.raises(ValueError, match=r"characters|character|directions"):
        make_hash(password)


@pytest.mark.parametrize(
    "stored",
    [
        "",
        "secret",
        "$2b$12$abcdefghijklmnopqrstuv",
        "$argon2i$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$aGFzaA",
        "$argon2id$v=19$m=9999999,t=2,p=1$c2FsdHNhbHQ$aGFzaA",
        "SCRAM-SHA-256$4096:x$y:z",
    ],
)
def test_a_form_that_cannot_be_used_is_refused(stored: str) -> None:
    with pytest.raises(ValueError, match=r"Argon2id|SCRAM"):
        check_stored(stored)

import pytest

from core.password import make_hash
from mail.login.config import SmtpUserSection
from mail.login.users import Users

JOE = SmtpUserSection(name="joe", password=make_hash("correct horse", "scram-sha-256"))
ANN = SmtpUserSection(name="ann", password=make_hash("battery staple"))


def test_what_is_offered_depends_on_what_is_stored() -> None:
    assert Users(()).mechanisms == ()
    assert Users((ANN,)).mechanisms == ("PLAIN", "LOGIN")
    assert Users((ANN, JOE)).mechanisms == ("SCRAM-SHA-256", "PLAIN", "LOGIN")


@pytest.mark.parametrize(
    ("name", "password", "fits"),
    [
        ("joe", "correct horse", True),
        ("joe", "battery staple", False),
        ("ann", "battery staple", True),
        ("JOE", "correct horse", False),
        ("nobody", "correct horse", False),
        ("nobody", "battery staple", False),
    ],
)
def test_only_a_users_own_password_fits(name: str, password: str, fits: bool) -> None:
    assert Users((JOE, ANN)).check(name, password) is fits


def test_nobodys_verifier_looks_like_somebodys_each_time() -> None:
    users = Users((JOE, ANN))
    real, made_up = users.verifier("joe"), users.verifier("nobody")
    assert made_up == users.verifier("nobody") != users.verifier("noone")
    assert made_up.iterations == real.iterations
    assert len(made_up.salt) == len(real.salt)
    assert users.verifier("ann").iterations == real.iterations

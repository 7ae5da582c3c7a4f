"""Console, users and web in the configuration: what is refused, and why."""

import pytest
from pydantic import ValidationError

from core.ssh import make_key, public_text
from ops.config import ConsoleSection, UserSection


def test_a_user_with_a_real_key_is_taken() -> None:
    line = public_text(make_key("ann@host"))
    user = UserSection(name="ann", role="operator", keys=(line,))
    assert user.keys == (line,)
    assert user.commands is None


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("AAAAC3NzaC1lZDI1NTE5", "not a public key line"),
        ('command="sh" ssh-ed25519 AAAAC3NzaC1lZDI1NTE5', "not a public key line"),
        ("ssh-dss AAAAB3NzaC1kc3M=", "not a public key line"),
        ("ssh-ed25519 AAAAC3NzaC1lZ", "is damaged"),
        ("ssh-ed25519 AAAAB3NzaC1yc2E=", "not of the type"),
    ],
)
def test_what_is_no_plain_public_key_line_is_refused(line: str, reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        UserSection(name="ann", keys=(line,))


@pytest.mark.parametrize(
    ("field", "value"),
    [("name", "local"), ("name", "service"), ("name", "Ann Lee"), ("role", "support"), ("role", "root")],
)
def test_names_and_roles_are_checked(field: str, value: str) -> None:
    with pytest.raises(ValidationError):
        UserSection.model_validate({"name": "ann", field: value})


@pytest.mark.parametrize(("field", "value"), [("address", ""), ("port", 0), ("idle_s", 1), ("colour", "red")])
def test_the_console_refuses_what_makes_no_sense(field: str, value: object) -> None:
    with pytest.raises(ValidationError):
        ConsoleSection.model_validate({field: value})

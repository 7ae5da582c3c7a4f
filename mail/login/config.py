"""The sections of users that may log in at the SMTP listeners."""

from typing import Annotated

from pydantic import AfterValidator, Field

from core.config import Section
from core.password import check_stored
from protocol.smtp.sasl import NAME_LIMIT, Malformed, prepare


def _user(value: str) -> str:
    try:
        prepared = prepare(value)
    except Malformed as error:
        raise ValueError(str(error)) from None
    if prepared != value or any(character in value for character in "\0\r\n"):
        raise ValueError(f"write this name as {prepared!r}: so it is compared")
    return value


class SmtpUserSection(Section):
    """A user that may log in at the SMTP listeners, where their policy offers it (`auth`)."""

    name: Annotated[str, AfterValidator(_user)] = Field(
        min_length=1, max_length=NAME_LIMIT, description="name to log in with; case counts"
    )
    password: Annotated[str, AfterValidator(check_stored)] = Field(
        description="Argon2id hash or SCRAM-SHA-256 verifier, as `gatepost password` prints it"
    )


class SmtpLoginSection(Section):
    """How log-ins at the SMTP listeners are slowed down and locked out; counts are kept by each gateway process."""

    failure_delay_s: float = Field(default=2.0, ge=0, le=60, description="a refusal is answered after this")
    max_failures: int = Field(default=3, ge=1, le=20, description="refusals on one connection; then it is closed")
    window_s: int = Field(default=900, ge=1, le=86_400, description="failures are counted over this; so long is locked")
    max_user_failures: int = Field(
        default=20, ge=0, le=100_000, description="failures of one user, from any address, that lock it; 0 = never"
    )
    max_source_failures: int = Field(
        default=50, ge=0, le=100_000, description="failures from one address (IPv6: /64) that lock it; 0 = never"
    )


def check_users(rows: tuple[SmtpUserSection, ...]) -> tuple[SmtpUserSection, ...]:
    """Refuse the same name twice."""
    names = [row.name for row in rows]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"the same name twice: {', '.join(twice)}")
    return rows

"""The configuration of bounces: profiles, the texts of reports, caps, and the keys of bounce verification.

`mail/delivery/config.py` puts the sections into the documents. `load_texts` and `load_keys` read what lies in files
and raise `ConfigError` with every fault; a secret is never part of a message.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from core.config import Count, Name, Section, Size, checked
from core.errors import ConfigError, Problem
from mail.bounce.profile import Automatic, BounceProfile, Form, Warned
from mail.bounce.tag import SHORTEST_SECRET, Key
from mail.bounce.text import MAX_TEXT, SUBJECTS, Kind, Text, read_text
from protocol.address import parse_path


def _form(value: Any) -> Any:
    return {True: "dsn", False: "off"}.get(value, value) if isinstance(value, bool) else value


def _address(value: str) -> str:
    if value and not parse_path(f"<{value}>".encode(), smtputf8=True).domain:
        raise ValueError("an address with a domain is needed")
    return value


def _day(value: str) -> float:
    """Give the beginning of a day in UNIX seconds, 0 for ''."""
    return datetime.strptime(value, "%Y-%m-%d").replace(tzinfo=UTC).timestamp() if value else 0.0


Address = Annotated[str, AfterValidator(_address)]


class BounceProfileSection(Section):
    """When delivery is given up and what the sender is told."""

    name: Name = Field(default="Default", description="name of the profile")
    max_retries: int = Field(default=100, ge=0, le=10_000, description="attempts after the first")
    max_in_queue_s: int = Field(default=259_200, ge=0, le=3_000_000, description="given up after this (72 hours)")
    initial_retry_s: int = Field(default=60, ge=1, le=86_400, description="first wait; doubles afterwards")
    max_retry_s: int = Field(default=3_600, ge=1, le=86_400, description="longest wait between attempts")
    retry_jitter: float = Field(
        default=0.1, ge=0, le=0.5, description="share of each wait that chance may take off, so that retries spread"
    )
    hard_bounce: Annotated[Form, BeforeValidator(_form)] = Field(
        default="dsn", description="tell the sender of failures: dsn (RFC 3464), plain (text only) or off"
    )
    bounce_to: Address = Field(default="", description="who gets failure reports; empty = the envelope sender")
    bounce_text: str = Field(default="", description="name of a [[text]] of kind bounce; empty = the built-in one")
    delay_warnings: Warned = Field(
        default="asked", description="tell the sender that mail waits: on, off, or asked (where NOTIFY says DELAY)"
    )
    delay_interval_s: int = Field(default=14_400, ge=1, le=3_000_000, description="time to the first, and between two")
    delay_count: int = Field(default=1, ge=1, le=1_000, description="delay warnings about one message at most")
    delay_to: Address = Field(default="", description="who gets delay warnings; empty = the envelope sender")
    delay_text: str = Field(default="", description="name of a [[text]] of kind delay; empty = the built-in one")
    success_text: str = Field(default="", description="name of a [[text]] of kind success; empty = the built-in one")
    parse_status: bool = Field(default=True, description="the remote host's x.y.z code becomes the report's Status")
    max_bounce_copy: Size = Field(
        default=10 << 10, description="smaller messages are returned whole, of others the header up to this"
    )
    max_full_copy: Size = Field(default=1 << 20, description="the same limit where the sender asked for RET=FULL")
    automatic_mail: Automatic = Field(
        default="failures", description="reports about mail of lists and programs: all, failures or none"
    )

    def profile(self) -> BounceProfile:
        """Give it as the queue takes it."""
        values = self.model_dump(exclude={"retry_jitter", "automatic_mail"})
        return BounceProfile(**values, jitter=self.retry_jitter, automatic=self.automatic_mail)


class TextSection(Section):
    """What people read in a report, written here or in a file."""

    name: Name = Field(description="name of the text, for bounce profiles")
    kind: Literal["bounce", "delay", "success", "disclaimer"] = Field(
        default="bounce", description="of a report: bounce, delay or success; or disclaimer, a heading or footer"
    )
    subject: str = Field(default="", max_length=200, description="subject of the report; empty = the usual one")
    text: str = Field(default="", max_length=MAX_TEXT, description="the text; for variables see docs/bounces.md")
    file: str = Field(default="", description="file with the text instead; relative to this document's folder")

    @model_validator(mode="after")
    def _one_text(self) -> "TextSection":
        if bool(self.text) == bool(self.file):
            raise ValueError("either text or file is needed")
        if self.text and self.kind != "disclaimer":
            self.read(self.text, self.kind)
        return self

    def read(self, text: str, kind: Kind) -> Text:
        """Make the text of a report ready. Raises `ValueError`."""
        return read_text(text, self.subject or SUBJECTS[kind])

    def load(self, folder: Path) -> str:
        """Give the text, also if it is in a file below the folder. Raises `OSError`, `UnicodeDecodeError`."""
        return self.text or (folder / self.file).read_text(encoding="utf-8")


class BouncesSection(Section):
    """Reports of this machine as a whole."""

    max_per_hour: Count = Field(default=100_000, description="reports an hour, against backscatter; 0 = no limit")
    max_per_domain_per_hour: Count = Field(
        default=10_000, description="reports an hour to one sender domain; 0 = no limit"
    )


class BounceKeySection(Section):
    """A key that tags are made with."""

    id: Annotated[str, Field(pattern=r"^[0-9]$")] = Field(description="one digit, part of each tag made with it")
    file: str = Field(description="file with the secret, 16 octets or more; relative to this document's folder")
    retired_on: Annotated[str, AfterValidator(checked(_day))] = Field(
        default="", description="day, as 2026-11-22, on which a newer key took over; it counts for 7 more days"
    )


class BounceVerificationSection(Section):
    """Tags on envelope senders that go out, by which real bounces are known (docs/bounces.md)."""

    key: tuple[BounceKeySection, ...] = Field(
        default=(), description="keys; the first that is not retired makes tags, all that count are accepted"
    )
    untagged_valid: bool = Field(
        default=False, description="bounces to addresses without a tag are let through (while tagging is new)"
    )

    @model_validator(mode="after")
    def _ids_differ(self) -> "BounceVerificationSection":
        ids = [key.id for key in self.key]
        twice = sorted({one for one in ids if ids.count(one) > 1})
        if twice:
            raise ValueError(f"key: the same id twice: {', '.join(twice)}")
        return self


def load_texts(sections: Iterable[TextSection], folder: Path) -> dict[str, Text]:
    """Read all texts of reports, those in files too; by lower case name. Raises `ConfigError`."""
    texts: dict[str, Text] = {}
    problems = []
    for section in sections:
        path = folder / section.file
        try:
            if section.kind != "disclaimer":
                texts[section.name.lower()] = section.read(section.load(folder), section.kind)
        except OSError as error:
            problems.append(Problem(str(path), "", f"cannot be read: {error.strerror}"))
        except UnicodeDecodeError:
            problems.append(Problem(str(path), "", "is not UTF-8 text"))
        except ValueError as error:
            problems.append(Problem(str(path), f"text {section.name}", str(error)))
    if problems:
        raise ConfigError(problems)
    return texts


def load_keys(sections: Sequence[BounceKeySection], folder: Path) -> list[Key]:
    """Read the keys, those in files too. Raises `ConfigError`."""
    keys = []
    problems = []
    for section in sections:
        path = folder / section.file
        try:
            secret = path.read_bytes().strip()
        except OSError as error:
            problems.append(Problem(str(path), "", f"cannot be read: {error.strerror}"))
            continue
        if len(secret) < SHORTEST_SECRET:
            problems.append(Problem(str(path), "", f"holds no key of at least {SHORTEST_SECRET} octets"))
            continue
        keys.append(Key(section.id, secret, _day(section.retired_on)))
    if problems:
        raise ConfigError(problems)
    return keys

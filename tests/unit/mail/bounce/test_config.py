"""`mail.bounce.config`: profiles, texts and keys as an operator writes them."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from core.errors import ConfigError
from mail.bounce.config import (
    BounceKeySection,
    BounceProfileSection,
    BounceVerificationSection,
    TextSection,
    load_keys,
    load_texts,
)
from mail.delivery.config import DeliveryTables


def test_a_profile_has_the_defaults_of_the_model() -> None:
    profile = BounceProfileSection().profile()
    assert (profile.name, profile.max_retries, profile.max_in_queue_s) == ("Default", 100, 259_200)
    assert (profile.initial_retry_s, profile.max_retry_s) == (60, 3_600)
    assert (profile.delay_interval_s, profile.delay_count, profile.max_bounce_copy) == (14_400, 1, 10_240)
    assert profile.hard_bounce == "dsn"


@pytest.mark.parametrize(("written", "meant"), [(True, "dsn"), (False, "off"), ("plain", "plain")])
def test_the_form_of_bounces_may_be_written_as_it_was(written: object, meant: str) -> None:
    assert BounceProfileSection(hard_bounce=written).profile().hard_bounce == meant  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "wrong", [{"bounce_to": "nobody"}, {"hard_bounce": "maybe"}, {"delay_interval_s": 0}, {"delay_to": "a b@x.test"}]
)
def test_a_wrong_value_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        BounceProfileSection(**wrong)  # type: ignore[arg-type]


def test_a_text_is_written_here_or_in_a_file_and_not_both() -> None:
    for both in ({}, {"text": "x", "file": "y"}):
        with pytest.raises(ValidationError, match="either text or file"):
            TextSection(name="t", **both)
    with pytest.raises(ValidationError, match=r"\$Nothing"):
        TextSection(name="t", text="$Nothing")


def test_texts_in_files_are_read_and_every_fault_is_told(tmp_path: Path) -> None:
    (tmp_path / "good.txt").write_text("An $EnvelopeFrom: grüße", encoding="utf-8")
    (tmp_path / "bad.txt").write_text("$Nothing")
    (tmp_path / "latin.txt").write_bytes(b"gr\xfc\xdfe")
    texts = load_texts([TextSection(name="Good", file="good.txt", subject="Hm")], tmp_path)
    assert texts["good"].subject == "Hm"
    with pytest.raises(ConfigError) as raised:
        load_texts([TextSection(name=one, file=f"{one}.txt") for one in ("bad", "latin", "none")], tmp_path)
    assert len(raised.value.problems) == 3


def test_a_profile_may_only_name_texts_of_the_right_kind() -> None:
    texts = [{"name": "t", "kind": "delay", "text": "x"}]
    DeliveryTables.model_validate({"text": texts, "bounce_profile": [{"name": "p", "delay_text": "T"}]})
    with pytest.raises(ValidationError, match="no \\[\\[text\\]\\] of the name t and the kind bounce"):
        DeliveryTables.model_validate({"text": texts, "bounce_profile": [{"name": "p", "bounce_text": "t"}]})


def test_keys_are_read_from_files_and_a_short_one_is_refused_without_being_shown(tmp_path: Path) -> None:
    (tmp_path / "1.key").write_text("0123456789abcdef\n")
    (tmp_path / "2.key").write_text("tooshort")
    rows = [BounceKeySection(id="1", file="1.key", retired_on="1970-01-02"), BounceKeySection(id="2", file="2.key")]
    (key,) = load_keys(rows[:1], tmp_path)
    assert (key.secret, key.retired_at) == (b"0123456789abcdef", 86_400.0)
    with pytest.raises(ConfigError) as raised:
        load_keys(rows, tmp_path)
    assert "tooshort" not in str(raised.value)


def test_key_ids_differ_and_days_are_days() -> None:
    with pytest.raises(ValidationError, match="the same id twice: 1"):
        BounceVerificationSection(key=(BounceKeySection(id="1", file="a"), BounceKeySection(id="1", file="b")))
    with pytest.raises(ValidationError):
        BounceKeySection(id="1", file="a", retired_on="yesterday")

import pytest
from pydantic import ValidationError

from cpq.config import EsaCpqSection, QuarantineSection, SmaCpqSection, policy_of
from cpq.state import Event


def test_the_defaults_are_those_of_the_model() -> None:
    assert (EsaCpqSection().port, SmaCpqSection().port) == (7025, 7025)
    assert SmaCpqSection().quota_mib == 0


@pytest.mark.parametrize(
    ("text", "seconds"), [("90 minutes", 5400), ("8h", 28_800), ("1 day", 86_400), ("10d", 864_000), (3600, 3600)]
)
def test_retention_is_written_with_its_unit(text: object, seconds: float) -> None:
    section = QuarantineSection.model_validate({"name": "Q", "retention": text, "default_action": "Release"})
    policy = policy_of([section])
    assert policy.named("Q").retention_s == seconds
    assert policy.named("Q").default_action is Event.RELEASE


@pytest.mark.parametrize("text", ["10", "ten days", "-1 day", "0d", "5 weeks", 1])
def test_a_retention_without_unit_or_sense_is_refused(text: object) -> None:
    with pytest.raises(ValidationError):
        QuarantineSection.model_validate({"name": "Q", "retention": text})


def test_not_every_quarantine_may_refuse_to_make_room() -> None:
    names = ("Policy", "Virus", "Outbreak", "Unclassified")
    sections = [QuarantineSection(name=name, makes_room=False) for name in names]
    with pytest.raises(ValueError, match="makes_room"):
        policy_of(sections)
    assert policy_of(sections[1:]).named("Policy").makes_room


def test_a_name_stands_once() -> None:
    with pytest.raises(ValueError, match="same name"):
        policy_of([QuarantineSection(name="Q"), QuarantineSection(name="Q")])

"""tunnel.identity: names, certificates of engineers, and what the relay's certificate keeps of them."""

import pytest

from core import ssh
from core.errors import GatepostError
from tunnel.identity import VIA_BASTION, authorised, engineer_of, is_name, sign_engineer, unfit

SERIAL = "564D00AABBCCDDEEFF00-0123456789AB"


@pytest.mark.parametrize("name", ["*", "", "a b", 'a"', "A1", "-a", "a" * 65, "a,b", "a\n", "!a", "a?", "../a"])
def test_texts_that_could_be_patterns_or_options_are_not_names(name: str) -> None:
    assert not is_name(name)
    with pytest.raises(ValueError, match="not the name"):
        authorised(["ssh-ed25519 AAAA"], name)


def test_an_engineers_certificate_names_person_case_and_appliances() -> None:
    certificate = sign_engineer(
        ssh.make_key(), ssh.make_key(), engineer="ana", case="SR12345", serials=[SERIAL], life_s=600
    )
    facts = ssh.certificate_facts(certificate)
    engineer = engineer_of(facts)
    assert engineer is not None
    assert (engineer.name, engineer.case, engineer.relayed) == ("ana", "SR12345", False)
    assert engineer.serials == (SERIAL.lower(),)
    assert facts.valid_before_at - facts.valid_after_at == 660


def test_a_key_id_keeps_the_engineer_when_the_bastion_enters_in_that_name() -> None:
    signed = sign_engineer(ssh.make_key(), ssh.make_key(), engineer="ana", case="SR1", serials=["a-1"], life_s=600)
    facts = ssh.certificate_facts(signed)
    relayed = engineer_of(ssh.CertificateFacts(facts.key_id + VIA_BASTION, 0, ("a-1",), 0.0, 60.0))
    assert relayed is not None
    assert (relayed.key_id, relayed.name, relayed.relayed) == (facts.key_id, "ana", True)


@pytest.mark.parametrize(
    "changes",
    [
        {"engineer": "ana!bastion"},
        {"engineer": "a@b"},
        {"case": "SR 1"},
        {"serials": []},
        {"serials": ["*"]},
        {"life_s": 0.0},
        {"life_s": 90000.0},
    ],
)
def test_what_cannot_be_signed(changes: dict[str, object]) -> None:
    wanted: dict[str, object] = {"engineer": "ana", "case": "SR1", "serials": ["a-1"], "life_s": 60.0}
    with pytest.raises(GatepostError) as caught:
        sign_engineer(ssh.make_key(), ssh.make_key(), **(wanted | changes))  # type: ignore[arg-type]
    assert caught.value.status == 64


@pytest.mark.parametrize("key_id", ["", "ana", "ana@SR1", "ana@SR1#x", "ana@SR1#" + "0" * 36 + "!other"])
def test_other_key_ids_name_no_engineer(key_id: str) -> None:
    assert engineer_of(ssh.CertificateFacts(key_id, 0, ("a-1",), 0.0, 1.0)) is None


def test_what_is_said_of_a_certificate_is_only_what_stands_in_it() -> None:
    def facts(after_at: float, before_at: float, *serials: str) -> ssh.CertificateFacts:
        return ssh.CertificateFacts("ana@SR1#0", 0, serials, after_at, before_at)

    endless = float(2**64 - 1)
    assert unfit(facts(0, endless, "a-1"), "a-1") == ""
    assert unfit(facts(0, endless, "b-1", "b-2"), "a-1") == "your certificate is not for A-1, but for B-1, B-2"
    assert unfit(facts(0, endless, "A-1"), "a-1").startswith("your certificate has A-1 in capitals;"), "ssh-keygen -s"
    assert unfit(facts(0, endless, "A-1", "a-1"), "a-1") == ""
    assert unfit(facts(0, 86_400, "b-1"), "a-1").startswith(
        "your certificate ran out at 1970-01-02 00:00:00 UTC; it is "
    )
    assert unfit(facts(endless, endless, "a-1"), "a-1").startswith(
        "your certificate is good only from the end of time; "
    )

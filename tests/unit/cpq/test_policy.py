from cpq.policy import DAY_S, Policy, Quarantine, stays_held
from cpq.state import Event


def test_the_system_made_quarantines_have_the_retention_of_the_model() -> None:
    policy = Policy()
    assert policy.expiry("Policy", 1000.0, 0.0, 1) == 1000.0 + 10 * DAY_S
    assert policy.expiry("Virus", 1000.0, 0.0, 1) == 1000.0 + 30 * DAY_S
    assert policy.named("Virus").default_action is Event.DELETE
    assert policy.named("Outbreak").default_action is Event.RELEASE


def test_an_unknown_name_leads_to_unclassified_for_30_days_then_release() -> None:
    found = Policy().named("Renamed long ago")
    assert (found.name, found.retention_s, found.default_action) == ("Unclassified", 30 * DAY_S, Event.RELEASE)


def test_configuration_adds_quarantines_and_changes_system_made_ones() -> None:
    policy = Policy([Quarantine("Legal", 60.0, Event.RELEASE), Quarantine("Policy", 5.0)])
    assert policy.expiry("Legal", 100.0, 0.0, 1) == 160.0
    assert policy.expiry("Policy", 100.0, 0.0, 1) == 105.0
    assert policy.names == ("Policy", "Virus", "Outbreak", "Unclassified", "Legal")


def test_the_sender_may_ask_for_its_own_expiry_but_not_for_one_in_the_past() -> None:
    policy = Policy([Quarantine("Q", 50.0)])
    assert policy.expiry("Q", 100.0, 120.0, 1) == 120.0
    assert policy.expiry("Q", 100.0, 90.0, 1) == 150.0


def test_a_message_held_too_often_never_expires_into_a_release() -> None:
    policy = Policy()
    assert not stays_held(5)
    assert stays_held(6)
    assert policy.expiry("Outbreak", 100.0, 0.0, 6) == 0.0
    assert policy.expiry("Virus", 100.0, 0.0, 6) > 100.0


def test_who_holds_a_policy_sees_what_it_has_become() -> None:
    policy = Policy([Quarantine("Legal", 60.0), Quarantine("Old", 60.0)])
    known = policy.known
    policy.adopt(Policy([Quarantine("Legal", 120.0), Quarantine("New", 60.0)]))
    assert policy.named("Legal").retention_s == 120.0
    assert "New" in known
    assert "Old" not in known
    assert policy.named("Old").name == "Unclassified"

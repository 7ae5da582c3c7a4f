"""The lab's firewall: what is forwarded, and in whose name."""

from ops.lab.firewall import rules


def test_only_what_the_customer_begins_is_forwarded() -> None:
    lines = rules("eth1", "172.30.1.0/24").splitlines()
    assert sum("policy drop" in line for line in lines) == 1
    accepted = [line for line in lines if line.endswith("accept")]
    assert len(accepted) == 2
    assert "established,related" in accepted[0]
    assert 'iifname "eth1" ip saddr 172.30.1.0/24' in accepted[1]
    assert any('oifname != "eth1"' in line and line.endswith("masquerade") for line in lines)

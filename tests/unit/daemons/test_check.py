"""`gatepost check`: what delivery would refuse, all at once, and what is hardly meant."""

from pathlib import Path

import pytest

from daemons.gatepost import main
from daemons.initial import make


@pytest.fixture
def config(tmp_path: Path) -> Path:
    make("esa", tmp_path / "esa", hostname="esa.example.test")
    return tmp_path / "esa" / "gatepost.toml"


def check(config: Path, text: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Give the exit status and what was said on stderr of a check with more text in the document."""
    capsys.readouterr()
    document = config.read_text()
    head = document[: document.index("[dns]")]
    config.write_text(head + text)
    status = main(["check", "--config", str(config)])
    captured = capsys.readouterr()
    return status, captured.out + captured.err


def test_contradictions_of_all_tables_are_told_with_file_and_key(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, said = check(
        config,
        '[[destination]]\ndomain = "a.test"\nbounce_profile = "x"\nrecipient_limit = 1\n'
        '[[interface_group]]\nname = "Pool"\ninterfaces = ["Out1"]\n',
        capsys,
    )
    assert status == 78
    for key in (
        "destination[1].bounce_profile",
        "destination[1].recipient_minutes",
        "interface_group[1].interfaces[1]",
    ):
        assert f"{config}: {key}: " in said


def test_faults_of_keys_tables_and_values_are_told_at_once(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keys = config.parent / "keys"
    (keys / "tls.crt").write_text("nothing")
    (keys / "tunnel_ed25519").unlink()
    status, said = check(
        config,
        '[delivery]\nport = "x"\n[[listener]]\nname = "In"\nbounce_profile = "x"\npolicy.auth = "required"\n'
        + '[[user]]\nname = "ann"\nrole = "guest"\n' * 2,
        capsys,
    )
    assert status == 78
    for key in ("delivery.port", "listener[1].bounce_profile", "listener[1].policy.auth", "user"):
        assert f"{config}: {key}: " in said
    for file in ("tls.crt", "tunnel_ed25519"):
        assert str(keys / file) in said


def test_a_document_without_a_role_is_told_as_that(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config.write_text("[appliance]\n")
    assert main(["check", "--config", str(config)]) == 78
    assert capsys.readouterr().err.count("appliance.role") == 1


def test_lines_of_the_unsubscribe_list_are_told_even_while_it_is_off(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (config.parent / "list.txt").write_text("a@b.test\nnobody\n")
    status, said = check(config, '[unsubscribe]\nfile = "list.txt"\nentries = ["@"]\n', capsys)
    assert status == 78
    assert f"{config.parent / 'list.txt'}: line 2: " in said
    assert "unsubscribe.entries[1]: " in said


def test_filters_name_only_interfaces_and_profiles_that_there_are(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    filters = "a: if true { alt-src-host('Out1'); bounce-profile('short'); }"
    status, said = check(config, f'[filters]\ntext = "{filters}"\n', capsys)
    assert status == 78
    assert "there is no interface or group 'Out1'" in said
    assert "there is no bounce profile 'short'" in said


def test_an_address_that_this_machine_has_not_is_a_note(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = '[[interface]]\nname = "{}"\naddress = "{}"\nhostname = "out.test"\n'
    status, said = check(config, text.format("Here", "127.0.0.1") + text.format("Away", "192.0.2.1"), capsys)
    assert status == 0
    assert "[[interface]] Away: this machine has no address 192.0.2.1, mail cannot leave by it" in said
    assert "Here" not in said


@pytest.mark.parametrize(
    ("section", "noted"),
    [
        ("", False),
        ('address = "::1"', False),
        ('address = "0.0.0.0"', True),
        ('address = "0.0.0.0"\nenabled = false', False),
    ],
)
def test_a_health_port_that_others_can_reach_is_a_note(
    config: Path, capsys: pytest.CaptureFixture[str], section: str, noted: bool
) -> None:
    status, said = check(config, f"[health]\n{section}\n", capsys)
    assert status == 0
    assert ("[health] listens on 0.0.0.0 port 9825 without log-in or TLS" in said) is noted


def test_two_daemons_of_a_bastion_cannot_have_one_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make("bastion", tmp_path / "bastion", hostname="bastion.example.test")
    config = tmp_path / "bastion" / "gatepost.toml"
    status, said = check(config, '[bastion]\nengineer_address = "192.0.2.2"\n', capsys)
    assert status == 78  # the address of appliances is every address, the console's among them
    assert f"{config}: bastion.engineer_port: 192.0.2.2 port 22 is taken by bastion.ports (0.0.0.0)" in said
    assert "bastion.ports: 0.0.0.0 port 443 is taken by web.port (127.0.0.1)" in said
    config.write_text(config.read_text().replace("[bastion]", '[bastion]\naddress = "192.0.2.1"'))
    assert main(["check", "--config", str(config)]) == 0

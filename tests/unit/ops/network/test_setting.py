"""What is captured, as an operator says it, and the words that tcpdump gets; nothing can be an option."""

from pathlib import Path

import pytest

from core.errors import GatepostError
from ops.network.capture.setting import (
    DEFAULT_BYTES,
    Setting,
    load,
    read_size,
    read_time,
    save,
    show_size,
    tcpdump_words,
)


def test_the_filter_is_the_one_word_behind_the_end_of_options() -> None:
    words = tcpdump_words(Setting(interfaces=("lo",), custom="-w /etc/passwd -z id"))
    assert words.command("-d") == ["tcpdump", "-n", "-p", "-i", "lo", "-d", "--", "-w /etc/passwd -z id"]


def test_predefined_filters_are_made_of_checked_parts() -> None:
    setting = Setting(ports="25, 8000-8100", client="192.0.2.7", server="2001:DB8::1")
    expression = "(port 25 or portrange 8000-8100) and host 192.0.2.7 and host 2001:db8::1"
    assert tcpdump_words(setting).expression == expression
    assert tcpdump_words(Setting()).expression == ""
    assert tcpdump_words(Setting()).interface == "any"


def test_several_interfaces_are_one_capture_with_their_numbers() -> None:
    words = tcpdump_words(Setting(interfaces=("lo", "lo"), ports="25"))
    assert (words.interface, words.expression) == ("any", "(ifindex 1 or ifindex 1) and ((port 25))")


@pytest.mark.parametrize(
    "setting",
    [
        Setting(ports="25 or host 1.2.3.4"),
        Setting(ports="65536"),
        Setting(ports="-1"),
        Setting(client="mx.test or 1"),
        Setting(server="192.0.2.0/24"),
        Setting(interfaces=("-w",)),
        Setting(interfaces=("lo", "nosuchlink0")),
        Setting(interfaces=("lo", "any")),
        Setting(custom="port 25\nport 26"),
        Setting(custom="x" * 2001),
        Setting(custom="host \u0430.test"),
    ],
    ids=["ports", "high", "low", "client", "net", "option", "unknown", "any", "lines", "long", "letters"],
)
def test_what_makes_no_sense_is_refused(setting: Setting) -> None:
    with pytest.raises(GatepostError) as raised:
        tcpdump_words(setting)
    assert raised.value.status == 65


def test_sizes_and_times_are_read_as_they_are_said() -> None:
    assert (read_size("200M"), read_size("1g"), read_size("65536")) == (DEFAULT_BYTES, 1_000_000_000, 65_536)
    assert (read_time("90"), read_time("5m"), read_time("2H"), read_time("0")) == (90, 300, 7200, 0)
    for text in ("", "M", "1", "65G", "-5M", "1.5M"):
        with pytest.raises(GatepostError):
            read_size(text)
    for text in ("", "8d", "-1", "soon"):
        with pytest.raises(GatepostError):
            read_time(text)


def test_settings_are_kept_and_damaged_ones_are_the_defaults(tmp_path: Path) -> None:
    assert load(tmp_path) == Setting()
    setting = Setting(interfaces=("lo",), ports="25", max_bytes=1_000_000, duration_s=60)
    save(tmp_path, setting)
    assert load(tmp_path) == setting
    (tmp_path / "state" / "capture.json").write_text('{"interfaces": 7}')
    assert load(tmp_path) == Setting()
    with pytest.raises(GatepostError):
        save(tmp_path, Setting(ports="nonsense"))


@pytest.mark.parametrize(
    ("octets", "text"), [(200_000_000, "200M"), (2_000_000_000, "2G"), (64_000, "64K"), (65_537, "65537")]
)
def test_a_size_is_shown_as_it_is_read(octets: int, text: str) -> None:
    assert show_size(octets) == text
    assert read_size(text) == octets

"""Lines of ping and traceroute as Debian's programs write them are read; their words cannot be options."""

from ops.network.ping import PingReading, Probe, ping_words, read_hop, statistics, traceroute_words

PING = """\
PING 192.0.2.7 (192.0.2.7) 56(84) bytes of data.
64 bytes from 192.0.2.7: icmp_seq=1 ttl=64 time=0.037 ms
64 bytes from 192.0.2.7: icmp_seq=1 ttl=64 time=0.090 ms (DUP!)
no answer yet for icmp_seq=2
From 192.0.2.1 icmp_seq=3 Destination Host Unreachable

--- 192.0.2.7 ping statistics ---
3 packets transmitted, 1 received, +1 duplicates, +1 errors, 66.6667% packet loss, time 2040ms
rtt min/avg/max/mdev = 0.037/0.063/0.090/0.026 ms
"""


def test_replies_are_shown_and_the_statistics_are_kept() -> None:
    reading = PingReading()
    shown = [line for line in map(reading.read, PING.splitlines()) if line]
    assert [line.split()[0] for line in shown] == ["64", "64", "no", "From"]
    found = reading.document()
    assert (found["transmitted"], found["received"], found["duplicates"], found["loss_percent"]) == (3, 1, 1, 66.7)
    assert found["replies"] == [{"sequence": 1, "ttl": 64, "ms": 0.037}]
    assert statistics("mx.test", found).splitlines() == [
        "--- mx.test ping statistics ---",
        "3 packets transmitted, 1 packets received, +1 duplicates, 66.7% packet loss",
        "round-trip min/avg/max/stddev = 0.037/0.063/0.090/0.026 ms",
    ]


def test_what_ping_says_of_itself_is_a_complaint() -> None:
    reading = PingReading()
    assert reading.read("/usr/bin/ping: bind icmp socket: Cannot assign requested address") == ""
    assert reading.complaint == "bind icmp socket: Cannot assign requested address"


def test_the_address_stands_behind_the_end_of_options() -> None:
    assert ping_words("192.0.2.7", "", 3, 2, 1)[-2:] == ["--", "192.0.2.7"]
    assert traceroute_words("2001:db8::7", "2001:db8::1", 64, 3)[-3:] == ["--", "2001:db8::7", "64"]


def test_hops_are_read_with_more_than_one_answer_silence_and_marks() -> None:
    assert read_hop(" 1  192.0.2.1  0.027 ms  0.005 ms  0.005 ms") == (
        1,
        [Probe("192.0.2.1", 0.027), Probe("192.0.2.1", 0.005), Probe("192.0.2.1", 0.005)],
    )
    assert read_hop(" 2  * * *") == (2, [Probe("", None)] * 3)
    assert read_hop("12  192.0.2.9  1.5 ms !H * 198.51.100.4  2.25 ms") == (
        12,
        [Probe("192.0.2.9", 1.5, "!H"), Probe("", None), Probe("198.51.100.4", 2.25)],
    )
    assert read_hop("connect: Network is unreachable") is None

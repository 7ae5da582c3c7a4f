"""tunnel.recording.recording, tape and keys: octets can be had back, and what was typed shows only where it may."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunnel.config import RecordingSection
from tunnel.recording.keys import PATIENCE_S, EchoedKeys
from tunnel.recording.recording import Links, Recording
from tunnel.recording.subject import Policy, Subject, policy_for
from tunnel.recording.tape import Words


def _nothing(*_: object) -> None:
    return


def _recording(keystrokes: str = "off", **subject: Any) -> Recording:
    facts = {"session": "s", "serial": "sn-1", **subject}
    recording = Recording(Subject(**facts), Policy.STRICT, Links(_nothing, _nothing, _nothing, _nothing), keystrokes)
    recording.path = Path("somewhere")
    return recording


def _events(recording: Recording) -> list[tuple[str, Any]]:
    events = [json.loads(line) for line in recording.take().splitlines()]
    return [(code, json.loads(text) if code == "m" else text) for _, code, text in events]


@given(st.lists(st.binary(max_size=20) | st.text(max_size=10).map(str.encode), max_size=20))
def test_every_octet_can_be_had_back_however_they_come(pieces: list[bytes]) -> None:
    words = Words()
    back = b""
    for number, piece in enumerate([*pieces, b""]):
        text, kept = words.take(piece, final=number == len(pieces))
        assert text or not kept
        back += base64.b64decode(kept) if kept else text.encode()
    assert back == b"".join(pieces)


def test_octets_that_are_no_text_stand_behind_the_text_that_shows_them() -> None:
    recording = _recording()
    recording.output(b"a\xffb")
    assert _events(recording) == [
        ("o", "a\ufffdb"),
        ("m", {"kind": "octets", "base64": base64.b64encode(b"a\xffb").decode()}),
    ]


def test_standard_error_is_told_from_standard_output() -> None:
    recording = _recording(command="x")
    recording.output(b"out")
    recording.output(b"err", 1)
    recording.output(b"out")
    assert [event[1]["name"] for event in _events(recording) if event[0] == "m"] == ["stderr", "stdout"]


@pytest.mark.parametrize(
    ("keystrokes", "terminal", "echo", "expected"),
    [
        ("off", "xterm", True, []),
        ("all", "xterm", False, [("i", "secret")]),
        ("all", None, None, [("i", "secret")]),
        ("echoed", "xterm", True, [("i", "secret")]),
        ("echoed", "xterm", False, [("m", {"kind": "input-hidden", "octets": 6})]),
        ("echoed", None, None, [("m", {"kind": "input-hidden", "octets": 6})]),
    ],
)
def test_input_is_recorded_as_the_configuration_says(
    keystrokes: str, terminal: str | None, echo: bool | None, expected: list[Any]
) -> None:
    recording = _recording(keystrokes, term_type=terminal)
    recording.input(b"secret", echo)
    assert _events(recording) == expected


def test_a_password_that_the_terminal_does_not_show_is_not_in_the_recording() -> None:
    recording = _recording("echoed", term_type="xterm")
    for key in b"su\r":
        recording.input(bytes([key]))
        recording.output(b"\r\nPassword: " if key == 13 else bytes([key]))
    for key in b"hunter2":
        recording.input(bytes([key]))
    recording.input(b"\r")
    recording.output(b"\r\nsu: Authentication failure\r\n")
    recording.finish()
    events = _events(recording)
    assert "".join(text for code, text in events if code == "i").startswith("su\r")
    assert "hunter2"[1:] not in "".join(text for code, text in events if code == "i")
    assert ("m", {"kind": "input-hidden", "octets": 8}) in events


def test_keys_without_a_character_pass_and_old_ones_are_given_up() -> None:
    keys = EchoedKeys()
    assert keys.typed(b"\x1b[A\x03\r", 0.0) == (b"\x1b[A\x03\r", 0)
    assert keys.typed(b"ab", 1.0) == (b"", 0)
    assert keys.shown(b"a", 1.5) == (b"a", 0)
    assert keys.typed(b"c", 1.5 + PATIENCE_S) == (b"", 1)
    assert keys.typed(b"x" * 10_000, 4.0)[1] > 5000


def test_file_transfers_leave_notes_and_no_octets() -> None:
    told: list[str] = []
    facts = Subject(session="s", serial="sn-1", command="scp -f x")
    recording = Recording(facts, Policy.STRICT, Links(_nothing, _nothing, _nothing, lambda kind, _: told.append(kind)))
    recording.path = Path("somewhere")
    recording.input(b"\0")
    recording.output(b"C0644 3 x\n")
    recording.input(b"\0")
    recording.output(b"abc\0")
    recording.output(b"scp: a warning\n", 1)
    recording.input(b"\0")
    recording.finish()
    events = _events(recording)
    assert [event["kind"] for code, event in events if code == "m"] == ["file-open", "stream", "file-close"]
    assert [text for code, text in events if code == "o"] == ["scp: a warning\n"]
    assert told == ["file-open", "file-close"]


def test_what_cannot_be_followed_is_recorded_as_it_is() -> None:
    recording = _recording(command="scp -f x")
    recording.input(b"\0")
    recording.output(b"uid=0(root)\n")
    recording.output(b"more\n")
    kinds = [event["kind"] for code, event in _events(recording) if code == "m"]
    assert kinds == ["not-followed"]


def test_the_policy_goes_by_role() -> None:
    section = RecordingSection(recording_strict_roles=("a",), recording_best_effort_roles=("b",))
    assert policy_for(section, ["shell"]) is Policy.STRICT
    assert policy_for(section, ["b"]) is Policy.BEST_EFFORT
    assert policy_for(section, ["a", "b"]) is Policy.STRICT
    assert policy_for(section, ["a", "emergency"]) is Policy.EMERGENCY
    assert policy_for(RecordingSection(recording="best-effort"), ["shell"]) is Policy.BEST_EFFORT
    assert policy_for(RecordingSection(recording_emergency_role=""), [""]) is Policy.STRICT

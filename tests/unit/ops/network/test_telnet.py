"""Telnet for a terminal: what a peer sends cannot drive it, options are refused once, lines are edited here."""

from ops.network.telnet import Keyboard, Shown, Telnet, sent

IAC, DONT, DO, WONT, WILL, SB, SE = 255, 254, 253, 252, 251, 250, 240
ECHO, GO_AHEAD, WINDOW, TERMINAL = 1, 3, 31, 24


def test_options_are_refused_once_and_echo_is_taken() -> None:
    machine = Telnet()
    shown, answer = machine.feed(bytes((IAC, DO, WINDOW, IAC, DO, TERMINAL, IAC, DO, WINDOW)) + b"hi")
    assert (shown, answer) == (b"hi", bytes((IAC, WONT, WINDOW, IAC, WONT, TERMINAL)))
    shown, answer = machine.feed(bytes((IAC, WILL, ECHO, IAC, WILL, GO_AHEAD, IAC, WILL, WINDOW)))
    assert answer == bytes((IAC, DO, ECHO, IAC, DO, GO_AHEAD, IAC, DONT, WINDOW))
    assert machine.echoes
    assert machine.feed(bytes((IAC, WILL, ECHO)))[1] == b"", "an answer to an answer goes on for ever"
    assert machine.feed(bytes((IAC, WONT, ECHO)))[1] == bytes((IAC, DONT, ECHO))
    assert not machine.echoes


def test_commands_may_come_octet_by_octet_and_suboptions_are_read_over() -> None:
    machine = Telnet()
    data = b"a" + bytes((IAC, SB, TERMINAL, 1, IAC, IAC, 7, IAC, SE)) + b"b" + bytes((IAC, IAC, IAC, 241)) + b"c"
    assert b"".join(machine.feed(bytes([octet]))[0] for octet in data) == b"ab\xffc"


def test_a_suboption_without_end_does_not_swallow_the_rest() -> None:
    machine = Telnet()
    machine.feed(bytes((IAC, SB, TERMINAL)) + b"x" * 1100)
    assert machine.feed(b"still here")[0] == b"still here"


def test_lines_are_edited_here_and_sent_whole() -> None:
    keyboard = Keyboard()
    assert keyboard.feed(b"EHLP\x7fO x", remote_echo=False).echo == "EHLP\b \bO x"
    done = keyboard.feed(b"\x15QUIT\r", remote_echo=False)
    assert (done.send, done.leave) == (b"QUIT\r\n", False)
    assert done.echo.endswith("QUIT\n")
    assert sent(b"\xff") == b"\xff\xff"
    assert keyboard.feed("é\r".encode(), remote_echo=False).send == "é\r\n".encode()


def test_the_escape_character_ends_it_and_what_was_typed_before_goes_out() -> None:
    assert Keyboard().feed(b"NOOP\r\x1dQUIT\r", remote_echo=False).send == b"NOOP\r\n"
    assert Keyboard().feed(b"\x1d", remote_echo=False).leave
    assert Keyboard().feed(b"\x1d", remote_echo=True).leave
    assert Keyboard().feed(b"\x03", remote_echo=False).leave
    assert Keyboard().feed(b"\x04", remote_echo=False).leave
    keyboard = Keyboard()
    assert not keyboard.feed(b"a\x04", remote_echo=False).leave


def test_keys_go_out_as_they_are_where_the_peer_echoes() -> None:
    typed = Keyboard().feed(b"ls\x03\r", remote_echo=True)
    assert (typed.echo, typed.send, typed.leave) == ("", b"ls\x03\r\x00", False)


def test_control_characters_of_the_peer_do_not_reach_the_terminal() -> None:
    shown = Shown()
    evil = b"220 \x1b]0;owned\x07\x1b[2J\x1b[31m\xc2\x9b5n\x08\x08\x0email\tx\r\n"
    text = shown.feed(evil)
    assert "\x1b" not in text
    assert "\x9b" not in text
    assert text.startswith("220 \\x1b]0;owned\\x1b[2J\\x1b[31m\\x9b5n\\x08\\x08\\x0email")
    assert text.endswith("x\n")


def test_a_carriage_return_alone_cannot_overwrite_the_line_but_a_line_end_may_be_cut() -> None:
    shown = Shown()
    assert shown.feed(b"250 ok\r") == "250 ok"
    assert shown.feed(b"\nnext\roverwritten") == "\nnext\\x0doverwritten"


def test_backspace_of_an_echoing_peer_is_let_through() -> None:
    assert Shown().feed(b"\x08 \x08\x1b[A", remote_echo=True) == "\b \b\\x1b[A"
    assert Shown().feed(b"\x08", remote_echo=False) == "\\x08"

from mail.mime import Headers
from mail.trace import Origin, protocol_keyword, received_line, runs_in_circles


def test_the_trace_line_is_one_header_field() -> None:
    line = received_line(Origin("client.example", "", "192.0.2.1", "ESMTPS", "TLSv1.3 AES"), "esa.example.test", 7, 0.0)
    assert line == (
        b"Received: from client.example (unknown [192.0.2.1])\r\n"
        b"\tby esa.example.test with ESMTPS (TLSv1.3 AES)\r\n\tid 7; Thu, 01 Jan 1970 00:00:00 +0000\r\n"
    )
    assert len(Headers(line + b"\r\n").fields) == 1


def test_a_greeting_name_cannot_break_out_of_the_line() -> None:
    line = received_line(Origin("x) (evil\r\nBcc: a", "", "::1", "SMTP", ""), "esa.example.test", 7, 0.0)
    assert line.startswith(b"Received: from unknown (unknown [IPv6:::1])\r\n\tby ")


def test_keywords() -> None:
    assert protocol_keyword(extended=False, tls=True, utf8=False) == "SMTP"
    assert protocol_keyword(extended=True, tls=False, utf8=False) == "ESMTP"
    assert protocol_keyword(extended=True, tls=True, utf8=False) == "ESMTPS"
    assert protocol_keyword(extended=True, tls=True, utf8=True) == "UTF8SMTPS"


def test_loops_by_hop_count_and_by_our_own_name() -> None:
    hops = b"Received: from a by b with SMTP\r\n"
    own = b"Received: from a\r\n\tby esa.example.test with ESMTP\r\n"
    assert not runs_in_circles(Headers(hops * 100 + b"\r\n"), b"esa.example.test", 100)
    assert runs_in_circles(Headers(hops * 101 + b"\r\n"), b"esa.example.test", 100)
    assert not runs_in_circles(Headers(own * 20 + b"\r\n"), b"esa.example.test", 100)
    assert runs_in_circles(Headers(own * 21 + b"\r\n"), b"esa.example.test", 100)

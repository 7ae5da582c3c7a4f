"""The commands of one transaction as octets (RFC 5321 4.1.1.2, 4.1.1.3), fit for what the peer offers.

Called by the client machine. Nothing that came from outside gets into a command line unless it is harmless there: an
address with CR, LF, NUL, a control character or an unquoted space or bracket is refused, never escaped.
Raises `protocol.errors.PermanentFailure` for what this peer can never be sent.
"""

import re
from collections.abc import Mapping

from protocol.errors import PermanentFailure
from protocol.reply import Reply
from protocol.smtp.transaction import Transaction

_PLAIN = re.compile(r"[^\x00-\x20\x7f-\xa0<>\"\\\u2028\u2029]*")
_QUOTED = re.compile(r"\"(?:[^\x00-\x1f\x7f-\x9f\"\\\u2028\u2029]|\\[\x20-\x7e])*\"@" + _PLAIN.pattern)
_LINE = re.compile(r"[\x20-\x7e]+")

BAD_ADDRESS = Reply(553, "5.1.3", "this address cannot be sent safely")
NEEDS_UTF8 = Reply(550, "5.6.7", "the receiving host does not offer SMTPUTF8, which this message needs")
NEEDS_BINARY = Reply(554, "5.6.1", "the receiving host does not take binary content, which cannot be converted safely")


def mail_line(transaction: Transaction, offers: Mapping[str, str]) -> bytes:
    """Give the MAIL command with the parameters that the peer understands. Raises `PermanentFailure`."""
    parameters = list(transaction.mail_parameters)
    if "SIZE" in offers and transaction.size:
        limit = offers["SIZE"]
        if limit.isdecimal() and 0 < int(limit) < transaction.size:
            text = f"the message of {transaction.size} octets exceeds the receiving host's limit of {limit}"
            raise PermanentFailure(Reply(552, "5.3.4", text))
        parameters.append(f"SIZE={transaction.size}")
    if transaction.body != "7BIT":
        parameters += _body(transaction.body, offers)
    if transaction.smtputf8:
        if "SMTPUTF8" not in offers:
            raise PermanentFailure(NEEDS_UTF8)
        parameters.append("SMTPUTF8")
    if transaction.dsn_mail and "DSN" in offers:
        parameters.append(transaction.dsn_mail)
    if not all(_LINE.fullmatch(parameter) for parameter in parameters):
        raise PermanentFailure(Reply(501, "5.5.4", "a parameter cannot be sent safely"))
    tail = f" {' '.join(parameters)}" if parameters else ""
    return b"MAIL FROM:<%b>%b\r\n" % (_octets(transaction.sender, transaction), tail.encode("ascii"))


def _body(body: str, offers: Mapping[str, str]) -> list[str]:
    """Give the parameter BODY, for a peer that understands it; 8-bit text goes to others without (see docs)."""
    if body == "BINARYMIME":
        if not ("BINARYMIME" in offers and "CHUNKING" in offers):
            raise PermanentFailure(NEEDS_BINARY)
        return ["BODY=BINARYMIME"]
    return ["BODY=8BITMIME"] if "8BITMIME" in offers else []


def rcpt_line(recipient: str, transaction: Transaction, parameters: str = "") -> bytes:
    """Give the RCPT command of one recipient, `parameters` as sent. Raises `PermanentFailure`."""
    if not recipient:
        raise PermanentFailure(BAD_ADDRESS)
    path = _octets(recipient, transaction)
    if not parameters:
        return b"RCPT TO:<%b>\r\n" % path
    if not _LINE.fullmatch(parameters):
        raise PermanentFailure(Reply(501, "5.5.4", "a parameter cannot be sent safely"))
    return b"RCPT TO:<%b> %b\r\n" % (path, parameters.encode("ascii"))


def command_line(line: str | bytes) -> bytes:
    """Give any other command with its CRLF. Raises `ValueError` for more than one line of printable ASCII."""
    text = line.decode("ascii") if isinstance(line, bytes) else line
    if not _LINE.fullmatch(text):
        raise ValueError("a command is one line of printable ASCII")
    return text.encode("ascii") + b"\r\n"


def _octets(address: str, transaction: Transaction) -> bytes:
    if not (_PLAIN.fullmatch(address) or _QUOTED.fullmatch(address)):
        raise PermanentFailure(BAD_ADDRESS)
    if transaction.smtputf8:
        return address.encode("utf-8")
    if not address.isascii():
        raise PermanentFailure(NEEDS_UTF8)
    return address.encode("ascii")

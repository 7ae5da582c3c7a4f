"""The replies of a gateway's listeners to MAIL and RCPT, in the wording that operators know (behaviour 9.2)."""

from typing import Final

from protocol.reply import Reply

OK_SENDER: Final = Reply(250, "2.1.0", "sender ok")
OK_RECIPIENT: Final = Reply(250, "2.1.5", "recipient ok")
TLS_FIRST: Final = Reply(530, "5.7.0", "#5.7.0 Must issue a STARTTLS command first")
TOO_MANY_MESSAGES: Final = Reply(421, "4.7.0", "#4.7.0 Too many messages for this session")
TOO_MANY_RECIPIENTS: Final = Reply(452, "4.5.3", "Too many recipients")
TOO_MANY_CONNECTIONS: Final = Reply(421, "4.4.5", "#4.4.5 Too many connections from your host.")
NO_ROOM: Final = Reply(452, "4.3.1", "Insufficient system storage")
CONSERVING: Final = Reply(452, "4.3.1", "#4.3.1 Insufficient system resources, try again later")
INVALID_BOUNCE: Final = Reply(550, "5.7.1", "#5.7.1 Bounce refused: no mail of that kind was sent from this address")

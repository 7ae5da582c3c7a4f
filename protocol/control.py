"""The control messages between daemons of one machine: one JSON object a line.

Request `{"v": 1, "do": VERB, "args": {…}}`; with `"quiet": true` there is no answer. Answer `{"v": 1, "ok": …}` or
`{"v": 1, "error": {"status": sysexits, "text": one line}}`. `docs/control.md` lists the verbs of each daemon.
"""

VERSION = 1
LINE_LIMIT = 16 * 1024 * 1024
"""Longest line in octets, either way."""

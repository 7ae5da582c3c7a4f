"""A ProxyCommand for stock ssh: joins standard input and output with a unix socket, as the tunnel client would.

`python unix_pipe.py SOCKET [ORIGIN]`: ORIGIN is whom the connection says it comes for.
"""

import os
import secrets
import selectors
import socket
import sys


def main() -> None:
    sock = socket.socket(socket.AF_UNIX)
    if len(sys.argv) > 2:
        sock.bind(b"\0" + secrets.token_hex(6).encode() + b"/" + sys.argv[2].encode())
    sock.connect(sys.argv[1])
    selector = selectors.DefaultSelector()
    selector.register(0, selectors.EVENT_READ)
    selector.register(sock, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            data = os.read(key.fd, 65536)
            if not data:
                return
            view = memoryview(data)
            while view:
                view = view[os.write(sock.fileno() if key.fd == 0 else 1, view) :]


main()

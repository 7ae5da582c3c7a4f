"""The peers: other mail systems that are started beside ours, on loopback, with a configuration of their own."""

from bench.peer.exim import Exim
from bench.peer.haraka import Haraka
from bench.peer.opensmtpd import OpenSmtpd
from bench.peer.postfix import Postfix
from bench.system import System

PEERS: dict[str, type[System]] = {peer.name: peer for peer in (Postfix, OpenSmtpd, Exim, Haraka)}
"""By name; the order is that of the turns."""

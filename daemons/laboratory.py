"""`gatepost lab …`: the executable's way to the lab in `ops/lab/`."""

import argparse
from pathlib import Path


def add_arguments(lab: argparse.ArgumentParser) -> None:
    """Describe the command to the executable."""
    lab.set_defaults(action=_lab)
    verbs = lab.add_subparsers(dest="verb", required=True, metavar="VERB")
    demo = verbs.add_parser("demo", help="bring a lab up, run the main job, take it down")
    demo.add_argument("--messages", type=int, default=220, metavar="N", help="messages to send (default 220)")
    up = verbs.add_parser("up", help="bring a lab up and leave it running")
    for sub in (demo, up):
        sub.add_argument("--net", default="127.0", metavar="127.N", help="network of the lab (default 127.0)")
    down = verbs.add_parser("down", help="stop everything of a lab")
    kill = verbs.add_parser("kill", help="kill a daemon, such as esa/gateway, or a machine, such as sma")
    start = verbs.add_parser("start", help="start it again")
    send = verbs.add_parser("send", help="send the message on standard input to the lab's ESA")
    send.add_argument("--from", dest="sender", default="you@outside.test", metavar="ADDRESS")
    send.add_argument("recipient", nargs="+", metavar="RECIPIENT")
    demo.add_argument("--at", type=Path, metavar="FILE", help="lab.json of a lab in containers that is up")
    make = verbs.add_parser("make", help="make the folders of a lab in containers (compose.yaml does)")
    make.add_argument("--database", default="", metavar="URL", help="PostgreSQL of the bastion; empty = a file")
    join = verbs.add_parser("join", help="pair and enrol the machines of a lab in containers (compose.yaml does)")
    for sub in (demo, up, down, kill, start, send, make, join):
        sub.add_argument("--dir", type=Path, required=sub is not demo, help="folder of the lab, empty or new")
    for sub in (kill, start):
        sub.add_argument("name", metavar="NAME")


def _lab(args: argparse.Namespace) -> int:
    from ops.lab import command

    actions = {
        "demo": lambda: _demo(args),
        "up": lambda: command.up(args.dir, args.net),
        "down": lambda: command.down(args.dir),
        "send": lambda: command.send(args.dir, args.sender, args.recipient),
        "kill": lambda: command.kill(args.dir, args.name),
        "start": lambda: command.start(args.dir, args.name),
        "make": lambda: command.make(args.dir, args.database),
        "join": lambda: command.join(args.dir),
    }
    return actions[args.verb]()


def _demo(args: argparse.Namespace) -> int:
    from ops.lab import command

    if args.at is not None:
        return command.demo_at(args.at.parent, args.messages)
    return command.demo(args.dir, args.net, args.messages)

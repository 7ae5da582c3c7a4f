"""The commands of `gatepost bastion …`, put together; called by the executable."""

import argparse

from daemons.support import case, certificate, engineer, enrolment, key, peer, recording

MODULES = (enrolment, engineer, case, certificate, key, peer, recording)


def add_arguments(bastion: argparse.ArgumentParser) -> None:
    """Describe the commands to the executable."""
    verbs = bastion.add_subparsers(dest="verb", required=True, metavar="VERB")
    for module in MODULES:
        module.add_arguments(verbs)

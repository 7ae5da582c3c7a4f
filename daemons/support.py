"""`gatepost bastion …`: the commands of the support organisation, put together from the `support_*` modules."""

import argparse

from daemons import (
    support_case,
    support_certificate,
    support_engineer,
    support_enrolment,
    support_key,
    support_peer,
    support_recording,
)

MODULES = (
    support_enrolment,
    support_engineer,
    support_case,
    support_certificate,
    support_key,
    support_peer,
    support_recording,
)


def add_arguments(bastion: argparse.ArgumentParser) -> None:
    """Describe the commands to the executable."""
    verbs = bastion.add_subparsers(dest="verb", required=True, metavar="VERB")
    for module in MODULES:
        module.add_arguments(verbs)

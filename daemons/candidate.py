"""A configuration that is not in force yet, looked at with the eyes of every daemon of the machine.

What is found here is what a daemon would refuse to start with: faults of the document, of the files and keys that it
names, and between its sections. Used by the console (`Editing`, `commit`). Raises nothing.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.config.document import check_document
from core.errors import ConfigError, Problem
from daemons.check import faults_of
from daemons.config import DOCUMENTS
from daemons.machine import Machine


def faults_in(config: Path, role: str, tables: Mapping[str, Any]) -> list[Problem]:
    """Give every fault of a document, as plain tables, for the machine of that role whose file is `config`."""
    appliance = tables.get("appliance")
    if not isinstance(appliance, Mapping) or appliance.get("role") != role:
        return [Problem(str(config), "appliance.role", f"a running machine keeps its role, {role}")]
    try:
        document = check_document(tables, DOCUMENTS[role], str(config))
    except ConfigError as error:
        return list(error.problems)
    return faults_of(Machine(config, document))

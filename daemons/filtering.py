"""Message filters as the operator's `filters` command sees them: where each stands in the text, and what is wrong.

Grammar and compiler are imported when a text is read: every command has this reader at hand, few use it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.config.document import check_document
from core.errors import ConfigError
from daemons.config import Esa
from daemons.machine import Machine
from ops.cli.appliance import FilterPlace


class FilterReader:
    """Reads filter texts for one machine."""

    def __init__(self, config: Path) -> None:
        """`config` is the machine's document."""
        self._config = config

    def outline(self, text: str) -> list[FilterPlace]:
        """Give the filters of a text in order."""
        from mail.filter.parser import outline

        return [FilterPlace(*one) for one in outline(text)]

    def faults(self, text: str, tables: Mapping[str, Any]) -> list[tuple[int, str]]:
        """Give every fault of a text with its line, in a configuration that may have faults elsewhere."""
        from daemons.wiring import filter_source
        from mail.filter.compiler import ANYWHERE, FilterError, compile_filters

        try:
            document = check_document(tables, Esa, str(self._config))
            around = filter_source(Machine(self._config, document), document).around
        except ConfigError:
            around = ANYWHERE
        try:
            compile_filters(text, around=around)
        except FilterError as error:
            return [(fault.position.line, str(fault)) for fault in error.faults]
        return []

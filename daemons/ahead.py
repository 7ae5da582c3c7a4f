"""What daemons import at their start although they need it later, if at all.

The files of a release may be replaced while its daemons run: what one then imported would be of another release than
itself. Commands of a shell start faster without these, so the modules that use them import them late; a test finds
every such import in what a daemon has loaded. docs/upgrade.md says what is left: libraries that import by themselves.
"""

from importlib import import_module

_CONSOLE = (
    "daemons.candidate",
    "daemons.pair",
    "daemons.tracing",
    "daemons.wiring",
    "mail.filter.compiler",
    "mail.filter.parser",
    "ops.metrics",
    "tunnel.appliance.enabling",
)
MODULES = {
    "console": _CONSOLE,
    "web": _CONSOLE,
    "release-host": ("core.ssh",),
}


def import_ahead(daemon: str) -> None:
    """Import what a daemon needs later."""
    for name in MODULES.get(daemon, ()):
        import_module(name)

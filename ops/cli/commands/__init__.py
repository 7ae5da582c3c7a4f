"""The operator commands, one module per subject; `registry()` collects them."""

from ops.cli.commands import (
    alert,
    alert_menu,
    bastion,
    configuration,
    counters,
    cpq,
    delivery,
    destination,
    message,
    monitor,
    operation,
    quarantine,
    recipient,
    shell,
    status,
    support,
    suspension,
    transport_security,
    workqueue,
)
from ops.cli.registry import Registry


def registry() -> Registry:
    """Give the registry of all commands."""
    modules = (
        alert,
        alert_menu,
        bastion,
        configuration,
        counters,
        cpq,
        delivery,
        destination,
        message,
        monitor,
        operation,
        quarantine,
        recipient,
        shell,
        status,
        suspension,
        support,
        transport_security,
        workqueue,
    )
    return Registry(item for module in modules for item in module.COMMANDS)

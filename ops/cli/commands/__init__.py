"""The operator commands, one module per subject; `registry()` collects them.

A module has `COMMANDS`, `EDITED` (what the table engine makes commands of), or both.
"""

from core.schema import Schema
from ops.cli.commands import (
    access,
    alert,
    alert_menu,
    aliases,
    bastion,
    certificate,
    certificate_menu,
    commit,
    counters,
    cpq,
    delivering,
    delivery,
    destination,
    document,
    filters,
    filters_menu,
    listener,
    log,
    machine,
    message,
    monitor,
    name_service,
    name_service_menu,
    network,
    operation,
    outgoing,
    quarantine,
    quarantining,
    recipient,
    routing,
    shell,
    status,
    support,
    suspension,
    text,
    tls_setting,
    trace,
    transport_security,
    workqueue,
)
from ops.cli.editing import build
from ops.cli.registry import Registry


def registry(schema: Schema | None = None) -> Registry:
    """Give the registry of all commands; `schema` describes the documents, without it nothing can be edited."""
    modules = (
        access,
        alert,
        alert_menu,
        aliases,
        bastion,
        certificate,
        certificate_menu,
        commit,
        counters,
        cpq,
        delivering,
        delivery,
        destination,
        filters_menu,
        filters,
        document,
        log,
        machine,
        message,
        monitor,
        name_service_menu,
        name_service,
        network,
        operation,
        outgoing,
        quarantine,
        quarantining,
        recipient,
        routing,
        shell,
        status,
        suspension,
        support,
        text,
        tls_setting,
        trace,
        transport_security,
        workqueue,
    )
    edited = [one for module in modules for one in getattr(module, "EDITED", ())]
    return Registry(
        [
            *(item for module in modules for item in getattr(module, "COMMANDS", ())),
            *build(edited, schema or {}),
            *listener.commands(schema or {}),
        ]
    )

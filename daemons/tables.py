"""The tables of delivery that are in force: destinations, routes, virtual gateways, the unsubscribe list.

The root `delivery_queue` builds one `RunningTables` and hands its parts to courier and queue, which keep them;
`prepare` reads other ones, which are put into those very parts when they are applied, so connections go on and mail in
the queue has the new limits. Raises `ConfigError`.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast

from core.alert.kind import WARNING
from core.maillog import MailLog, clean
from core.switch import Prepared, prompt
from daemons.alerting import Verb, alerts_of, following, names_verbs
from daemons.config import Esa, Sma
from daemons.delivery import (
    DestinationTable,
    destination_resolver,
    name_resolver,
    queue_settings,
    smtp_routes,
    unsubscribe_list,
    virtual_gateways,
)
from daemons.machine import Machine
from mail.bounce.config import load_texts
from mail.bounce.text import Text
from mail.delivery.config import DeliverySection
from mail.delivery.gateway import VirtualGateways
from mail.delivery.route import SmtpRoutes
from mail.delivery.smtp_courier import SmtpCourier
from mail.delivery.unsubscribe import Unsubscribed
from mail.queue.queue import DeliveryQueue, QueueSettings

_ROAD = ("route", "destination", "interface", "interface_group", "delivery", "delivery_tls", "dns")
"""What says where a message goes and how it is protected on its way."""


@dataclass(frozen=True)
class _Read:
    """All tables of one reading."""

    document: Esa | Sma
    destinations: DestinationTable
    gateways: VirtualGateways
    routes: SmtpRoutes
    unsubscribed: Unsubscribed
    texts: Mapping[str, Text]


class RunningTables:
    """The tables of one process."""

    def __init__(self, machine: Machine, document: Esa | Sma, log: MailLog) -> None:
        """Raises `ConfigError` with every fault of the unsubscribe list or of the texts of reports."""
        self._machine = machine
        self._log = log
        first = self._read(machine)
        self.document = document
        self.also: Callable[[Esa | Sma], None] = lambda _document: None
        """Called with a document that was read again."""
        self.forget: Callable[[bool], None] = lambda _moved: None
        self.handle: Callable[[DeliverySection], None] = lambda _section: None
        self.reconfigure: Callable[[QueueSettings], None] = lambda _settings: None
        self.destinations = first.destinations
        self.gateways = first.gateways
        self.unsubscribed = first.unsubscribed
        self.names = name_resolver(document)
        self.resolver = destination_resolver(machine, document, first.destinations, first.routes, self.names)
        self._texts = first.texts
        self.alerts = alerts_of(machine, document, "delivery-queue", log, self.names)
        self.around = following(self.alerts)
        """Prepares what all daemons have in common: names and alerts."""

    def _read(self, machine: Machine) -> _Read:
        document = cast(Esa | Sma, machine.document)
        return _Read(
            document,
            DestinationTable(document.destination, document.bounce_profile),
            virtual_gateways(machine, document, self._log.warning),
            smtp_routes(document),
            unsubscribe_list(machine, document),
            load_texts(document.text, machine.dir),
        )

    def serve(self, smtp: SmtpCourier, queue: DeliveryQueue) -> None:
        """Keep the courier and the queue up with the tables, and have people hear of what stops mail."""
        self.forget, self.reconfigure = lambda moved: smtp.forget(moved=moved), queue.reconfigure
        self.handle = lambda section: smtp.handle(section.eight_bit, section.possible_delivery)
        smtp.unprotected = self._unprotected
        queue.suspension.alert = self.alerts.send

    def _unprotected(self, domain: str, why: str) -> None:
        if self.document.delivery_tls.alert:
            text = f"mail to {clean(domain)} waits: TLS is required there and not to be had: {clean(why)}"
            self.alerts.send(WARNING, "TLS.REQUIRED_FAILED", text, about=domain)

    def verbs(self) -> dict[str, Verb]:
        """Give the control verbs of names."""
        return names_verbs(self.names, self._machine.hostname)

    def queue_settings(self) -> QueueSettings:
        """Give what the queue is told."""
        return queue_settings(
            self._machine, self.document, self.destinations, unsubscribed=self.unsubscribed, texts=self._texts
        )

    async def prepare(self, candidate: Machine) -> Prepared:
        """Read the tables of another document. Raises `ConfigError` with every fault.

        Applied, the courier is told to `forget` what it knew, and the queue to `reconfigure`.
        """
        found = await asyncio.to_thread(self._read, candidate)
        return Prepared(prompt(lambda: self._adopt(found)))

    def _adopt(self, found: _Read) -> None:
        moved = any(getattr(self.document, name) != getattr(found.document, name) for name in _ROAD)
        self.document = found.document
        self.destinations.adopt(found.destinations)
        self.gateways.adopt(found.gateways)
        self.resolver.reroute(found.routes)
        self.unsubscribed = found.unsubscribed
        self._texts = found.texts
        self.also(found.document)
        self.forget(moved)
        self.handle(found.document.delivery)
        self.reconfigure(self.queue_settings())
        tables = found.document
        self._log.info(
            f"Delivery tables reloaded: {len(tables.destination)} destinations, {len(tables.route)} routes,"
            f" {len(tables.interface)} interfaces, {len(found.unsubscribed)} unsubscribed"
        )

"""The configured level of TLS and nothing else, for tests of connections that no policy of a domain is to touch."""

from collections.abc import Callable

from core.smtp.client import ClientConnection
from core.smtp.client_settings import TlsSettings
from core.smtp.target import Target
from mail.delivery.choice import Level
from mail.delivery.resolve import Resolution
from mail.delivery.security import SecurityPlan, Wish, level_settings
from protocol.errors import MailError


class LevelSecurity:
    """The configured level of each domain and nothing else."""

    def __init__(self, level: Callable[[str], Level]) -> None:
        self._level = level

    async def plan(self, domain: str, resolution: Resolution, wish: Wish = "") -> SecurityPlan:
        """Give the plan of the domain's level."""
        return LevelPlan(self._level(domain))


class LevelPlan:
    """One level for every host."""

    def __init__(self, level: Level) -> None:
        self._settings = level_settings(level)

    def settings(self, target: Target) -> TlsSettings:
        """Give the level's settings."""
        return self._settings

    def concluded(self, target: Target, connection: ClientConnection | None, failure: MailError | None) -> str:
        """Say nothing."""
        return ""

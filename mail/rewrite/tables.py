"""All tables of one machine that rewrite addresses, replaced together.

Built by `daemons/policy.py` from a document, carried by the pipeline (mail/pipeline.py), asked by the receiving
session. Listeners without a table do not appear. Raises `ValueError` for an alias table that cannot be followed.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from mail.config import ListenerSection
from mail.rewrite.alias import NO_ALIASES, AliasTable, domains_of
from mail.rewrite.config import AliasSection, aliases_of
from mail.rewrite.domain_map import DomainMap
from mail.rewrite.masquerade import Masquerade


@dataclass(frozen=True, slots=True)
class Rewriting:
    """The tables; those of listeners by the listener's name."""

    aliases: AliasTable = NO_ALIASES
    domain_maps: Mapping[str, DomainMap] = field(default_factory=dict)
    masquerades: Mapping[str, Masquerade] = field(default_factory=dict)


NOTHING: Final = Rewriting()


def rewriting_of(listeners: Iterable[ListenerSection], aliases: tuple[AliasSection, ...], hostname: str) -> Rewriting:
    """Build the tables of a document."""
    sections = list(listeners)
    ours = domains_of((row.recipient for one in sections for row in one.rat if row.rule == "ACCEPT"), hostname)
    maps = {one.name: DomainMap((row.match, row.to) for row in one.domain_map) for one in sections if one.domain_map}
    masquerades = {
        one.name: Masquerade(((row.match, row.to) for row in one.masquerade), one.masquerade_in)
        for one in sections
        if one.masquerade and one.masquerade_in
    }
    return Rewriting(AliasTable(aliases_of(aliases), ours), maps, masquerades)

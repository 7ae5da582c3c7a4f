"""The configuration of tables that rewrite addresses; `mail/config.py` puts it into listeners and documents.

Rows are checked one by one, the alias table also as a whole: what leads nowhere or in a circle is a fault here.
"""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from core.config import Section, checked
from mail.rewrite.alias import MAX_TARGETS, Alias, AliasTable, check_target, key_of_name
from mail.rewrite.domain_map import check_row
from mail.rewrite.masquerade import check_match, check_result

Place = Literal["Envelope Sender", "From", "To", "CC", "Reply-To"]


class DomainMapSection(Section):
    """A row of the domain map: another name of a domain that mail goes to."""

    match: str = Field(description="old domain, .partial domain, or user@domain")
    to: str = Field(description="new domain; .partial keeps what stands before it; user@domain for one address")

    @model_validator(mode="after")
    def _fits(self) -> "DomainMapSection":
        check_row(self.match, self.to)
        return self


class MasqueradeSection(Section):
    """A row of the masquerading table: what an address of ours looks like outside."""

    match: Annotated[str, AfterValidator(checked(check_match))] = Field(
        description="user, user@domain, @domain, @.partial or ALL"
    )
    to: Annotated[str, AfterValidator(checked(check_result))] = Field(
        description="address, or @domain, which keeps the user name"
    )


class AliasSection(Section):
    """A row of the alias table."""

    alias: Annotated[str, AfterValidator(checked(key_of_name))] = Field(
        description="user (of all domains that mail is taken for), user@domain, user@.partial, @domain or @.partial"
    )
    to: tuple[Annotated[str, AfterValidator(checked(check_target))], ...] = Field(
        min_length=1, max_length=MAX_TARGETS, description="addresses, names of other aliases, or /dev/null"
    )


def aliases_of(sections: tuple[AliasSection, ...]) -> list[Alias]:
    """Give the rows of the alias table."""
    return [Alias(one.alias, one.to) for one in sections]


def check_aliases(sections: tuple[AliasSection, ...]) -> tuple[AliasSection, ...]:
    """Refuse a table that leads nowhere or in a circle."""
    AliasTable(aliases_of(sections))
    return sections

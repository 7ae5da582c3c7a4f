"""The door of one gateway listener: its configuration turned into what connections ask before they are greeted.

Called by the gateway root. Reverse names are looked up only where they are asked for, a table with TCPREFUSE is
consulted before the greeting only where there is one; all else costs an ordinary connection nothing.
"""

from collections.abc import Callable, Sequence

from core.dns import Resolver
from core.log.debug import InjectionDebug
from core.maillog import MailLog
from core.reverse import ReverseNames
from core.smtp.door import Brake, Door
from core.smtp.session import Peer
from mail.access import Access
from mail.config import ListenerSection
from mail.hat import Rule
from mail.netblock import parse_address, parse_netblock


def build_door(
    section: ListenerSection,
    access: Access,
    *,
    resolver: Resolver,
    brake: Brake,
    log: MailLog,
    debug: InjectionDebug | None = None,
    debug_names: bool = False,
) -> Door:
    """Build one listener's door; with `debug_names` a debug log needs the names of clients."""
    wanted = access.hosts.needs_names or debug_names
    needed = section.reverse_names == "always" or (section.reverse_names == "auto" and wanted)
    return Door(
        names=ReverseNames(resolver, timeout_s=section.reverse_timeout_s) if needed else None,
        refuses=_refusal(access, log) if access.hosts.may_answer(Rule.TCPREFUSE) else None,
        speaks_proxy=_one_of(section.proxy_from) if section.proxy_from else None,
        introduces=_one_of(section.xclient_from),
        brake=brake,
        debug=debug,
        reject_early_talk=section.early_talk == "reject",
    )


def _one_of(entries: Sequence[str]) -> Callable[[str], bool]:
    blocks = tuple(parse_netblock(entry) for entry in entries)

    def listed(host: str) -> bool:
        if not blocks:
            return False
        try:
            address = parse_address(host)
        except ValueError:
            return False
        return any(block.contains(address) for block in blocks)

    return listed


def _refusal(access: Access, log: MailLog) -> Callable[[Peer], bool]:
    def refuses(peer: Peer) -> bool:
        match = access.hosts.lookup(peer.host, peer.name if peer.verified else "")
        if match.rule is not Rule.TCPREFUSE:
            return False
        log.info(f"ICID 0 TCPREFUSE SG {match.group} match {match.entry} SBRS None")
        return True

    return refuses

"""`destconfig`, `deliveryconfig`, `bounceconfig`: how mail is delivered, and what becomes of it where it is not.

Declarations for the table engine, with the model's order of questions; behaviour.md 2.18 to 2.20.
"""

from ops.cli.commands.routing import WAYS_OUT
from ops.cli.editing import Extra, Menu, Reference, Settings, Table
from ops.cli.editing.asking import Asking
from ops.formats.destinations import Destinations
from ops.formats.ini import Sections

_PROFILES = Reference(("bounce_profile",), also=("Default",))
_TLS = {
    "off": "No",
    "preferred": "Preferred",
    "required": "Required",
    "preferred-verify": "Preferred - Verify",
    "required-verify": "Required - Verify",
}
_FAMILIES = {
    "prefer-v6": "Prefer IPv6",
    "require-v6": "Require IPv6",
    "prefer-v4": "Prefer IPv4",
    "require-v4": "Require IPv4",
}


async def _destination(asking: Asking) -> None:
    """Ask in the order of the model: limits, TLS, bounces, addresses; then what the model does not have."""
    if asking.new:
        await asking.key("domain", "Domain whose limits you want to set:")
    domain = asking.value("domain")
    if await asking.yes(f"Do you wish to configure a concurrency limit for {domain}?", default=True):
        await asking.key("max_connections", "Most connections at a time:")
    await _recipients(asking, domain)
    await asking.key(
        "limit_type",
        "How should the limits be applied?",
        {"host": "To the entire domain", "mxip": "To each mail exchanger's address"},
    )
    await asking.key(
        "limit_apply", "How are the limits enforced?", {"system": "System wide", "gateway": "Per virtual gateway"}
    )
    await asking.key("max_messages_per_connection", "Most messages on one connection:")
    await asking.key("tls", "TLS to this domain:", _TLS)
    await asking.key("bounce_verification", "Do you wish to tag envelope senders, by which real bounces are known?")
    await asking.key("bounce_profile", "Bounce profile for this domain:", {"None": "That of the listener, or Default"})
    await asking.key("ip_preference", "Addresses that are tried:", _FAMILIES)
    if asking.value("tls") != "off":
        await asking.key("dane", "Do you wish to obey its TLSA records (DANE)?")
        await asking.key("mta_sts", "Do you wish to obey its MTA-STS policy?")


async def _recipients(asking: Asking, domain: str) -> None:
    limited = bool(asking.value("recipient_limit"))
    if not await asking.yes(f"Do you wish to apply a recipient limit to {domain}?", default=limited):
        if limited:
            asking.set("recipient_limit", 0)
        return
    if not asking.value("recipient_minutes"):
        asking.set("recipient_minutes", 60)
    await asking.key("recipient_minutes", "Minutes in which recipients are counted:")
    minutes = asking.value("recipient_minutes")
    while not await asking.key("recipient_limit", f"Most recipients in {minutes} minutes:"):
        asking.dialogue.say("A limit of 1 or more is needed.")


DESTINATIONS = Table(
    command="destconfig",
    summary="Limits and TLS of destination domains.",
    path=("destination",),
    key="domain",
    one="destination",
    many="destinations",
    places=("domain",),
    format=Destinations(),
    columns=(
        ("domain", "Domain"),
        ("max_connections", "Connections"),
        ("max_messages_per_connection", "Messages"),
        ("recipient_limit", "Recipients"),
        ("tls", "TLS"),
        ("bounce_verification", "Tagging"),
        ("bounce_profile", "Bounce profile"),
    ),
    questions=_destination,
    fixed={"DEFAULT": "counts for every domain without limits of its own and cannot be deleted; edit it"},
    fallback="DEFAULT",
    refers={"bounce_profile": _PROFILES},
    extras=(
        Extra("DEFAULT", "Change the limits of all other domains.", "destconfig default"),
        Extra("SETUP", "Change settings of outbound TLS.", "destconfig setup"),
    ),
)

TLS_SETUP = Settings(
    command="destconfig setup",
    shown_by="destconfig settings",
    path=("delivery_tls",),
    title="outbound TLS",
    summary="Change settings of outbound TLS for all destinations.",
)


async def _delivery(asking: Asking) -> None:
    """Ask the model's three questions, then, if wanted, for the rest."""
    asked = ("default_interface", "possible_delivery", "max_connections")
    await asking.key("default_interface", "Interface that mail leaves by:", {"auto": "Auto"})
    await asking.key("possible_delivery", "Is mail without a last reply taken as delivered (Possible Delivery)?")
    await asking.key("max_connections", "Most outbound connections of the whole system:")
    if await asking.yes("Do you wish to change time-outs and further settings?"):
        for name in asking.names:
            if name not in asked:
                await asking.key(name)


DELIVERY = Settings(
    command="deliveryconfig setup",
    shown_by="deliveryconfig print",
    path=("delivery",),
    title="mail delivery",
    summary="Change settings of mail delivery.",
    questions=_delivery,
    refers={"default_interface": WAYS_OUT},
)
DELIVERY_MENU = Menu(
    command="deliveryconfig",
    summary="Settings of mail delivery.",
    shown_by="deliveryconfig print",
    extras=(Extra("SETUP", "Change settings of mail delivery.", "deliveryconfig setup"),),
)

_FORMS = {"dsn": "Yes, in the form of RFC 3464 (DSN)", "plain": "Yes, as plain text", "off": "No"}
_WARNED = {"off": "No", "asked": "Where the sender asks for it (NOTIFY=DELAY)", "on": "Yes"}
_FURTHER = ("retry_jitter", "bounce_text", "delay_text", "success_text", "max_full_copy", "automatic_mail")


async def _profile(asking: Asking) -> None:
    """Ask in the order of the model's table of parameters."""
    if asking.new:
        await asking.key("name", "Name of the profile:")
    await asking.key("max_retries", "Most retries:")
    await asking.key("max_in_queue_s", "Most seconds in the queue:")
    await asking.key("initial_retry_s", "Seconds to the first retry:")
    await asking.key("max_retry_s", "Most seconds between retries:")
    await asking.key("hard_bounce", "Do you want a message to be sent for each hard bounce?", _FORMS)
    if asking.value("hard_bounce") != "off":
        await asking.key("bounce_to", "Address that gets them (none = the envelope sender):")
        await asking.key("parse_status", "Do you want the remote host's status code in them?")
        await asking.key("max_bounce_copy", "Smaller messages are returned whole, of others the header; octets or 10K:")
    await asking.key("delay_warnings", "Do you want warnings to be sent for delayed messages?", _WARNED)
    if asking.value("delay_warnings") != "off":
        await asking.key("delay_interval_s", "Seconds to the first warning, and between two:")
        await asking.key("delay_count", "Most warnings about one message:")
        await asking.key("delay_to", "Address that gets them (none = the envelope sender):")
    if await asking.yes("Do you wish to change texts and further settings?"):
        for name in _FURTHER:
            await asking.key(name)


PROFILES = Table(
    command="bounceconfig",
    summary="Bounce profiles: retries, what the sender is told.",
    path=("bounce_profile",),
    key="name",
    one="profile",
    many="profiles",
    places=("name",),
    format=Sections("Bounce profiles", "name"),
    columns=(
        ("name", "Name"),
        ("max_retries", "Retries"),
        ("max_in_queue_s", "Seconds in queue"),
        ("initial_retry_s", "First retry"),
        ("max_retry_s", "Longest wait"),
        ("hard_bounce", "Hard bounces"),
        ("delay_warnings", "Delay warnings"),
    ),
    questions=_profile,
    fixed={"Default": "is used where no other profile is chosen and cannot be deleted; edit it"},
    extras=(Extra("SETUP", "Change limits on bounces of this machine as a whole.", "bounceconfig setup"),),
)
BOUNCES = Settings(
    command="bounceconfig setup",
    shown_by="bounceconfig settings",
    path=("bounces",),
    title="limits on bounces",
    summary="Change limits on bounces of this machine as a whole.",
)

EDITED = (DESTINATIONS, TLS_SETUP, DELIVERY, DELIVERY_MENU, PROFILES, BOUNCES)

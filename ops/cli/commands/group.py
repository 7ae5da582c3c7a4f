"""Under which heading `help` lists a command, by its first word. What is not named here stands under the last."""

from collections.abc import Mapping

FURTHER = "Further commands"
GROUPS: Mapping[str, str] = {
    "Configuration: changes wait until commit": (
        "commit clear clearchanges showchanges commitdetail rollbackconfig showconfig saveconfig loadconfig mailconfig"
        " resetconfig"
    ),
    "Listeners and policies": (
        "listenerconfig aliasconfig filters textconfig unsubscribe quarantineconfig trace policyconfig"
    ),
    "Delivery": (
        "smtproutes destconfig deliveryconfig bounceconfig altsrchost interfaceconfig delivernow suspend suspenddel"
        " suspendlistener suspendtransfers resume resumedel resumelistener resumetransfers tlsverify tlsreport"
    ),
    "Messages": (
        "quarantine showrecipients showmessage archivemessage oldmessage removemessage deleterecipients"
        " bouncerecipients redirectrecipients releasehold workqueue"
    ),
    "Looking on": (
        "status rate hostrate hoststatus tophosts topin dnsstatus metrics resetcounters displayalerts version"
    ),
    "Logs": "logconfig grep tail findevent rollovernow",
    "Network": "netstat ping traceroute nslookup dig telnet dnsconfig dnsflush diagnostic packetcapture",
    "Machine": "alertconfig certconfig sslconfig settz ntpconfig cpq supportrequest",
    "Users and access": "userconfig sshconfig passwd totp who whoami last techsupport",
    "Bastion": "tunnels sessions watch terminate",
    FURTHER: "help exit quit shell",
}
_OF = {word: title for title, words in GROUPS.items() for word in words.split()}


def group_of(name: str) -> str:
    """Give the heading of a command."""
    return _OF.get(name.partition(" ")[0], FURTHER)

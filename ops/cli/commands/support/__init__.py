"""`techsupport`: letting support in, seeing who is in, ending it. Dialogue of the model appliances.

TUNNEL opens the reverse tunnel to the support organisation's bastion, SSHACCESS allows support logins without one,
DISABLE ends both, PROBE tells which ports lead to the bastion. A seed string together with the serial number is what
support needs; it is shown once, when access is enabled, and never stands on a command line or in a log.
"""

from ops.cli.commands.support.access import disable, sshaccess, tunnel
from ops.cli.commands.support.menu import techsupport
from ops.cli.commands.support.probe import probe
from ops.cli.commands.support.state import status
from ops.cli.commands.support.visit import approve, kill, recordings, refuse, watch

COMMANDS = (techsupport, status, tunnel, sshaccess, disable, probe, approve, refuse, kill, watch, recordings)

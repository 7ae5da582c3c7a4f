"""Remote access at scale: many tunnels on one bastion (`python -m bench.tunnels`)."""

"""The appliance's side of the tunnel: what is allowed, dialling out, and holding the connection."""

"""Remote access: the tunnel's two ends."""

"""Several bastions on one store: who holds which tunnel, and how an engineer at one reaches an appliance at another.

`directory` keeps this node's lease and seats in the store and finds what others have taken over; `listener` answers
the other nodes; `link` asks them; `message` is what they say. Between nodes there is mutual TLS by an authority of
their own; over it go the octets of an appliance's channel, and a header that the other node checks against the store.
"""

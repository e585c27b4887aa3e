"""How a request reaches sites and answers come back.

- `exchange`: the protocol, and the exchange within one process.
- `grid`: over Flower.
- `run_identity`: the name of the run on every request.
- `sockets`: which sockets this process tree listens on.
"""

"""The parts of a federation: one file for each mechanism, beside its paper.

A part is a small frozen dataclass that travels in `clients.protocol.messages.Train`. It says which
arrays it needs on the way up and down, what it does to a gradient at a site, what it does to the
state on the server, and what it does not go with.

- `base`: what a correction of local training may do; every hook does nothing by default.
- `proximal`, `control_variates`, ...: one correction each.
- `corrections`: the register of corrections; a new one is its file and a line there.
- `statistics`: what becomes of the optimizers' moments (averaged, frozen, private).
- `weighting`: what a site's update counts.
- `placement`: where generator and critic live.
- `arrays`: the layout of a round, put together from the parts.
- `states`: a player's state, and what one site carries from round to round.
"""

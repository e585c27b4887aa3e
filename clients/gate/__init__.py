"""The one way into and out of a site: what a server may ask, and what a site lets go.

A server may be wrong, broken or hostile, so a site believes nothing that it can check itself:

- `simulation`: only folders that a simulation marked serve as simulated sites.
- `sizes`: sizes and numbers, before anything is allocated.
- `inputs`: the arrays that go with an order.
- `contents`: what an order describes is read strictly.
- `held`: what an order names is held to what the site was asked before, and to its own rows.
- `planned`: what comes after a plan has the plan's numbers.
- `balls`: the balls and the codebook of a recall.
- `ledger`: every question is answered once.
- `floor`: rows of levels too small for a site's policy take no part.
- `policy`, `permission`: the site's policy, and whether it lets a question pass.
- `admission`: all of these, in order.

An answer leaves through one function:

- `mechanism`: what a site does to an answer first: clip, add noise, refuse. Today: nothing.
- `release`: applies it, packs the answer, and writes down what the answer held.
- `noise`, `spending`: the noise that a private run asks for, and what all runs have spent.
- `log`: a chained line for each release of a deployed site.
"""

from typing import TYPE_CHECKING

from everymode.wgan.lazy import lazy_exports

if TYPE_CHECKING:
    from everymode.clients.gate.admission import Admission
    from everymode.clients.gate.held import check_claims
    from everymode.clients.gate.mechanism import NO_MECHANISM, Answer, Mechanism
    from everymode.clients.gate.release import build_context
    from everymode.clients.gate.simulation import mark, simulated
else:
    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "everymode.clients.gate.admission": ("Admission",),
            "everymode.clients.gate.held": ("check_claims",),
            "everymode.clients.gate.mechanism": ("NO_MECHANISM", "Answer", "Mechanism"),
            "everymode.clients.gate.release": ("build_context",),
            "everymode.clients.gate.simulation": ("mark", "simulated"),
        },
    )

__all__ = [
    "NO_MECHANISM",
    "Admission",
    "Answer",
    "Mechanism",
    "build_context",
    "check_claims",
    "mark",
    "simulated",
]

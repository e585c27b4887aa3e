"""`generator.safetensors`: all that `everymode sample` needs beside the run's plan."""

import json

import numpy as np
import torch

from clients.plan import Plan
from fairness.following import Following
from fairness.parity import ParityMixture
from fairness.projection import Projection
from server.outputs import RunFolder
from server.synthesis import Synthesizer, untrained
from wgan.errors import StateError
from wgan.packed import Packed
from wgan.state import read_tensors, write_tensors

COUNTS = "counts"
"""The tensor that says which site's generator makes how much of each cell, where there are many."""

PARITY = "parity"
"""The header's entry that says how labels are mixed; absent: as in the data."""

FOLLOWING = "following"
"""Its entry that says which entries of a row follow from which; tables are tensors of that name."""


def save_generator(synthesizer: Synthesizer, run: RunFolder) -> None:
    """Writes parameters and what goes with them by name, schema and recipe in the header."""
    states = [generator.module.state_dict() for generator in synthesizer.generators]
    state = {name: tensor.clone() for name, tensor in states[0].items()}
    if len(states) > 1:
        state = {f"{k}/{n}": t.clone() for k, own in enumerate(states) for n, t in own.items()}
        state[COUNTS] = torch.from_numpy(synthesizer.counts)
    if synthesizer.projection is not None:
        state |= synthesizer.projection.tensors()
    state |= {f"{FOLLOWING}_{k}": f.table for k, f in enumerate(synthesizer.followings)}
    meta = {
        "schema": synthesizer.plan.schema.fingerprint,
        "recipe": synthesizer.plan.recipe.to_json(),
        "format": json.dumps({"name": "everymode-generator", "version": 1}),
    }
    if synthesizer.followings:
        meta[FOLLOWING] = json.dumps([(f.source, f.target) for f in synthesizer.followings])
    if synthesizer.parity is not None:
        meta[PARITY] = json.dumps(synthesizer.parity.to_json())
    write_tensors(run.generator, state, meta)


def load_generator(run: RunFolder) -> Synthesizer:
    """The synthesizer of a finished run.

    Raises:
        StateError: There is no generator there, or it belongs to another schema.
    """
    order, _ = run.read_plan()
    if not run.generator.exists():
        raise StateError(
            f"{run.path}: the run is not finished, so there is no generator to draw from; "
            f"finish it with: {run.resume}"
        )
    plan = Plan.of(order)
    tensors, meta = read_tensors(run.generator)
    if meta.get("schema") != plan.schema.fingerprint:
        raise StateError(f"{run.generator}: was not made under the schema in schema.json")
    parity = ParityMixture.from_json(json.loads(meta[PARITY])) if PARITY in meta else None
    projection = Projection.taken(tensors)
    spans = json.loads(meta.get(FOLLOWING, "[]"))
    followings = tuple(
        Following(tuple(source), tuple(target), tensors.pop(f"{FOLLOWING}_{k}"))
        for k, (source, target) in enumerate(spans)
    )
    if COUNTS not in tensors:
        module = untrained(plan)
        module.load_state_dict(tensors)
        one = np.ones((plan.conditions.table.size, 1))
        return Synthesizer(plan, (Packed(module),), one, parity, projection, followings)
    counts = tensors.pop(COUNTS).numpy()
    modules = [untrained(plan) for _ in range(counts.shape[1])]
    for k, module in enumerate(modules):
        own = {n.removeprefix(f"{k}/"): t for n, t in tensors.items() if n.startswith(f"{k}/")}
        module.load_state_dict(own)
    return Synthesizer(plan, tuple(Packed(module) for module in modules), counts, parity)

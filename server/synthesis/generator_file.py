"""`generator.safetensors`: all that `everymode sample` needs beside the run's plan."""

import json
import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from clients.protocol.plan import Plan, fingerprint
from fairness.parity.mixture import ParityMixture
from fairness.postprocessing.dependencies import FunctionalDependency
from fairness.postprocessing.projection import Projection
from server.outputs.run_directory import RunFolder
from server.synthesis.synthesizer import Synthesizer, build_generator
from wgan.errors import StateError
from wgan.flat import FlatModule
from wgan.state import parse_json, read_tensors, write_tensors

COUNTS = "counts"
"""The tensor that says which site's generator makes how much of each cell, where there are many."""

PARITY = "parity"
"""The header's entry that says how labels are mixed; absent: as in the data."""

FOLLOWING = "following"
"""Its entry that says which entries of a row follow from which; tables are tensors of that name."""


LOWEST = torch.finfo(torch.float32).min

_FORMAT = json.dumps({"name": "everymode-generator", "version": 2})


def save_generator(synthesizer: Synthesizer, run: RunFolder, plan: str, settings: str) -> None:
    """Writes parameters and what goes with them by name, schema and recipe in the header.

    Args:
        synthesizer: What makes rows.
        run: The run directory.
        plan: The plan's fingerprint.
        settings: The digest of the settings that decide a result.
    """
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
        "format": _FORMAT,
        "plan": plan,
        "settings": settings,
    }
    if synthesizer.followings:
        meta[FOLLOWING] = json.dumps([(f.source, f.target) for f in synthesizer.followings])
    if synthesizer.parity is not None:
        meta[PARITY] = json.dumps(synthesizer.parity.to_json())
    write_tensors(run.generator, state, meta)


def load_generator(run: RunFolder) -> Synthesizer:
    """The synthesizer of a finished run.

    Raises:
        StateError: There is no generator there, it belongs to another plan, or it is damaged.
    """
    order, _ = run.read_plan()
    if not run.generator.exists():
        raise StateError(
            f"{run.path}: the run is not finished, so there is no generator to draw from; "
            f"finish it with: {run.resume}"
        )
    tensors, meta = read_tensors(run.generator)
    if meta.get("format") != _FORMAT:
        raise StateError(
            f"{run.generator}: is no generator of this version of EveryMode; draw with the one "
            "that wrote it, or train anew"
        )
    plan = Plan.of(order)
    if (meta.get("plan"), meta.get("schema")) != (fingerprint(order), plan.schema.fingerprint):
        raise StateError(f"{run.generator}: was not made under the plan in schema.json")
    try:
        return _assembled(plan, tensors, meta)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, RuntimeError) as error:
        # The digest of the file is right, so that it was written with other tensors than these.
        what = " ".join(f"{type(error).__name__}: {error}".split())
        raise StateError(
            f"{run.generator}: does not hold the generator of this plan ({what}); put the file "
            f"back as it was, or write it anew with: {run.resume}"
        ) from None


def _assembled(plan: Plan, tensors: dict[str, Tensor], meta: Mapping[str, str]) -> Synthesizer:
    """Puts together what `save_generator` took apart.

    Raises:
        ValueError: Or another error that Python has for it: parts are missing or do not fit.
    """
    cells, width = plan.conditions.table.size, plan.shape.width
    joined = width + plan.binning.width + plan.conditions.width
    parity = ParityMixture.from_json(parse_json(meta[PARITY].encode())) if PARITY in meta else None
    projection = Projection.taken(tensors)
    if projection is not None:
        _expect("projection_levels", projection.levels, (plan.conditions.width + 1, joined, joined))
        _expect("projection_ceilings", projection.ceilings, (cells,), lowest=-math.inf)
    spans = parse_json(meta.get(FOLLOWING, "[]").encode())
    followings = []
    for k, (source, target) in enumerate(spans):
        table = tensors.pop(f"{FOLLOWING}_{k}")
        (first, last), (start, stop) = source, target
        if not (0 <= first < last <= width + plan.conditions.width and 0 <= start < stop <= width):
            raise ValueError(f"columns {source} and {target} of a row of {width} entries")
        _expect(f"{FOLLOWING}_{k}", table.nan_to_num(), (last - first, stop - start))
        followings.append(FunctionalDependency((first, last), (start, stop), table))
    if COUNTS not in tensors:
        one = np.ones((cells, 1))
        maker = _module(plan, tensors)
        return Synthesizer(plan, (maker,), one, parity, projection, tuple(followings))
    counts = tensors.pop(COUNTS)
    _expect(COUNTS, counts, (cells, counts.shape[-1]), lowest=0.0)
    makers = tuple(
        _module(
            plan,
            {n.removeprefix(f"{k}/"): t for n, t in tensors.items() if n.startswith(f"{k}/")},
        )
        for k in range(counts.shape[1])
    )
    return Synthesizer(plan, makers, counts.numpy(), parity)


def _module(plan: Plan, state: Mapping[str, Tensor]) -> FlatModule[nn.Module]:
    module = build_generator(plan)
    for name, tensor in state.items():
        _expect(name, tensor, tuple(tensor.shape))
    module.load_state_dict(state)
    return FlatModule(module)


def _expect(name: str, tensor: Tensor, shape: tuple[int, ...], lowest: float = LOWEST) -> None:
    """Raises `ValueError` where a tensor has another shape, or values that cannot be.

    Args:
        name: The tensor's name, for the message.
        tensor: The tensor.
        shape: What it should have.
        lowest: Least value; minus infinity lets values be minus infinity.
    """
    if tuple(tensor.shape) != shape:
        raise ValueError(f"{name} has shape {tuple(tensor.shape)}, expected {shape}")
    if not bool(((tensor >= lowest) & (tensor < math.inf)).all()):
        raise ValueError(f"{name} holds values that are not finite or out of range")

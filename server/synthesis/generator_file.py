"""`generator.safetensors`: generators and postprocessing steps, all that `everymode sample` needs.

Only the plan in `schema.json` is needed with it.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from everymode.clients.protocol.plan import Plan, fingerprint
from everymode.fairness.matching.codes import Coding
from everymode.fairness.parity.mixture import ParityMixture
from everymode.fairness.postprocessing.conditional_trees import PREFIX, ConditionalTrees
from everymode.fairness.postprocessing.dependencies import FunctionalDependency
from everymode.fairness.postprocessing.forbidden import PREFIX as FORBIDDEN_PREFIX
from everymode.fairness.postprocessing.forbidden import ForbiddenPairs
from everymode.fairness.postprocessing.leaf_weights import PREFIX as CRITIC_PREFIX
from everymode.fairness.postprocessing.leaf_weights import LeafWeights
from everymode.fairness.postprocessing.projection import Projection
from everymode.server.outputs.run_directory import RunFolder
from everymode.server.synthesis.steps import (
    DropForbidden,
    ImputeDependencies,
    KeepByLeaves,
    PostprocessingStep,
    ProjectByRejection,
)
from everymode.server.synthesis.synthesizer import Synthesizer, build_generator
from everymode.server.synthesis.trees import BINS
from everymode.wgan.errors import EveryModeError, StateError
from everymode.wgan.files import parse_json
from everymode.wgan.flat import FlatModule
from everymode.wgan.state import read_tensors, write_tensors

COUNTS = "counts"
"""The tensor with the rows of each cell that each generator stands for, where there are several."""

PARITY = "parity"
"""Entry of the header that holds the mixture of labels; absent: as in the data."""

FOLLOWING = "following"
"""Entry of the header with source and target of each dependency; tables are tensors of the name."""

TREES = "trees"
"""Entry of the header with the bins of numbers and the column of each tree; absent: no trees."""

CRITICS = "critics"
"""Entry of the header with the bins of numbers and how many trees are critics; absent: none."""

FORBIDDEN = "forbidden"
"""Entry of the header with the bins of numbers and the columns of forbidden pairs; absent: none."""

LOWEST = torch.finfo(torch.float32).min

_FORMAT = json.dumps({"name": "everymode-generator", "version": 2})


def save_generator(synthesizer: Synthesizer, run: RunFolder, plan: str, settings: str) -> None:
    """Writes parameters and steps as named tensors, with schema and recipe in the header.

    Args:
        synthesizer: The generators and their steps.
        run: The run directory.
        plan: The plan's fingerprint.
        settings: The digest of the settings that decide a result.
    """
    states = [generator.module.state_dict() for generator in synthesizer.generators]
    state = {name: tensor.clone() for name, tensor in states[0].items()}
    if len(states) > 1:
        state = {f"{k}/{n}": t.clone() for k, own in enumerate(states) for n, t in own.items()}
        state[COUNTS] = torch.from_numpy(synthesizer.counts)
    projection = synthesizer.find(ProjectByRejection)
    if projection is not None:
        state |= projection.projection.tensors()
    imputation = synthesizer.find(ImputeDependencies)
    dependencies = imputation.dependencies if imputation is not None else ()
    state |= {f"{FOLLOWING}_{k}": f.table for k, f in enumerate(dependencies)}
    meta = {
        "schema": synthesizer.plan.schema.fingerprint,
        "recipe": synthesizer.plan.recipe.to_json(),
        "format": _FORMAT,
        "plan": plan,
        "settings": settings,
    }
    if synthesizer.proposal is not None:
        state |= synthesizer.proposal.tensors()
        targets = [tree.target for tree in synthesizer.proposal.trees]
        meta[TREES] = json.dumps({"bins": BINS, "targets": targets})
    critics = synthesizer.find(KeepByLeaves)
    if critics is not None:
        state |= critics.weights.tensors()
        meta[CRITICS] = json.dumps({"bins": BINS, "trees": len(critics.weights.trees)})
    dropped = synthesizer.find(DropForbidden)
    if dropped is not None:
        state |= dropped.pairs.tensors()
        meta[FORBIDDEN] = json.dumps({"bins": BINS, "columns": dropped.pairs.columns})
    if dependencies:
        meta[FOLLOWING] = json.dumps([(f.source, f.target) for f in dependencies])
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
    except EveryModeError:
        raise
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, RuntimeError) as error:
        # The digest of the file is right, so that it was written with other tensors than these.
        what = " ".join(f"{type(error).__name__}: {error}".split())
        raise StateError(
            f"{run.generator}: does not hold the generator of this plan ({what}); put the file "
            f"back as it was, or write it anew with: {run.resume}"
        ) from None


def _assembled(plan: Plan, tensors: dict[str, Tensor], meta: Mapping[str, str]) -> Synthesizer:
    """The inverse of `save_generator`.

    Raises:
        ValueError: Parts are missing or do not fit; Python has other errors for some of it.
    """
    cells = plan.conditions.table.size
    parity = ParityMixture.from_json(parse_json(meta[PARITY].encode())) if PARITY in meta else None
    post = _steps(plan, tensors, meta)
    proposal = _proposal(plan, tensors, meta)
    for name in [name for name in tensors if name.startswith(f"{FORBIDDEN_PREFIX}_")]:
        del tensors[name]
    if COUNTS not in tensors:
        generators: tuple[FlatModule[nn.Module], ...] = (_module(plan, tensors),)
        return Synthesizer(plan, generators, np.ones((cells, 1)), parity, post, proposal)
    counts = tensors.pop(COUNTS)
    _expect(COUNTS, counts, (cells, counts.shape[-1]), lowest=0.0)
    generators = tuple(
        _module(
            plan,
            {n.removeprefix(f"{k}/"): t for n, t in tensors.items() if n.startswith(f"{k}/")},
        )
        for k in range(counts.shape[1])
    )
    return Synthesizer(plan, generators, counts.numpy(), parity, post, proposal)


def _steps(
    plan: Plan, tensors: dict[str, Tensor], meta: Mapping[str, str]
) -> tuple[PostprocessingStep, ...]:
    """The postprocessing steps of a file.

    Their order is that of `everymode.server.synthesis.fitting.build_fits`. Their tensors are taken
    out of `tensors`.

    Raises:
        ValueError: They do not fit the plan.
    """
    post: list[PostprocessingStep] = []
    if dependencies := _dependencies(plan, tensors, meta):
        post.append(ImputeDependencies(dependencies))
    projection = Projection.from_tensors(tensors)
    if projection is not None:
        cells, condition = plan.conditions.table.size, plan.conditions.width
        joined = plan.shape.width + plan.binning.width + condition
        _expect("projection_levels", projection.levels, (condition + 1, joined, joined))
        _expect("projection_ceilings", projection.log_envelopes, (cells,), lowest=-math.inf)
        post.append(ProjectByRejection.of(plan, projection, soft=TREES not in meta))
    if CRITICS in meta:
        told = parse_json(meta[CRITICS].encode())
        coding = Coding.of(plan.codec, plan.conditions, told["bins"])
        own = {n: tensors.pop(n) for n in list(tensors) if n.startswith(f"{CRITIC_PREFIX}_")}
        post.append(KeepByLeaves(LeafWeights.from_tensors(coding, told["trees"], own)))
    if (pairs := _forbidden(plan, tensors, meta)) is not None:
        post.append(DropForbidden(pairs))
    return tuple(post)


def _forbidden(
    plan: Plan, tensors: Mapping[str, Tensor], meta: Mapping[str, str]
) -> ForbiddenPairs | None:
    """The forbidden pairs of a file; None where it has none."""
    if FORBIDDEN not in meta:
        return None
    told = parse_json(meta[FORBIDDEN].encode())
    coding = Coding.of(plan.codec, plan.conditions, told["bins"])
    return ForbiddenPairs.from_tensors(coding, told["columns"], tensors)


def _proposal(
    plan: Plan, tensors: dict[str, Tensor], meta: Mapping[str, str]
) -> ConditionalTrees | None:
    """The trees of a file, whose tensors are taken out of `tensors`; None where it has none."""
    if TREES not in meta:
        return None
    told = parse_json(meta[TREES].encode())
    coding = Coding.of(plan.codec, plan.conditions, told["bins"])
    own = {n: tensors.pop(n) for n in list(tensors) if n.startswith(f"{PREFIX}_")}
    trees = ConditionalTrees.from_tensors(coding, told["targets"], own)
    return replace(trees, forbidden=_forbidden(plan, tensors, meta))


def _dependencies(
    plan: Plan, tensors: dict[str, Tensor], meta: Mapping[str, str]
) -> tuple[FunctionalDependency, ...]:
    width, spans = plan.shape.width, parse_json(meta.get(FOLLOWING, "[]").encode())
    dependencies = []
    for k, (source, target) in enumerate(spans):
        table = tensors.pop(f"{FOLLOWING}_{k}")
        (first, last), (start, stop) = source, target
        if not (0 <= first < last <= width + plan.conditions.width and 0 <= start < stop <= width):
            raise ValueError(f"columns {source} and {target} of a row of {width} entries")
        _expect(f"{FOLLOWING}_{k}", table.nan_to_num(), (last - first, stop - start))
        dependencies.append(FunctionalDependency((first, last), (start, stop), table))
    return tuple(dependencies)


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

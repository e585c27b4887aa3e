"""The trained critic of a run, as whoever has its directory may use it on rows of a table."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from everymode.clients.protocol.plan import Plan, derive_seed, fingerprint
from everymode.server.outputs.run_directory import RunFolder
from everymode.server.training.state import ServerState
from everymode.wgan.data.constrained import with_hidden
from everymode.wgan.players import Players

Floats = npt.NDArray[np.float64]

Critic = Callable[[pd.DataFrame], Floats]

PIECE = 8192
"""Rows scored at once."""


def load_critic(run: RunFolder, settings: str) -> tuple[Critic | None, str]:
    """Scores of a run's critic, from its newest checkpoint; else None and why there are none.

    Where the critic judges several rows together, each row is judged together with itself. A row of
    a group or label that the critic was not told of gets the lowest score.

    Args:
        run: The run directory.
        settings: The digest of its settings, which a checkpoint must carry.

    Raises:
        StateError: The checkpoint was made under another plan or other settings, or is damaged.
    """
    order, _ = run.read_plan()
    plan = Plan.of(order)
    if plan.schema.samples is not None:
        return None, "its sites hold samples, not tables"
    found = run.load(fingerprint(order), settings)
    if found is None:
        return None, "it has no checkpoint"
    state = ServerState.from_tensors(*found)
    if any("critic" in site.vectors for site in state.sites.values()):
        return None, "every site has a critic of its own"
    players = Players(plan.recipe, plan.shape)
    players.critic.load(state.players["critic"].vector)
    if len(players.critic.buffers):
        players.critic.buffers.copy_(state.players["critic"].buffers)
    # Views are for training: the row itself is judged.
    players.strength = 0.0

    def critic(frame: pd.DataFrame) -> Floats:
        where, pack = "the table", plan.recipe.pack
        codec = plan.conditions.table_codec(plan.schema)
        rng = np.random.default_rng(derive_seed(plan.seed, "critic's score"))
        frame = with_hidden(frame, plan.schema, where, mended=True)
        rows = codec.encode(frame, rng, where)
        cells = plan.conditions.cell_index(frame, plan.schema, where, rows)
        known = np.flatnonzero(cells >= 0)
        scores = np.full(len(frame), -np.inf)
        views = torch.Generator().manual_seed(0)
        for start in range(0, len(known), PIECE):
            part = np.repeat(known[start : start + PIECE], pack)
            told = torch.from_numpy(plan.conditions.encode(cells[part]))
            judged = players.scores(torch.from_numpy(rows[part]), told, views)
            scores[known[start : start + PIECE]] = judged[::pack].double().numpy()
        if len(known):
            scores[cells < 0] = scores[known].min()
        return scores

    return critic, ""

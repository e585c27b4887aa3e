"""A round in process against the textbook loop for the same arithmetic, on one core.

    python tests/benchmarks/step.py [--rounds 40]

Both do five critic steps and one generator step with 256 rows each, networks of 256-256, on the
built-in table in one site, conditions group and label. The textbook loop is what a tutorial writes:
`torch.optim.Adam`, a critic called on real, on fake and on interpolates, no packing, no sums; it
draws its rows by index as well. Rounds of the two alternate, so that a noisy machine hits both.
`step.json` gets medians and quartiles of the paired ratio.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from everymode.clients.protocol.messages import Request
from everymode.clients.protocol.plan import Plan, fingerprint
from everymode.clients.tasks.train import Rows
from everymode.server.config.files import load
from everymode.server.config.recipe import build_recipe
from everymode.server.config.tables import build_table_spec
from everymode.server.config.training import build_training
from everymode.server.outputs.run_directory import RunFolder
from everymode.server.schema.agreement import agree
from everymode.server.simulated_sites import create_simulated_sites
from everymode.server.training.rounds import Rounds
from everymode.server.transport.exchange import InProcess

HERE = Path(__file__).resolve().parent
BATCH, CRITIC_STEPS = 256, 5

SETTINGS = (
    "strategy=pooled",
    "model.matching=0",
    f"train.batch={BATCH}",
    f"train.generator_batch={BATCH}",
    f"train.critic_steps={CRITIC_STEPS}",
    "train.generator_steps=1",
    "train.decay=none",
    "train.rounds=1000000",
)


def prepared(folder: Path) -> tuple[Rounds, Plan, Rows]:
    """Our rounds, and the same encoded rows for the textbook."""
    import numpy as np

    from everymode.clients.protocol.messages import EncodeData
    from everymode.fairness.weighting.group_weights import group_mass

    settings = load("adult", SETTINGS)
    run = RunFolder(folder)
    stage = create_simulated_sites(settings, run.sites)
    exchange = InProcess(stage.sites)
    agreed = agree(exchange, stage.columns, build_table_spec(settings.data))
    mass = group_mass(np.array(agreed.conditions.group_counts), "tempered")
    order = EncodeData(
        schema=agreed.schema.to_json(),
        conditions=agreed.conditions.to_json(),
        mass=tuple(mass.tolist()),
        recipe=build_recipe(settings).to_json(),
        seed=0,
        matching="none",
        missing=settings.data.missing,
    )
    exchange(Request(order))
    plan, name = Plan.of(order), fingerprint(order)
    return (
        Rounds(build_training(settings), plan, name, exchange, (), "cpu"),
        plan,
        Rows.of(stage.sites[0], name, plan, "cpu"),
    )


def textbook(plan: Plan, rows: Rows) -> Callable[[], None]:
    """One round of the tutorial's loop."""
    shape, recipe = plan.shape, plan.recipe
    generator = recipe.generator.build(shape)
    critic = recipe.critic.build(shape)
    adam = recipe.critic_optimizer
    betas = (adam.beta1, adam.beta2)
    critic_optimizer = torch.optim.Adam(critic.parameters(), adam.rate, betas)
    generator_optimizer = torch.optim.Adam(
        generator.parameters(), recipe.generator_optimizer.rate, betas
    )
    rng = torch.Generator().manual_seed(0)

    def batch() -> tuple[torch.Tensor, torch.Tensor]:
        index = rows.draw(BATCH, rng)
        return rows.rows[index], rows.conditions[index]

    def round_() -> None:
        for _ in range(CRITIC_STEPS):
            real, condition = batch()
            with torch.no_grad():
                fake = generator(condition, rng)
            mix = torch.rand(BATCH, 1, generator=rng)
            points = (mix * real + (1 - mix) * fake).requires_grad_(True)
            (slope,) = torch.autograd.grad(
                critic(points, condition).sum(), points, create_graph=True
            )
            penalty = (slope.norm(2, dim=1) - 1).square().mean()
            difference = critic(fake, condition).mean() - critic(real, condition).mean()
            critic_optimizer.zero_grad()
            (difference + 10 * penalty).backward()
            critic_optimizer.step()
        _, condition = batch()
        loss = -critic(generator(condition, rng), condition).mean()
        generator_optimizer.zero_grad()
        loss.backward()
        generator_optimizer.step()

    return round_


def main() -> None:
    """Times both in turn and writes `step.json`."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=40)
    count = parser.parse_args().rounds
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        rounds, plan, rows = prepared(Path(folder))
        ours_iterator = rounds.run()
        theirs = textbook(plan, rows)
        times: dict[str, list[float]] = {"ours": [], "textbook": []}
        for turn in range(count + 5):
            for name, step in (("ours", lambda: next(ours_iterator)), ("textbook", theirs)):
                started = time.perf_counter()
                step()
                if turn >= 5:
                    times[name].append(time.perf_counter() - started)
    ratios = [a / b for a, b in zip(times["ours"], times["textbook"], strict=True)]
    quartiles = statistics.quantiles(ratios, n=4)
    result = {
        "rounds": count,
        "columns": plan.shape.width,
        "torch": torch.__version__,
        "threads": 1,
        "ours_ms": round(1e3 * statistics.median(times["ours"]), 2),
        "textbook_ms": round(1e3 * statistics.median(times["textbook"]), 2),
        "ratio_median": round(statistics.median(ratios), 3),
        "ratio_quartiles": [round(q, 3) for q in quartiles],
    }
    (HERE / "step.json").write_text(json.dumps(result, indent=1) + "\n")
    print(result)


if __name__ == "__main__":
    main()

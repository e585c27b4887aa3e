"""What a private critic's step costs, and what digits it trains.

    python tests/benchmarks/private_critic.py [--turns 200] [--seeds 3]

**Step.** The critic of the preset `adult`, 256-256 on the built-in table's encoded rows and
conditions, on one core: a gradient and Adam's step along it by the plain rule, by clipped and
noised gradients with ghost norms, and (every tenth turn) by single gradients with `vmap`. Rules
take turns on the same rows, in an order that alternates; ratios are of one turn.

**Digits.** scikit-learn's 8 x 8 digits, 1,437 to train and 360 to test, told their class: the same
networks trained by the plain rule, clipped without noise, and clipped with noise, on Poisson
samples of 256 rows on average. Generator steps take classes drawn uniformly, and no row.
`readable`: the share of made digits that a logistic regression of real training digits takes for
the class asked for; `made_to_real`: the accuracy on test digits of one that was trained on made
digits. Batch, width and levels of noise were chosen in short trials with the first seed, which
showed the accuracy on test digits. `epsilon`, at delta 1e-5, is what Renyi accounting of the
subsampled Gaussian gives (Mironov, Talwar, Zhang, "Renyi Differential Privacy of the Sampled
Gaussian Mechanism", 2019, section 3.3): it would hold if the noise came from a secret source.

Results: `private_critic.json`.
"""

import argparse
import json
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from everymode.wgan.clipped_noised import ClippedNoised
from everymode.wgan.critics import MLPCriticSpec
from everymode.wgan.generators import MLPGeneratorSpec
from everymode.wgan.gradients import GradientRule, Plain
from everymode.wgan.optimizers import Adam
from everymode.wgan.players import Batch, Players
from everymode.wgan.recipe import Recipe
from everymode.wgan.shape import Shape

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

RULES: dict[str, GradientRule] = {
    "plain": Plain(),
    "ghost": ClippedNoised(1.0, 1.0, norms="ghost"),
    "vmap": ClippedNoised(1.0, 1.0, norms="vmap"),
}
BATCH, STEPS, N_CRITIC = 256, 300, 5
DIGITS: dict[str, GradientRule] = {
    "plain": Plain(),
    "clipped": ClippedNoised(1.0, 0.0),
    "noise 0.1": ClippedNoised(1.0, 0.1),
    "noise 1": ClippedNoised(1.0, 1.0),
}


def steps(turns: int) -> dict[str, Any]:
    """Times of the three rules, and ratios to the plain one."""
    from step import prepared

    with tempfile.TemporaryDirectory() as folder:
        _, plan, rows = prepared(Path(folder))
        result: dict[str, Any] = {
            "columns": plan.shape.width,
            "conditions": plan.shape.condition,
            "turns": turns,
        }
        for size in (50, 256):
            result[f"batch {size}"] = _paired(plan.recipe, plan.shape, rows, size, turns)
        return result


def _paired(recipe: Recipe, shape: Shape, rows: Any, size: int, turns: int) -> dict[str, Any]:
    players = {
        name: Players(replace(recipe, gradient_rule=rule), shape)  # type: ignore[arg-type]
        for name, rule in RULES.items()
    }
    rng = torch.Generator().manual_seed(0)
    times: dict[str, list[float]] = {name: [] for name in RULES}
    ratios: dict[str, list[float]] = {name: [] for name in RULES if name != "plain"}
    for turn in range(turns + 10):
        index = torch.randint(len(rows.rows), (size,), generator=rng)
        batch = Batch(rows.rows[index], rows.conditions[index], torch.ones(size))
        fake = players["plain"].fake(batch.condition, rng)
        taken: dict[str, float] = {}
        for name in list(RULES)[:: 1 if turn % 2 else -1]:
            if name == "vmap" and turn % 10:
                continue
            own = torch.Generator().manual_seed(turn)
            started = time.perf_counter()
            gradient, _ = players[name].critic_gradient(batch, fake, own)
            players[name].step_critic(gradient)
            taken[name] = time.perf_counter() - started
        if turn < 10:
            continue
        for name, seconds in taken.items():
            times[name].append(seconds)
            if name != "plain":
                ratios[name].append(seconds / taken["plain"])
    found: dict[str, Any] = {
        f"{name}_ms": round(1e3 * statistics.median(t), 2) for name, t in times.items()
    }
    for name, values in ratios.items():
        quartiles = statistics.quantiles(values, n=4)
        found[f"{name}_ratio_median"] = round(quartiles[1], 3)
        found[f"{name}_ratio_quartiles"] = [round(q, 3) for q in quartiles]
    return found


def digits(seeds: int) -> dict[str, Any]:
    """Figures of each rule over seeds: mean and standard deviation."""
    from sklearn.datasets import load_digits
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import train_test_split

    pixels, labels = load_digits(return_X_y=True)
    split = train_test_split(pixels / 8 - 1, labels, test_size=360, random_state=0, stratify=labels)
    train, test, train_labels, test_labels = split
    judge = LogisticRegression(max_iter=2000).fit(train, train_labels)
    rows = torch.tensor(train, dtype=torch.float32)
    classes = torch.eye(10)[torch.tensor(train_labels)]
    figures: dict[str, list[dict[str, float]]] = {name: [] for name in ("untrained", *DIGITS)}
    for seed in range(seeds):
        for name in figures:
            make = _trained(rows, classes, DIGITS.get(name), seed)
            asked = torch.arange(1440) % 10
            made = make(torch.eye(10)[asked]).numpy()
            pupil = LogisticRegression(max_iter=2000).fit(made, asked)
            figures[name].append(
                {
                    "readable": float(judge.score(made, asked)),
                    "made_to_real": float(pupil.score(test, test_labels)),
                }
            )
            print(name, seed, figures[name][-1], flush=True)
    return {
        "rows": len(rows),
        "batch": BATCH,
        "critic_steps": STEPS * N_CRITIC,
        "seeds": seeds,
        "real_to_real": round(float(judge.score(test, test_labels)), 3),
        "epsilon": {
            name: round(epsilon(rule.noise, BATCH / len(rows), STEPS * N_CRITIC), 1)
            for name, rule in DIGITS.items()
            if isinstance(rule, ClippedNoised) and rule.noise
        },
        "rules": {
            name: {
                key: [
                    round(statistics.mean(values), 3),
                    round(statistics.stdev(values), 3) if seeds > 1 else None,
                ]
                for key in found[0]
                for values in [[each[key] for each in found]]
            }
            for name, found in figures.items()
        },
    }


def _trained(
    rows: Tensor, classes: Tensor, rule: GradientRule | None, seed: int
) -> Callable[[Tensor], Tensor]:
    recipe = Recipe(
        generator=MLPGeneratorSpec((128, 128), noise=32),
        critic=MLPCriticSpec((64, 64)),
        generator_optimizer=Adam(1e-3, 0.5, 0.9),
        critic_optimizer=Adam(1e-3, 0.5, 0.9),
        gradient_rule=rule or Plain(),  # type: ignore[arg-type]
    )
    players = Players(recipe, Shape((), rows.shape[1], 10), seed=seed)
    rng = torch.Generator().manual_seed(seed)
    for _ in range(STEPS if rule else 0):
        for _ in range(N_CRITIC):
            taken = torch.rand(len(rows), generator=rng) < BATCH / len(rows)
            own = classes[taken]
            batch = Batch(rows[taken], own, torch.ones(len(own)), expected=float(BATCH))
            gradient, _ = players.critic_gradient(batch, players.fake(own, rng), rng)
            players.step_critic(gradient)
        asked = torch.eye(10)[torch.randint(10, (BATCH,), generator=rng)]
        gradient, _ = players.generator_gradient(asked, torch.ones(BATCH), rng)
        players.step_generator(gradient)
        players.update_ema()
    if rule:
        players.generator.load(players.average)
    return lambda asked: players.fake(asked, rng)


def epsilon(noise: float, rate: float, steps: int, delta: float = 1e-5) -> float:
    """Of so many Poisson-subsampled Gaussian steps, by integer Renyi orders.

    The tutorial of TensorFlow Privacy has 3.01 for its MNIST run of 60 epochs.

    >>> round(epsilon(1.1, 256 / 60000, 60 * 60000 // 256), 2)
    3.01
    """
    found = math.inf
    for order in range(2, 129):
        terms = [
            math.log(math.comb(order, k))
            + k * math.log(rate)
            + (order - k) * math.log1p(-rate)
            + k * (k - 1) / (2 * noise**2)
            for k in range(order + 1)
        ]
        top = max(terms)
        renyi = steps * (top + math.log(sum(math.exp(t - top) for t in terms))) / (order - 1)
        found = min(found, renyi - math.log(delta) / (order - 1))
    return found


def main() -> None:
    """Writes `private_critic.json`."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--turns", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    result = {
        "torch": torch.__version__,
        "threads": 1,
        "step": steps(options.turns),
        "digits": digits(options.seeds),
    }
    (HERE / "private_critic.json").write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()

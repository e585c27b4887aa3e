"""What a run of a configuration will ask of the sites, so that they can refuse it before training.

The questions: `everymode.clients.protocol.messages`.
"""

from collections.abc import Iterator

from everymode.clients.protocol.announcement import Announcement
from everymode.server.config.settings import Settings
from everymode.server.config.training import build_federation
from everymode.server.privacy.budget import Budget


def announce(
    settings: Settings,
    arrays: bool = False,
    done: int = 0,
    budget: Budget | None = None,
    plans: tuple[str, ...] = (),
) -> Announcement:
    """The announcement of a run.

    Args:
        settings: The configuration.
        arrays: Whether sites hold arrays, which get no moments and no trees.
        done: Rounds that were done in earlier sessions of the run.
        budget: What it may spend of privacy; None: sums are exact.
        plans: Fingerprints of its plan, if it goes on.
    """
    masked = settings.secure.summation == "masked"
    # Of unmasked answers the server sees each site's own, under that site's share of the noise.
    seen = 0.0 if budget is None else budget.rho * (1 if masked else budget.adders)
    counted = list(_questions(settings, arrays, done))
    return Announcement(
        tasks=tuple(name for name, _ in counted),
        sensitive=settings.data.sensitive,
        releases=sum(most for _, most in counted),
        minimum=settings.train.site_minimum,
        masked=masked,
        rho=seen,
        plans=plans,
    )


def _questions(settings: Settings, arrays: bool, done: int) -> Iterator[tuple[str, int]]:
    """Each question with how often it is asked at most.

    >>> values = {"data": {"path": "a.csv"}, "train": {"rounds": 9}, "model": {"trees": 2}}
    >>> asked = dict(_questions(Settings.model_validate(values), False, done=4))
    >>> asked["train"], asked["leaves"], "cluster" in asked
    (5, 3, False)
    """
    model, train, clusters = settings.model, settings.train, settings.data.clusters
    federation = build_federation(settings.federation, train.exact_batch)
    matched = model.matching > 0 and settings.federation.generator == "server" and not arrays
    # An exchange for each tree of columns, one for pairs that never occur, one for all critics.
    trees = model.trees + bool(model.critic_trees)
    trees += bool(model.trees) and model.forbidden == "learn"
    if settings.groups_moved or arrays:
        trees = 0
    if settings.privacy.on:
        yield from (("ranks", 1), ("prepare", 1), ("moments", 1))
        if trees:
            yield "leaves", trees
        return
    yield from (("look", 1), ("values", 1), ("ranks", 1))
    if clusters:
        # Steps of k-means (`everymode.fairness.groups.clusters.find`), and counts of cells twice.
        yield "cluster", 2 * clusters + 15
    yield "prepare", 1
    if matched and model.matching_by == "moments":
        yield "moments", 1
    if federation.needs_site_statistics:
        yield "profile", 1
    if settings.groups.weights == "minimax":
        yield "feel", 1
    if train.exact_batch:
        yield "measure", 1
    if settings.federation.critic != "none":
        yield "train", max(train.rounds - done, 0)
    if trees:
        yield "leaves", trees
    yield from (("audit", 1), ("recall", 1))

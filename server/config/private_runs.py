"""What [privacy] makes of a run: its budget, what it does not go with, what must be declared."""

from collections.abc import Iterator

from everymode.server.config.sections import ColumnSettings
from everymode.server.config.settings import Settings
from everymode.server.privacy.budget import Budget, Part, share_out


def asked_parts(settings: Settings) -> tuple[Part, ...]:
    """The parts that a run asks for."""
    return ("counts", "moments", *(("leaves",) if settings.model.critic_trees else ()))


def build_budget(settings: Settings, sites: int) -> Budget | None:
    """The budget of a run over so many sites; None: there is none.

    Raises:
        ValueError: More sites are to add noise than there are, or none is left.
    """
    privacy = settings.privacy
    if privacy.epsilon is None:
        return None
    adders = (privacy.trusted_sites or sites) - privacy.dropouts
    if not 1 <= adders <= sites or privacy.trusted_sites > sites:
        raise ValueError(
            f"privacy.trusted_sites = {privacy.trusted_sites} and privacy.dropouts = "
            f"{privacy.dropouts}, and there are {sites} sites: at least 1 and at most {sites} must "
            "be left to add noise"
        )
    return Budget(
        privacy.epsilon,
        privacy.delta,
        share_out(privacy.shares, asked_parts(settings)),
        adders,
        sites,
        privacy.seed,
        privacy.group_share,
    )


def privacy_problems(settings: Settings) -> Iterator[str]:
    """What does not go with privacy, or only with it; and what to write instead."""
    if not settings.privacy.on:
        for name, column in settings.data.columns.items():
            keys = [key for key in ("low", "high", "atoms", "missing") if _given(column, key)]
            if keys:
                yield (
                    f"data.columns.{name}.{', '.join(keys)}: without [privacy] epsilon = ... they "
                    "are found from the sites' sums; leave them out"
                )
        return
    yield from _unaccounted(settings)
    yield from _undeclared(settings)


def _unaccounted(settings: Settings) -> Iterator[str]:
    """Keys that would ask what has no known sensitivity."""
    told = "[privacy] accounts for every release"
    data, model, federation = settings.data, settings.model, settings.federation
    groups = settings.groups.weights
    rules = (
        (
            federation.critic != "none",
            f"federation.critic = '{federation.critic}': {told}, and a critic's updates have no "
            "bound; write federation.critic = 'none', so that the generator learns from the "
            "private moments",
        ),
        (
            groups != "share",
            f"groups.weights = '{groups}': a row of a rare group would count more, and so would "
            "the noise in all others; write groups.weights = 'share'",
        ),
        (
            model.matching_by != "moments" or model.matching <= 0,
            f"model.matching_by = '{model.matching_by}' with model.matching = {model.matching:g}: "
            f"{told}, and of descriptions of rows only second moments are bounded; write "
            "model.matching_by = 'moments' and model.matching = 0.3",
        ),
        (
            model.trees > 0,
            f"model.trees = {model.trees}: leaves of so few rows drown in the noise; write "
            "model.trees = 0 and model.critic_trees = 60",
        ),
        (
            data.clusters > 0,
            f"data.clusters = {data.clusters}: {told}, and k-means asks too often; write 0",
        ),
        (
            data.held_out > 0,
            f"data.held_out = {data.held_out:g}: which rows are held out hangs on how many there "
            "are; write 0",
        ),
        (
            settings.site.floor > 0,
            f"site.floor = {settings.site.floor}: one row more would lift a whole cell over it; "
            "write 0, for the noise does its work",
        ),
        (
            bool(data.constraints),
            f"data.constraints: {told}, and rows that break one are counted exactly; leave them "
            "out",
        ),
        (
            data.numbers != "ranks",
            f"data.numbers = '{data.numbers}': moments of numbers are bounded for ranks; write "
            "'ranks'",
        ),
        (
            data.condition not in ("group", "group_and_label"),
            f"data.condition = '{data.condition}': moments are asked for by group and label; write "
            "'group_and_label'",
        ),
        (
            settings.groups_moved or settings.fairness.parity != "none",
            "fairness.parity and fairness.bias_head rest on sums that are not accounted for; leave "
            "them out",
        ),
        (
            federation.sites_per_round > 0 or bool(federation.away),
            "federation.sites_per_round and federation.away: every site answers each private "
            "question; leave them out",
        ),
        (
            bool(settings.views.use),
            "views.use: without a critic nobody sees through views; leave it out",
        ),
    )
    for wrong, text in rules:
        if wrong:
            yield text


def _undeclared(settings: Settings) -> Iterator[str]:
    """What of the columns must be known beforehand: a vocabulary cannot be found with noise."""
    data = settings.data
    for name, column in data.columns.items():
        key = f"data.columns.{name}"
        if name in data.drop:
            continue
        if column.kind == "id":
            yield f"{key}.kind = 'id': patterns of codes are counted exactly; drop the column"
        elif column.kind in ("category", "boolean") or (not column.kind and column.categories):
            if not column.categories:
                yield f"{key}.categories: with [privacy] they must be declared; write all of them"
        elif column.kind in ("integer", "float"):
            low, high = column.low, column.high
            if low is None or high is None:
                yield f"{key}: with [privacy] its range must be declared; write low and high"
            elif not low < high:
                yield f"{key}: low = {low:g} and high = {high:g}; expected low below high"
            elif outside := [a for a in column.atoms or () if not low <= a <= high]:
                yield f"{key}.atoms: {outside[0]:g} lies outside {low:g} to {high:g}"
        else:
            yield (
                f"{key}: with [privacy] its kind must be declared, as category, boolean, integer "
                "or float; other kinds have no private counts"
            )
    target = (data.target,) if data.target else ()
    for key, names in (("sensitive", data.sensitive), ("target", target)):
        for each in names:
            declared = data.columns.get(each)
            if declared is not None and declared.kind in ("integer", "float"):
                yield (
                    f"data.{key}: '{each}' is a number, whose classes would be found from exact "
                    "counts; declare it as a category"
                )


def undeclared_columns(settings: Settings, columns: tuple[str, ...]) -> list[str]:
    """Columns of the sites' tables of which nothing is declared, as problems."""
    lacking = [name for name in columns if name not in settings.data.columns]
    return [
        f"data.columns.{name}: with [privacy] every column must be declared, for its values cannot "
        "be looked up; write kind = 'category' and categories = [...], or kind = 'integer', low = "
        "... and high = ..., or leave it out with data.drop"
        for name in lacking
    ]


def _given(column: ColumnSettings, key: str) -> bool:
    return getattr(column, key) is not None

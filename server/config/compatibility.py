"""What does not go together in a configuration, with the reason and what to write instead.

Rules that look at one section stand with it (`server.config.sections`, `server.config.federation`);
here are those that look at several, and those of the training that the sections describe together.
"""

from collections.abc import Iterator

from server.config.recipe import build_recipe
from server.config.settings import Settings
from server.config.strategies import NEEDS_PER_SITE_UPDATES
from wgan.data.formats import SUFFIXES
from wgan.errors import SettingsError


def conflicts(settings: Settings) -> list[str]:
    """All that is wrong with a configuration whose keys are right one by one.

    Examples:
        >>> one = {"data": {"path": "a.csv", "clusters": 1}, "federation": {"swap_every": 2}}
        >>> for problem in conflicts(Settings.model_validate(one)):
        ...     print(problem.partition(":")[0])
        data.clusters = 1 tells rows apart by nothing; write 0, or 2 and more
        federation.swap_every
    """
    rules = (
        _columns,
        _told,
        _players,
        _drift,
        _sums,
        _minimax,
        _sites,
        _bias_head,
        _parity,
        _views,
        _devices,
        _recipe,
    )
    return [problem for rule in rules for problem in rule(settings)]


def _columns(settings: Settings) -> Iterator[str]:
    data, split = settings.data, settings.split
    used = [*data.sensitive, *([data.target] if data.target else [])]
    if dropped := [name for name in used if name in data.drop]:
        yield f"data.drop leaves out {', '.join(dropped)}, named in data.sensitive or data.target"
    if split.by == "column" and (modelled := [name for name in used if name in split.column]):
        yield (
            f"split.column = {', '.join(modelled)} says whose a row is and is not modelled, but "
            "data.sensitive or data.target names it; take it out of one of them"
        )
    if repeated := sorted({n for n in data.sensitive if data.sensitive.count(n) > 1}):
        yield f"data.sensitive names {', '.join(repeated)} twice"
    if data.holdout is not None and data.holdout == data.path:
        yield (
            "data.holdout is the table of data.path: rows that were trained on cannot test; name "
            "other rows, or leave it out"
        )


def _told(settings: Settings) -> Iterator[str]:
    """What the generator is told, and what it would have to be told."""
    data, told = settings.data, settings.data.condition
    if data.clusters == 1:
        yield "data.clusters = 1 tells rows apart by nothing; write 0, or 2 and more"
    matched = settings.model.matching and settings.federation.generator == "server"
    if matched and told == "none":
        yield (
            "model.matching matches each group and label, and data.condition = 'none' tells the "
            "generator of neither; write model.matching = 0, or another data.condition"
        )
    weights = settings.groups.weights
    tilted = weights != "share" and settings.federation.draw == "groups" and data.sensitive
    if tilted and told not in ("group", "group_and_label"):
        yield (
            f"groups.weights = '{weights}' shows critics another mixture of groups than the "
            f"data's, and data.condition = '{told}' does not tell the generator which it is to "
            "make, so the table would have that mixture; write groups.weights = 'share'"
        )


def _players(settings: Settings) -> Iterator[str]:
    """Where generator and critic live, and how critics of their own are used."""
    federation = settings.federation
    generator, critic = federation.generator, federation.critic
    if generator == "own" and critic != "own":
        yield (
            "federation.generator = 'own' with a shared critic: it would be averaged over sites "
            "whose generators differ, and be right for none; write federation.critic = 'own'"
        )
    if federation.swap_every and (critic != "own" or generator == "own"):
        yield (
            "federation.swap_every: there are no critics to swap unless federation.critic = 'own' "
            "and the generator is shared; write 0"
        )
    if federation.mixture == "odds":
        if critic != "own" or generator != "server":
            yield (
                "federation.mixture = 'odds' mixes the sites' own critics on the server; write "
                "federation.critic = 'own' and federation.generator = 'server'"
            )
        if not settings.model.objective.startswith("jensen_shannon"):
            yield (
                "federation.mixture = 'odds': only scores that are logits have odds; write "
                "model.objective = 'jensen_shannon'"
            )
    if federation.glide and (critic != "shared" or generator != "server"):
        yield (
            "federation.glide moves the shared critic under the server's generator; write "
            "federation.generator = 'server' and federation.critic = 'shared'"
        )


def _drift(settings: Settings) -> Iterator[str]:
    """What acts on shared players, where there are some."""
    federation = settings.federation
    if federation.critic == "own" and federation.statistics == "frozen":
        yield (
            "federation.statistics = 'frozen' at a common point, and federation.critic = 'own' has "
            "none; write 'private'"
        )
    shared = federation.critic == "shared" or federation.generator == "sites"
    if not shared:
        for key in ("proximal", "control_variates", "optimizer"):
            if getattr(federation, key) != type(federation).model_fields[key].default:
                yield (
                    f"federation.{key}: nothing is shared between sites that it could act on; "
                    "leave it out"
                )
        if federation.weights in NEEDS_PER_SITE_UPDATES:
            yield (
                f"federation.weights = '{federation.weights}' weighs the sites' updates, and "
                "nothing is averaged here; write 'equal'"
            )
    if federation.control_variates and "own" in (federation.generator, federation.critic):
        yield (
            "federation.control_variates correct steps toward the shared players' mean gradient; "
            "write federation.critic = 'shared'"
        )


def _sums(settings: Settings) -> Iterator[str]:
    federation = settings.federation
    if not federation.sums_only:
        return
    remedy = (
        "which no sum over sites contains; write weights = 'groups', 'rows' or 'equal' and a "
        "shared critic"
    )
    if federation.weights in NEEDS_PER_SITE_UPDATES:
        yield (
            f"federation.sums_only: federation.weights = '{federation.weights}' looks at every "
            f"site's update, {remedy}"
        )
    elif federation.critic == "own" and federation.generator == "server":
        yield (
            "federation.sums_only: critics of their own are seen one by one by the server's "
            f"generator, {remedy}"
        )
    if federation.sites_per_round == 1:
        yield (
            "federation.sums_only: federation.sites_per_round = 1 makes every sum that of a single "
            "site; write 0 for all sites, or 2 and more"
        )
    dealt = settings.data.path.lower().endswith(SUFFIXES) and settings.split.by != "column"
    if settings.strategy == "pooled" or (dealt and settings.split.sites == 1):
        which = "strategy = 'pooled'" if settings.strategy == "pooled" else "split.sites = 1"
        yield (
            f"federation.sums_only: {which} leaves one site, whose sums are the total; write "
            "sums_only = false, or two sites and more"
        )


def _minimax(settings: Settings) -> Iterator[str]:
    if settings.groups.weights != "minimax":
        return
    if settings.data.held_out == 0:
        yield (
            "groups.weights = 'minimax' follows rows that the sites hold out, and data.held_out is "
            "0; set data.held_out = 0.1, say"
        )
    if settings.data.condition not in ("group", "group_and_label"):
        yield (
            "groups.weights = 'minimax' needs rows of each group on demand; write "
            "data.condition = 'group_and_label'"
        )
    federation = settings.federation
    if not federation.weights == federation.draw == "groups":
        yield (
            "groups.weights = 'minimax' acts through federation.weights = 'groups' and "
            "federation.draw = 'groups'; write both"
        )


def _sites(settings: Settings) -> Iterator[str]:
    split, wanted = settings.split, settings.federation.sites_per_round
    dealt = settings.data.path.lower().endswith(SUFFIXES) and split.by != "column"
    if dealt and settings.strategy != "pooled" and wanted > split.sites:
        yield (
            f"federation.sites_per_round = {wanted}, but there are only {split.sites} sites "
            f"(split.sites); write at most {split.sites}"
        )


def _bias_head(settings: Settings) -> Iterator[str]:
    if not settings.fairness.bias_head:
        return
    if not settings.data.sensitive:
        yield "fairness.bias_head tells the groups apart; name data.sensitive"
    if settings.federation.generator != "server":
        yield (
            "fairness.bias_head acts on the server's generator, and the sites train theirs; write "
            "federation.generator = 'server'"
        )


def _parity(settings: Settings) -> Iterator[str]:
    data, fairness, model = settings.data, settings.fairness, settings.model
    if fairness.parity == "none":
        return
    told = f"fairness.parity = '{fairness.parity}'"
    if not data.sensitive or data.target is None:
        yield f"{told} compares the target between groups; name data.sensitive and data.target"
    elif data.target in data.sensitive:
        yield (
            f"{told}: data.target '{data.target}' is a sensitive feature itself; take it out of "
            "data.sensitive"
        )
    if strangers := [name for name in fairness.parity_features if name not in data.sensitive]:
        yield (
            f"fairness.parity_features: {', '.join(strangers)} not among data.sensitive; write "
            f"some of {', '.join(data.sensitive) or 'those'}"
        )
    if settings.penalised and settings.federation.generator != "server":
        told_both = ", or data.condition = 'group_and_label'"
        yield (
            f"{told} is here a penalty on the server's generator, and the sites train theirs; "
            "write federation.generator = 'server'"
            f"{told_both if fairness.parity == 'demographic' else ''}"
        )
    moments = (
        model.matching > 0
        and model.matching_by == "moments"
        and data.condition in ("group", "group_and_label")
    )
    if fairness.parity == "equal_opportunity" and fairness.parity_level > 0 and not moments:
        yield (
            f"fairness.parity_level = {fairness.parity_level}: the data's own gap in a score is "
            "read from the second moments of each group; write model.matching = 0.3, "
            "model.matching_by = 'moments' and data.condition = 'group_and_label', or "
            "parity_level = 0"
        )


def _views(settings: Settings) -> Iterator[str]:
    views = settings.views
    follows = views.use and views.rule == "adaptive" and views.statistic == "held_out"
    if follows and not settings.data.held_out:
        yield (
            "views.rule = 'adaptive' follows rows that the sites hold out, and data.held_out is 0; "
            "set data.held_out = 0.05, say, or views.rule = 'decay'"
        )


def _devices(settings: Settings) -> Iterator[str]:
    wanted = settings.simulation.num_gpus
    if settings.device == "cpu" and wanted > 0:
        yield (
            f"simulation.num_gpus = {wanted} asks for a GPU while device is 'cpu'; set device = "
            "'cuda' or 'auto', or num_gpus = 0"
        )


def _recipe(settings: Settings) -> Iterator[str]:
    try:
        build_recipe(settings).check()
    except SettingsError as error:
        yield from (f"[model]: {problem}" for problem in error.problems)

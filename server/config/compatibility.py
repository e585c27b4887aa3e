"""What does not go together in a configuration, with the reason and what to write instead.

Rules that look at one section stand with it (`everymode.server.config.sections`,
`everymode.server.config.federation`); here are those that look at several, and those of the
training that the sections describe together.
"""

from collections.abc import Iterator

from everymode.clients.secure.graph import (
    FEWEST,
    choose_degree,
    choose_threshold,
    sites_problems,
)
from everymode.server.config.gradients import GradientSettings
from everymode.server.config.private_runs import privacy_problems
from everymode.server.config.recipe import build_recipe
from everymode.server.config.settings import Settings
from everymode.server.config.training import build_federation
from everymode.wgan.data.formats import is_table
from everymode.wgan.errors import SettingsError
from everymode.wgan.words import file_name_problem


def check_compatibility(settings: Settings) -> list[str]:
    """All that is wrong with a configuration whose keys are right one by one.

    Examples:
        >>> one = {"data": {"path": "a.csv", "clusters": 1}, "federation": {"swap_every": 2}}
        >>> for problem in check_compatibility(Settings.model_validate(one)):
        ...     print(problem.partition(":")[0])
        data.clusters = 1 tells rows apart by nothing; write 0, or 2 and more
        federation.swap_every
    """
    rules = (
        _tables,
        _deployment,
        _columns,
        _told,
        _federation,
        _secure,
        _single_site,
        _minimax,
        _sites,
        _bias_head,
        _parity,
        _views,
        _gradients,
        _devices,
        _recipe,
        privacy_problems,
    )
    return [problem for rule in rules for problem in rule(settings)]


def _tables(settings: Settings) -> Iterator[str]:
    """Whether the tables are named: by the coordinator's user, or by real sites themselves."""
    data, sites = settings.data, settings.deployment.sites
    if not sites and not data.path:
        yield "data.path is missing; it must be given"
    if sites and data.path:
        yield (
            f"data.path = '{data.path}': the sites of deployment.sites name their tables "
            "themselves, and the coordinator reads none; leave it out"
        )
    if sites and data.holdout:
        yield (
            f"data.holdout = '{data.holdout}': a coordinator of real sites reads no table; leave "
            "it out, and compare the finished table with everymode audit where real rows are"
        )


def _deployment(settings: Settings) -> Iterator[str]:
    """What a run between real sites cannot do, and what it must know beforehand."""
    data, deployment = settings.data, settings.deployment
    if not deployment.sites:
        if deployment.columns:
            yield "deployment.columns is for real sites; name them in deployment.sites, or leave it"
        return
    for key in ("sites", "columns"):
        names = getattr(deployment, key)
        if twice := sorted({name for name in names if names.count(name) > 1}):
            yield f"deployment.{key} names {', '.join(twice)} twice; write each once"
    if wrong := [name for name in deployment.sites if file_name_problem(name)]:
        yield (
            f"deployment.sites: {', '.join(map(repr, wrong))} cannot be the name of a site; write "
            "letters and digits, as in flwr supernode register --name"
        )
    if not deployment.columns:
        yield (
            "deployment.columns is missing: no site sends its headers; write those that all "
            "tables have, in order"
        )
    elif strangers := [
        name
        for name in dict.fromkeys((*data.sensitive, *filter(None, [data.target]), *data.columns))
        if name not in deployment.columns
    ]:
        yield (
            f"deployment.columns lacks {', '.join(strangers)}, named in data.sensitive, "
            "data.target or data.columns; add it"
        )
    if settings.strategy == "pooled":
        yield "strategy = 'pooled': real sites cannot pool their rows; name another strategy"
    if settings.federation.sums_only and len(deployment.sites) == 1:
        yield (
            "federation.sums_only: one site in deployment.sites, whose sums are the total; write "
            "sums_only = false, or two sites and more"
        )
    if (wanted := settings.federation.sites_per_round) > len(deployment.sites):
        yield (
            f"federation.sites_per_round = {wanted}, but deployment.sites names "
            f"{len(deployment.sites)}; write at most that"
        )


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
    if data.path and data.holdout == data.path:
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


def _federation(settings: Settings) -> Iterator[str]:
    """What the parts of the federation say of one another, and of the objective."""
    yield from build_federation(settings.federation).incompatibilities()
    if settings.federation.hostile_sites and settings.federation.aggregation == "mean":
        yield (
            f"federation.hostile_sites = {settings.federation.hostile_sites}: a mean withstands "
            "none; write federation.aggregation = 'trimmed_mean', say, or leave hostile_sites out"
        )
    if settings.federation.critic == "none":
        if settings.federation.generator != "server":
            yield (
                "federation.critic = 'none': a generator at the sites has nothing to learn from; "
                "write federation.generator = 'server'"
            )
        if settings.model.matching <= 0:
            yield (
                "federation.critic = 'none': the generator has nothing to learn from; write "
                "model.matching = 0.3"
            )
        if settings.groups.weights == "minimax" or settings.train.exact_batch:
            yield (
                "federation.critic = 'none': no site trains, so groups.weights = 'minimax' and "
                "train.exact_batch have nothing to act on; leave them out"
            )
    logits = settings.model.objective.startswith("jensen_shannon")
    if settings.federation.mixture == "odds" and not logits:
        yield (
            "federation.mixture = 'odds': only scores that are logits have odds; write "
            "model.objective = 'jensen_shannon'"
        )


def _secure(settings: Settings) -> Iterator[str]:
    """What masks do not go with."""
    secure, federation = settings.secure, settings.federation
    if secure.summation == "none":
        return
    if not federation.sums_only:
        yield (
            "secure.summation = 'masked' hides what single sites send, and some of what a "
            "federation may ask for is no sum; write federation.sums_only = true, which refuses "
            "that"
        )
    drawn = federation.sites_per_round
    sites = settings.split.sites
    if settings.deployment.sites:
        sites = len(settings.deployment.sites)
    holding = choose_degree(max(sites, FEWEST), secure.neighbours) + 1
    threshold = choose_threshold(holding, secure.threshold)
    if drawn and holding < sites:
        yield (
            f"federation.sites_per_round = {drawn}: the sites of a round would lack neighbours to "
            f"mask with; write secure.neighbours = {sites - 1}, all of them"
        )
    elif drawn and drawn < max(threshold, FEWEST):
        yield (
            f"federation.sites_per_round = {drawn}, and opening masks takes {threshold} sites "
            f"(secure.threshold); write at least {max(threshold, FEWEST)}"
        )
    if settings.deployment.sites or _deals(settings):
        yield from sites_problems(sites, secure.threshold, secure.neighbours)


def _deals(settings: Settings) -> bool:
    """Whether `split.sites` says how many sites there are."""
    dealt = is_table(settings.data.path) and settings.split.by != "column"
    return dealt and settings.strategy != "pooled"


def _single_site(settings: Settings) -> Iterator[str]:
    if not settings.federation.sums_only:
        return
    dealt = is_table(settings.data.path) and settings.split.by != "column"
    if settings.deployment.sites:
        return
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
    dealt = is_table(settings.data.path) and split.by != "column"
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


def _gradients(settings: Settings) -> Iterator[str]:
    gradients, federation = settings.gradients, settings.federation
    if not gradients.clip:
        plain = GradientSettings()
        differ = [key for key, value in gradients if value != getattr(plain, key)]
        if unused := [f"gradients.{key}" for key in differ]:
            yield (
                f"{' and '.join(unused)}: nothing is clipped, as "
                "gradients.clip is 0; write gradients.clip = 1, say, or leave it out"
            )
    elif federation.generator != "server":
        yield (
            f"gradients.clip = {gradients.clip} bounds what a row changes in critics, and with "
            f"federation.generator = '{federation.generator}' rows reach generators at the sites, "
            "too, by their conditions; write federation.generator = 'server'"
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

"""Known ways to train a GAN across sites, as choices of the same switches.

A strategy is no code of its own: it is the generator's and the critic's place, a rule of weights
and an optimizer (`everymode.server.config.settings.FederationSettings`), and the same rounds run
them all. What its paper calls by another network or objective is run here with the configuration's,
so that strategies differ in the federation alone. None of the rivals is told a condition that its
paper does not tell it, unless the configuration names `data.condition` itself.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

StrategyName = Literal[
    "everymode",
    "pooled",
    "local",
    "fedgan",
    "fedprox",
    "fedadam",
    "feddyn",
    "fednova",
    "md_gan",
    "dp_fedavg_gan",
    "own_critics",
    "fegan",
    "fed_tgan",
    "ifl_gan",
    "ua_gan",
    "afl",
    "q_fedavg",
    "term",
]

NEEDS_PER_SITE_UPDATES = ("fegan", "fed_tgan", "ifl_gan", "afl", "q_fedavg", "term")
"""Rules of weights that look at each site, and so need its update apart."""

SHARED_KEYS = (
    "weights_strength",
    "swap_every",
    "warmup",
    "proximal",
    "corrections",
    "rate",
    "sites_per_round",
    "away",
    "sums_only",
    "aggregation",
    "hostile_sites",
    "update_bound",
    "largest_share",
)
"""Keys of [federation] that every strategy leaves to the configuration."""


@dataclass(frozen=True)
class Strategy:
    """A named choice of switches.

    Attributes:
        name: As in `strategy = "..."`.
        title: For tables and legends.
        paper: Where it comes from.
        note: What is particular about it here.
        switches: Keys of [federation] that differ from their defaults.
        condition: `data.condition` where the configuration names none.
        model: Keys of [model] that it cannot do without.
    """

    name: StrategyName
    title: str
    paper: str = ""
    note: str = ""
    switches: Mapping[str, Any] = field(default_factory=dict)
    condition: str | None = "none"
    model: Mapping[str, Any] = field(default_factory=dict)

    @property
    def additive(self) -> bool:
        """Whether it runs on sums over sites alone, as secure summation wants."""
        looks = self.switches.get("weights", "groups") in NEEDS_PER_SITE_UPDATES
        server = self.switches.get("generator", "server") == "server"
        return not looks and not (server and self.switches.get("critic") == "own")


_AVERAGED = {"generator": "sites", "weights": "rows", "draw": "rows", "statistics": "private"}
"""FedGAN's switches: both players are trained at the sites and averaged by row counts."""


def _weighed(name: StrategyName, title: str, paper: str, note: str, **more: Any) -> Strategy:
    return Strategy(name, title, paper, note, _AVERAGED | {"weights": name} | more)


_ALL = (
    Strategy("everymode", "EveryMode", note="what the configuration's keys say", condition=None),
    Strategy(
        "pooled",
        "pooled",
        note="the same on one site that holds all rows, with plain optimizers: the upper bound",
        condition=None,
    ),
    Strategy(
        "local",
        "local only",
        note="each site trains a generator and a critic of its own; the table is their rows put "
        "together, each site's in proportion to its rows, which is more than any one site has",
        switches={
            "generator": "own",
            "critic": "own",
            "weights": "equal",
            "statistics": "private",
        },
        condition=None,
    ),
    Strategy(
        "fedgan",
        "FedGAN",
        "Rasouli, Sun, Rajagopal, 2020, algorithm 1",
        "both players averaged by row counts",
        _AVERAGED,
    ),
    Strategy(
        "fedprox",
        "FedProx",
        "Li et al., Federated Optimization in Heterogeneous Networks, 2020",
        "FedGAN whose local steps are pulled back to the shared point",
        _AVERAGED | {"proximal": 0.01},
    ),
    Strategy(
        "fedadam",
        "FedAdam",
        "Reddi et al., Adaptive Federated Optimization, 2021, algorithm 2",
        "FedGAN whose server takes an Adam step along the mean update",
        _AVERAGED | {"optimizer": "adam", "rate": 3e-4},
    ),
    Strategy(
        "feddyn",
        "FedDyn",
        "Acar et al., Federated Learning Based on Dynamic Regularization, 2021, algorithm 1",
        "FedGAN with sites alike, whose local losses are regularised dynamically; alpha is not "
        "tuned",
        _AVERAGED | {"weights": "equal", "corrections": [{"alpha": 1.0, "kind": "feddyn"}]},
    ),
    Strategy(
        "fednova",
        "FedNova",
        "Wang et al., Tackling the Objective Inconsistency Problem in Heterogeneous Federated "
        "Optimization, 2020, equation 6",
        "FedGAN whose small sites take fewer steps, and whose updates are normalised by them",
        _AVERAGED | {"corrections": [{"kind": "fednova"}]},
    ),
    Strategy(
        "md_gan",
        "MD-GAN",
        "Hardy, Le Merrer, Sericola, 2019, algorithm 1",
        "one generator on the server, a critic at each site, swapped between sites; here the "
        "critics travel instead of their gradients at the server's rows, which is the same step",
        {
            "critic": "own",
            "weights": "equal",
            "draw": "rows",
            "statistics": "private",
            "swap_every": 10,
        },
    ),
    Strategy(
        "dp_fedavg_gan",
        "DP-FedAvg-GAN",
        "Augenstein et al., 2020, algorithms 1 and 2",
        "critics averaged, all alike, the generator on the server; without clipping and noise",
        {"weights": "equal", "draw": "rows", "statistics": "private"},
    ),
    Strategy(
        "own_critics",
        "own critics",
        "design of site-specialised discriminators, for instance Fan and Liu, Federated "
        "Generative Adversarial Learning, 2020",
        "generators averaged by row counts, each site keeps its critic",
        _AVERAGED | {"critic": "own"},
    ),
    _weighed(
        "fegan",
        "FeGAN",
        "Guerraoui, Guirguis, Kermarrec, Le Merrer, 2020",
        "FedGAN weighed by the divergence of a site's classes from all sites'; sites that cover "
        "all classes are drawn where federation.sites_per_round is set",
        selection="balanced",
    ),
    Strategy(
        "fed_tgan",
        "Fed-TGAN",
        "Zhao, Birke, Kunar, Chen, 2021",
        "FedGAN weighed by the similarity of a site's columns to all sites', and told group and "
        "label, as its conditional vector tells categories",
        _AVERAGED | {"weights": "fed_tgan"},
        condition="group_and_label",
    ),
    _weighed(
        "ifl_gan",
        "IFL-GAN",
        "Li, Chen, Wang, Shen, Ma, Cui, 2022",
        "FedGAN weighed by the softmax of the distance of a site's rows to its generator's",
    ),
    Strategy(
        "ua_gan",
        "UA-GAN",
        "Zhang et al., Training Federated GANs with Theoretical Guarantees, 2021, section 3",
        "one generator on the server, judged by the sites' critics' odds, mixed by what share of "
        "each class a site has; needs outputs that are probabilities, hence Jensen-Shannon",
        {
            "critic": "own",
            "mixture": "odds",
            "weights": "equal",
            "draw": "rows",
            "statistics": "private",
        },
        condition="label",
        model={"objective": "jensen_shannon"},
    ),
    _weighed(
        "afl",
        "AFL",
        "Mohri, Sivek, Suresh, Agnostic Federated Learning, 2019",
        "FedGAN with sites' weights raised where the loss is; the loss is a kernel distance of "
        "a site's rows to the generator's, since scores of critics are not comparable",
        weights_strength=0.1,
    ),
    _weighed(
        "q_fedavg",
        "q-FedAvg",
        "Li, Sanjabi, Beirami, Smith, Fair Resource Allocation in Federated Learning, 2020",
        "FedGAN with weights p_k F_k^q; F_k as for AFL",
    ),
    _weighed(
        "term",
        "TERM",
        "Li, Beirami, Sanjabi, Smith, Tilted Empirical Risk Minimization, 2021",
        "FedGAN with weights p_k exp(t F_k); F_k as for AFL",
    ),
)

STRATEGIES: Mapping[str, Strategy] = {strategy.name: strategy for strategy in _ALL}

BASELINES = tuple(name for name in get_args(StrategyName) if name not in ("everymode", "pooled"))


def apply_strategy(values: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration's plain values with the switches that its strategy means.

    Args:
        values: The configuration, not yet validated.
        defaults: Defaults of [federation].

    Raises:
        ValueError: Switches are set to something else than the strategy means.
    """
    name = values.get("strategy", "everymode")
    if name == "pooled":
        # One site has nobody to share statistics with: its optimizers are plain ones.
        plain = {**values.get("federation", {}), "statistics": "averaged"}
        return {**values, "federation": plain}
    if not isinstance(name, str) or name not in BASELINES:
        return dict(values)
    strategy = STRATEGIES[name]
    federation = dict(values.get("federation", {}))
    meant = {**defaults, **strategy.switches}
    others = {
        key: value
        for key, value in federation.items()
        if key not in SHARED_KEYS and key in meant and value != meant[key]
    }
    if others:
        given = ", ".join(f"federation.{key} = {value!r}" for key, value in others.items())
        means = ", ".join(f"{meant[key]!r}" for key in others)
        it = "the key" if len(others) == 1 else "the keys"
        raise ValueError(
            f"{given}, but strategy = '{name}' means {means} ({strategy.paper or strategy.note}); "
            f"leave {it} out, or write strategy = 'everymode', under which every switch is yours"
        )
    changed = dict(values)
    changed["federation"] = {**strategy.switches, **federation}
    # What is ours alone.
    plain_model = {
        "matching": 0.0,
        "marginals": False,
        "projection": False,
        "trees": 0,
        "critic_trees": 0,
        "forbidden": "off",
    }
    changed["model"] = {**values.get("model", {}), **plain_model, **strategy.model}
    if name != "local":
        changed["groups"] = {**values.get("groups", {}), "weights": "share"}
    data = values.get("data", {})
    if name == "local" or (strategy.condition is not None and "condition" not in data):
        # Clusters are found together and told as a part of the condition.
        changed["data"] = {**data, "clusters": 0}
    if strategy.condition is not None:
        changed["data"] = {"condition": strategy.condition, **changed.get("data", data)}
    return changed

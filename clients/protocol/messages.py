"""What a server may ask of a site. Every order fixes, before it is sent, the layout of the answer.

They are: *look*, *values*, *ranks* and *cluster* (`everymode.clients.protocol.schema_messages`),
*prepare* (encode the table once; counts and shares), *moments* (second moments, once), *profile*
and *feel* (what rules of weights read), *train* (one round), *measure* (rows that a round would
take), *leaves* (counts of rows in leaves of trees), *audit* (counts of marginals per group) and
*recall* (counts of rows near synthetic ones).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Discriminator, TypeAdapter

from everymode.clients.protocol.announcement import Announcement
from everymode.clients.protocol.noise import COUNT_BITS, NOISE_BITS, Noise
from everymode.clients.protocol.parts.arrays import LocalTraining, RoundArrays, round_arrays
from everymode.clients.protocol.parts.placement import Player
from everymode.clients.protocol.schema_messages import (
    CollectVocabulary,
    CountHistograms,
    DescribeColumns,
    KMeansStep,
)
from everymode.clients.protocol.sums import Field, Layout
from everymode.fairness.groups.conditions import ConditionSpace
from everymode.fairness.matching.binning import Binning
from everymode.fairness.matching.features import feature_count
from everymode.fairness.matching.moments import size_of_moments
from everymode.fairness.matching.suppression import of_text
from everymode.fairness.metrics.marginals import Marginals
from everymode.wgan.data.file_form import RECOGNISED, FileForm
from everymode.wgan.data.schema import Schema

Tensors = Mapping[str, npt.NDArray[np.float32]]

Matched = Literal["none", "moments", "kernel", "sliced"]
"""What of the encoded rows is summed, for the generator to be matched with."""


@dataclass(frozen=True)
class EncodeData:
    """Everything a site must know for training; it encodes its table once, onto its own disk.

    Attributes:
        schema: The agreed schema.
        conditions: The agreed cells with their counts over all sites.
        mass: pi_g, the mass of each group.
        recipe: The parts of the training, as JSON.
        seed: The run's seed.
        matching: What describes the encoded rows for matching.
        marginals: Whether the shares of their categories are, too.
        bins: How many bins numbers are cut into, whose one-hot vectors join their moments.
        held_out: Share of a site's rows that no critic is trained on.
        form: How the sites' CSV and TSV files are declared to be written.
        noised: Whether all that is asked of the encoded rows is asked with noise: a site then
            answers nothing else about them, and nothing of them to this order.
    """

    schema: dict[str, Any]
    conditions: dict[str, Any]
    mass: tuple[float, ...]
    recipe: str
    seed: int
    matching: Matched
    marginals: bool = False
    missing: tuple[str, ...] = ()
    held_out: float = 0.0
    bins: int = 0
    form: FileForm = RECOGNISED
    noised: bool = False
    order: Literal["prepare"] = "prepare"

    def layout(self) -> Layout:
        """Rows, weight, sites per group; counts and shares of categories in every level.

        `left_out` are rows that sites leave out by a floor of their own. Of private plans it is
        just how many sites have encoded.
        """
        if self.noised:
            return Layout((Field("sites", (1,)),))
        conditions = ConditionSpace.from_json(self.conditions)
        fields = [Field("rows", (1,)), Field("weight", (1,), bits=40), Field("sites", (1,))]
        fields.append(Field("group_sites", (len(conditions.groups),)))
        fields.append(Field("taking", (1,)))
        fields.append(Field("left_out", (1,)))
        codec = conditions.codec(Schema.from_json(self.schema))
        levels = conditions.width + 1
        width = codec.width + Binning.of(codec, self.bins).width + conditions.width
        if self.matching in ("kernel", "sliced"):
            shape = (levels, feature_count(self.matching) + 1)
            fields.append(Field("description", shape, bits=48))
        if self.matching == "moments":
            fields.append(Field("counts", (levels, width)))
        if self.marginals or self.matching == "moments":
            fields.append(Field("marginals", (levels, width + 1), bits=48))
        return Layout(tuple(fields))


@dataclass(frozen=True)
class SumMoments:
    """Second moments of the rows trained on, in every level, of the coordinates it may publish.

    Attributes:
        plan: Fingerprint of the `EncodeData` whose rows are meant.
        published: Per level, groups first and all rows last, "1" for each coordinate whose
            products are summed and "0" for the others; see
            `everymode.fairness.matching.suppression`.
        noise: What every site adds, and the norm that it holds each row to; None: sums are exact.
    """

    plan: str
    published: tuple[str, ...]
    noise: Noise | None = None
    order: Literal["moments"] = "moments"

    def layout(self) -> Layout:
        """The upper triangles of all levels, one after another."""
        size = size_of_moments(of_text(self.published))
        bits = 48 if self.noise is None else NOISE_BITS
        return Layout((Field("moments", (size,), bits=bits),))


@dataclass(frozen=True)
class SiteStatistics:
    """What some weight rules, and critics of their own, need to know of each site: payloads.

    Attributes:
        plan: Fingerprint of the `EncodeData` whose rows are meant.
        cells: Number of cells of group, label and cluster.
        bins: Number of bins and categories over all columns; see
            `everymode.clients.tasks.statistics`.
    """

    plan: str
    cells: int
    bins: int
    order: Literal["profile"] = "profile"

    def layout(self) -> Layout:
        """Sites; and apart, counts of cells and of columns' bins, of rows trained on."""
        per_site = (Field("cells", (self.cells,)), Field("bins", (self.bins,)))
        return Layout((Field("sites", (1,)),), per_site)


@dataclass(frozen=True)
class HeldOutFeatureSums:
    """Sums of random features of the rows held out, per group: once, for held-out risks.

    Attributes:
        plan: Fingerprint of the `EncodeData` whose rows are meant.
        groups: G, number of groups.
        count: Frequencies; a row has twice as many features.
        deviation: Of the kernel.
        seed: Of the frequencies.
    """

    plan: str
    groups: int
    count: int
    deviation: float
    seed: int
    order: Literal["feel"] = "feel"

    def layout(self) -> Layout:
        """Held-out rows and the sum of their features, per group."""
        features = Field("features", (self.groups, 2 * self.count), bits=40)
        return Layout((Field("held", (self.groups,)), features))


@dataclass(frozen=True)
class Train:
    """One round of local steps from the shared state.

    Attributes:
        plan: Fingerprint of the `EncodeData` that this round builds on.
        round: Number of the round, from 1; the seed of a site's steps derives from it.
        critic_steps: Steps of the critic, in all.
        generator_steps: Steps of the generator at the site; 0 where the server trains it.
        batch: Rows a critic step uses over all sites together.
        minimum: Rows a site uses at least.
        factor: What the learning rates are multiplied with.
        critic_seen: Gradients the critic's statistics have seen.
        generator_seen: Likewise of the generator's.
        device: `cpu` or `cuda`.
        sizes: P, lengths of the generator's and the critic's vectors.
        groups: G, number of groups.
        buffers: Q, length of what the critic keeps besides its parameters.
        strength: Strength of the views.
        inspect: Whether slopes and scores of the trained critic are wanted.
        mass: pi_g where it has moved since `EncodeData`; empty: it has not.
        sites: K, number of sites.
        training: The parts of local training.
    """

    plan: str
    round: int
    critic_steps: int
    generator_steps: int
    batch: int
    minimum: int
    factor: float
    critic_seen: int
    generator_seen: int
    device: str
    sizes: tuple[int, int]
    groups: int
    buffers: int = 0
    strength: float = 0.0
    inspect: bool = False
    mass: tuple[float, ...] = ()
    sites: int = 1
    training: LocalTraining = field(default_factory=LocalTraining)
    order: Literal["train"] = "train"

    @property
    def steps(self) -> dict[Player, int]:
        """Local steps of each player."""
        return {"critic": self.critic_steps, "generator": self.generator_steps}

    @property
    def seen(self) -> dict[Player, int]:
        """Gradients that each player's shared statistics have seen."""
        return {"critic": self.critic_seen, "generator": self.generator_seen}

    @cached_property
    def arrays(self) -> RoundArrays:
        """All that travels in this round, from the parts; computed once."""
        generator, critic = self.sizes
        return round_arrays(
            self.training,
            tuple(player for player, steps in self.steps.items() if steps),
            {"generator": generator, "critic": critic},
            self.buffers,
            self.groups,
            self.inspect,
        )

    @cached_property
    def _layout(self) -> Layout:
        return self.arrays.layout

    def layout(self) -> Layout:
        """Weighted updates of vectors and statistics, and sums of diagnostics per group."""
        return self._layout

    def updates(self) -> tuple[str, ...]:
        """Names of what the server averages and adds to the shared state."""
        return tuple(field.name for field in self.arrays.updates)


@dataclass(frozen=True)
class CountBatchRows:
    """How many rows a critic step of a round takes, for every size of the batch.

    Attributes:
        train: The round; its batch means nothing.
        most: The largest batch that is asked about.
    """

    train: Train
    most: int
    order: Literal["measure"] = "measure"

    def layout(self) -> Layout:
        """Rows for a batch of 1, 2, ..., `(most,)`."""
        return Layout((Field("rows", (self.most,)),))


@dataclass(frozen=True)
class CountLeaves:
    """Counts of a column's codes in the leaves of trees that the server grew on synthetic rows.

    The trees (`everymode.fairness.matching.trees`) come as one tensor, `nodes`.

    Attributes:
        plan: Fingerprint of the `EncodeData` whose rows are meant.
        exchange: Number of the exchange, from 1.
        bins: Into how many bins numbers are cut (`everymode.fairness.matching.codes`).
        targets: The column that each tree predicts, by its place among the codes, `(T,)`; -2: none,
            and only rows are counted.
        nodes: Nodes of each tree, `(T,)`.
        sizes: Codes of the column that each tree predicts, `(T,)`; 1 where it predicts none.
        noise: What every site adds; None: counts are exact.
    """

    plan: str
    exchange: int
    bins: int
    targets: tuple[int, ...]
    nodes: tuple[int, ...]
    sizes: tuple[int, ...]
    noise: Noise | None = None
    order: Literal["leaves"] = "leaves"

    def layout(self) -> Layout:
        """Leaves times codes of all trees, one after another."""
        # A binary tree has one leaf more than inner nodes.
        pairs = zip(self.nodes, self.sizes, strict=True)
        entries = sum((n + 1) // 2 * size for n, size in pairs)
        bits = 0 if self.noise is None else COUNT_BITS
        return Layout((Field("counts", (entries,), bits),))


@dataclass(frozen=True)
class CountMarginals:
    """Counts of every column's bins per group.

    Attributes:
        plan: Fingerprint of the `EncodeData` whose groups are meant.
        marginals: The bins.
        groups: G, number of groups.
        form: As in `EncodeData`.
    """

    plan: str
    marginals: dict[str, Any]
    groups: int
    missing: tuple[str, ...] = ()
    form: FileForm = RECOGNISED
    order: Literal["audit"] = "audit"

    def layout(self) -> Layout:
        """Per column counts, `(G, bins)`."""
        shapes = Marginals.from_json(self.marginals).shapes(self.groups)
        return Layout(tuple(Field(name, shape) for name, shape in shapes.items()))


@dataclass(frozen=True)
class CountNeighbours:
    """Real rows within synthetic balls and in the cells of a codebook, counted per group.

    The balls and the codebook (`everymode.fairness.metrics.codebook`) come as tensors.

    Attributes:
        plan: Fingerprint of the `EncodeData` whose encoded rows are meant.
        sizes: Balls of each group, `(G,)`.
        cells: K, cells of a group's codebook.
        held_out: Whether rows held out are counted, or those trained on.
    """

    plan: str
    sizes: tuple[int, ...]
    cells: int
    held_out: bool
    order: Literal["recall"] = "recall"

    def layout(self) -> Layout:
        """Rows, those within a ball, those beyond the codebook, those in each cell; per group."""
        groups = (len(self.sizes),)
        named = [Field(name, groups) for name in ("rows", "recalled", "outside")]
        return Layout((*named, Field("cells", (*groups, self.cells))))


Task = (
    DescribeColumns
    | CollectVocabulary
    | CountHistograms
    | KMeansStep
    | EncodeData
    | SumMoments
    | SiteStatistics
    | HeldOutFeatureSums
    | Train
    | CountBatchRows
    | CountLeaves
    | CountMarginals
    | CountNeighbours
)

_ORDER: TypeAdapter[Task] = TypeAdapter(Annotated[Task, Discriminator("order")])


def to_json(order: Task) -> str:
    """An order as JSON text; the form of files and noise only where there are any.

    Plans without them keep the fingerprints that they had before these could be declared.

    >>> from_json(to_json(DescribeColumns(columns=("age",)))).columns
    ('age',)
    """
    usual = {"form": RECOGNISED, "noise": None, "noised": False}
    left_out = {name for name, value in usual.items() if getattr(order, name, "") == value}
    return _ORDER.dump_json(order, exclude=left_out or None).decode()


def from_json(text: str) -> Task:
    """The inverse of `to_json`; raises `pydantic.ValidationError` on anything else."""
    return _ORDER.validate_json(text)


@dataclass(frozen=True)
class Request:
    """An order with the tensors that go with it.

    Attributes:
        order: What is asked.
        tensors: Shared vectors by name, float32.
        sites: Names of the sites that shall answer; None: all that the node serves.
        per_site: What single sites get besides, by site and name.
        run: 16 hexadecimal digits that name the run: a site answers each question of a run once.
            Not part of the order, so that equal plans have equal fingerprints in any run.
        announced: What the run will ask, with its first request; None: with others.
    """

    order: Task
    tensors: Tensors = field(default_factory=dict)
    sites: tuple[str, ...] | None = None
    per_site: Mapping[str, Tensors] = field(default_factory=dict)
    run: str = "0" * 16
    announced: Announcement | None = None

    def only(self, sites: tuple[str, ...] | None) -> "Request":
        """The same for these sites only, with their payloads."""
        per_site = self.per_site
        if sites is not None:
            per_site = {name: per_site[name] for name in sites if name in per_site}
        return replace(self, sites=sites, per_site=per_site)

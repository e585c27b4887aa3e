"""The sections of a configuration: every key, its type, its default, what it means.

What keys of several sections say of one another is checked in
`everymode.server.config.compatibility`.
"""

from typing import Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic.config import JsonDict

from everymode.clients.protocol import limits
from everymode.fairness.groups.conditioned_on import ConditionedOn
from everymode.wgan.data.constraints import Constraint
from everymode.wgan.data.date_forms import form_problem, is_date_form
from everymode.wgan.data.file_form import FileForm, form_problems
from everymode.wgan.data.formats import MISSING as MISSING_CELLS
from everymode.wgan.data.notation import parse_notation
from everymode.wgan.data.schema import Kind

HARMLESS: JsonDict = {"changes_result": False}
"""Marks a key that cannot change a result: it may differ when a run goes on."""


class Section(BaseModel):
    """A part of a configuration: unknown keys are errors, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ColumnSettings(Section):
    """What is declared of one column instead of being agreed on."""

    kind: Kind | Literal["id"] | None = Field(
        None,
        description="integer, float, boolean, datetime or category; id: unique codes, which are "
        "made anew in their pattern and never modelled",
    )
    categories: tuple[str, ...] = Field((), description="the values a category column may hold")
    format: str = Field(
        "",
        description="how its dates or numbers are written: '%d.%m.%Y', '%G-W%V', '#,##0.00', "
        "'0,# kg'; '' for what is found",
    )

    low: float | None = Field(
        None, description="with [privacy]: the least value a number may have; lower ones become it"
    )
    high: float | None = Field(None, description="with [privacy]: the largest value, likewise")
    atoms: tuple[float, ...] | None = Field(
        None,
        description="with [privacy]: values that many rows may share; of up to 128 whole numbers "
        "all are tried",
    )
    missing: bool | None = Field(
        None, description="with [privacy]: whether cells may be without a value"
    )

    @field_validator("format")
    @classmethod
    def _known(cls, value: str) -> str:
        if not is_date_form(value):
            parse_notation(value)
        elif problem := form_problem(value):
            raise ValueError(problem)
        return value


class DataSettings(Section):
    """The tables."""

    path: str = Field(
        "",
        description="one table (CSV, Parquet, Excel, ...; then [split] deals it out), or a folder "
        "with one table per site; 'builtin:adult-train.csv.gz' is the built-in table, "
        "'sqlite:///clinic.db#people' one in a database (any URL of SQLAlchemy, with #TABLE or "
        "#select ...; passwords as ${NAME} or ${file:PATH}). Left out "
        "between real sites, which name their tables themselves",
    )
    holdout: str | None = Field(
        None, description="a table of real rows never seen in training, for the utility figures"
    )
    sensitive: tuple[str, ...] = Field(
        (), description="columns whose joint values are the groups, for instance ['sex', 'race']"
    )
    target: str | None = Field(
        None, description="the column that users of the synthetic table will want to predict"
    )
    drop: tuple[str, ...] = Field((), description="columns to leave out: identifiers, free text")
    missing: tuple[str, ...] = Field(
        MISSING_CELLS, description="cells that stand for no value; an empty cell always does"
    )
    separator: str = Field(
        "",
        description="the character between cells of CSV and TSV files, or 'tab'; '' for what is "
        "found",
    )
    encoding: str = Field(
        "",
        description="Python's name of their encoding, for instance 'cp1250'; '' for what is found",
    )
    comment: str = Field(
        "",
        description="what comment lines at their top begin with, for instance '%'; '' for what is "
        "found",
    )
    header: bool = Field(
        True,
        description="whether their first line names the columns; false: the columns are called "
        "column_1, column_2, ... The synthetic table has a line of headers in any case",
    )
    floor: int = Field(
        5,
        ge=1,
        description="cells of group and label with fewer rows are dropped, categories with fewer "
        "are rare, and bins of numbers are merged until they hold as many",
    )
    rare: str = Field(
        "(other)",
        min_length=1,
        description="what rare categories become: a value of this name, with its own share and "
        "dependence; 'missing'; or 'spread' over values that begin like them, by their shares",
    )
    decimal: Literal["", ".", ","] = Field(
        "", description="the decimal mark of all numbers in text; '' for what is found"
    )
    thousands: str | None = Field(
        None,
        max_length=1,
        description="what separates thousands in text; '' for nothing; left out for what is found",
    )
    atom_share: float = Field(
        0.05,
        gt=0,
        le=1,
        description="a number holding this share of the rows is a state of its own",
    )
    held_out: float = Field(
        0.0,
        ge=0,
        le=0.5,
        description="share of every site's rows that nothing is learnt from, neither by a critic "
        "nor by sums of any kind: they show whether it learns rows by heart",
    )
    numbers: Literal["ranks", "linear"] = Field(
        "ranks",
        description="how numbers are encoded: ranks, with frequent values as states of their own; "
        "linear, from their range to [-1, 1], where distances mean something (points, pixels)",
    )
    condition: ConditionedOn = Field(
        "group_and_label",
        description="what generator and critic are told of a row, so that it can be asked for; the "
        "rest the generator makes as columns",
    )
    clusters: int = Field(
        0,
        ge=0,
        le=256,
        description="latent clusters of rows, found from sums, that are told too: for sites that "
        "differ in what no column names; 0: none",
    )
    columns: dict[str, ColumnSettings] = Field(
        {}, description="declared kinds and categories, by column: [data.columns.NAME] kind = ..."
    )

    constraints: tuple[Constraint, ...] = Field(
        (),
        description="what every row fulfils, real and synthetic, each as [[data.constraints]]: "
        "kind = 'order' (low, high, strict), 'range' (column, low, high), 'one_hot' (columns), "
        "'sum' (total, parts), 'combination' (columns: only combinations that data.floor rows "
        "have) or 'only_if' (column, when, values: missing in all other rows); a table of which "
        "more than 5 % of the rows break one is refused, unless it says force = true",
    )

    @field_validator("holdout", "target")
    @classmethod
    def _none(cls, value: str | None) -> str | None:
        return value or None

    @field_validator("missing")
    @classmethod
    def _empty(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        # Where a column says whose a row is, sites' tables are written with empty cells for gaps.
        return value if "" in value else ("", *value)

    @field_validator("separator")
    @classmethod
    def _tab(cls, value: str) -> str:
        return "\t" if value.lower() == "tab" else value

    @field_validator("separator", "encoding", "comment")
    @classmethod
    def _readable(cls, value: str, info: ValidationInfo) -> str:
        for problem in form_problems(str(info.field_name), value):
            raise ValueError(problem)
        return value

    @property
    def form(self) -> FileForm:
        """How CSV and TSV files are declared to be written."""
        return FileForm(self.separator, self.encoding, self.comment, self.header)

    @field_validator("sensitive", "drop", mode="before")
    @classmethod
    def _one_name(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value


class SiteSettings(Section):
    """What sites insist on. Real sites say it themselves, with --node-config 'floor=10'."""

    floor: int = Field(
        0,
        ge=0,
        description="rows of a cell of group and label that a site must hold for them to take part "
        "at all; no count below it leaves a site. 0: all take part, and weights of groups are "
        "exact",
    )


class DeploymentSettings(Section):
    """Real sites, which `flwr run` reaches through a SuperLink; empty in a simulation."""

    sites: tuple[str, ...] = Field(
        (),
        description="the sites, by the names under which their SuperNodes are registered (flwr "
        "supernode register --name); empty: this is a simulation",
    )
    columns: tuple[str, ...] = Field(
        (), description="headers of the sites' tables, in order; those of data.drop are left out"
    )
    wait: float = Field(
        600.0,
        ge=0,
        description="seconds for which the coordinator waits for a site that is not connected",
        json_schema_extra=HARMLESS,
    )


class SplitSettings(Section):
    """How one table is dealt out to sites; unused where data.path is a folder."""

    by: Literal["iid", "dirichlet", "group", "quantity", "column"] = Field(
        "dirichlet",
        description="iid, dirichlet (label and group skew), group (each lives on few "
        "sites), quantity (sizes differ), column (the table says whose a row is)",
    )
    sites: int = Field(10, ge=1, description="how many sites")
    alpha: float = Field(0.3, gt=0, description="Dirichlet's concentration: small is uneven")
    column: tuple[str, ...] = Field(
        (),
        description="columns whose joint values are dealt out; empty: data.sensitive and "
        "data.target (dirichlet), data.sensitive (group). With by = 'column' each joint value is a "
        "site, and the columns are not modelled",
    )
    largest: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="share of the rows that one site holds (quantity); the others then share the "
        "rest alike; 0: sizes are Dirichlet's",
    )
    isolate_below: float = Field(
        0.0,
        ge=0,
        le=1,
        description="groups with less than this share of the rows go to one site only",
    )
    minimum: int = Field(
        20, ge=1, description="rows every site gets at least, where the table allows"
    )

    @field_validator("column", mode="before")
    @classmethod
    def _one_column(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _named(self) -> "SplitSettings":
        if self.by == "column" and not self.column:
            raise ValueError(
                "by = 'column' needs the column that says which site a row is from; "
                "write column = ['hospital'], say"
            )
        return self


class GroupSettings(Section):
    """What each group counts in training."""

    weights: Literal["share", "uniform", "tempered", "minimax"] = Field(
        "tempered",
        description="share: as in the data; uniform: all alike; tempered: n_g^exponent; minimax: "
        "tempered at first, then moved toward groups that rows held out show to be made badly",
    )
    exponent: float = Field(0.5, ge=0, le=1, description="for tempered weights")
    minimax_every: int = Field(10, ge=1, description="rounds between moves of minimax weights")
    minimax_rate: float = Field(
        0.3, gt=0, description="what a move changes the logarithm of a weight by, at most"
    )
    minimax_momentum: float = Field(0.5, ge=0, lt=1, description="of minimax weights")
    minimax_bounds: tuple[float, float] = Field(
        (0.25, 4.0), description="a weight stays between these multiples of its first value"
    )

    @field_validator("minimax_bounds")
    @classmethod
    def _around_one(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not 0 < value[0] <= 1 <= value[1]:
            raise ValueError("expected two multiples around 1, for instance [0.25, 4.0]")
        return value


class FairnessSettings(Section):
    """Parity of the target over the groups, and a bias head, in the synthetic rows."""

    parity: Literal["none", "demographic", "equal_opportunity"] = Field(
        "none",
        description="demographic: each label is as frequent in every group; equal_opportunity: "
        "among rows of the label that is the advantage, a linear score fitted to synthetic rows "
        "has the same mean in every group; both over each feature and over their intersections",
    )
    parity_level: float = Field(
        0.0, ge=0, le=1, description="share of the data's own gaps that stays; 0: no gap"
    )
    parity_features: tuple[str, ...] = Field(
        (), description="the sensitive features it holds for; empty: all of data.sensitive"
    )
    parity_weight: float = Field(
        30.0,
        ge=0,
        description="weight of the penalty in the generator's loss: 30 to 100 for squared, about 5 "
        "for absolute; unused for demographic under data.condition = 'group_and_label', where rows "
        "are asked for in the right mixture",
    )
    parity_shape: Literal["squared", "absolute"] = Field(
        "squared", description="what the penalty takes of a gap; never its sign"
    )
    parity_label: str | None = Field(
        None,
        description="the target's value that is the advantage, for equal_opportunity; none: the "
        "one with the fewest rows, of a number the highest bin",
    )

    bias_head: float = Field(
        0.0,
        ge=0,
        description="weight of a head that tells the groups from the rest of a made row, against "
        "the generator, 1 say; 0: none. Keep model.matching on: it is what holds small groups",
    )
    bias_head_reweighted: bool = Field(
        True,
        description="whether every group counts the same to that head; without it, a generator "
        "that makes the groups itself drops the smallest",
    )

    @field_validator("parity_features", mode="before")
    @classmethod
    def _one_feature(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value


class ModelSettings(Section):
    """Networks, penalties, optimizers."""

    generator_hidden: tuple[int, ...] = Field((256, 256), description="sizes of hidden layers")
    critic_hidden: tuple[int, ...] = Field((256, 256), description="sizes of hidden layers")
    noise: int = Field(128, ge=1, le=limits.UNITS, description="length of the generator's noise")
    temperature: float = Field(0.2, gt=0, description="of the Gumbel-softmax over categories")
    objective: Literal["wasserstein", "jensen_shannon", "jensen_shannon_saturating", "hinge"] = (
        Field("wasserstein", description="what critic and generator play for")
    )
    lipschitz: Literal["gradient_penalty", "clipping", "spectral_norm", "none"] = Field(
        "gradient_penalty",
        description="how the critic's slope is held; clipping goes with optimizer = 'rmsprop' and "
        "low rates, none with the objectives jensen_shannon and hinge",
    )
    gradient_penalty: float = Field(10.0, ge=0, description="lambda of the gradient penalty")
    penalty_points: Literal["mixed", "real", "fake", "manifold"] = Field(
        "mixed",
        description="where the penalty takes the slope: between real and fake rows, at real ones, "
        "at fake ones, or along the data beside them",
    )
    penalty_one_sided: bool = Field(False, description="whether only slopes above 1 cost anything")
    penalty_by_class: bool = Field(
        False, description="whether every group and label in a batch counts the same in the penalty"
    )
    penalty_every: int = Field(
        1, ge=1, description="critic steps from one penalty to the next (lazy; then times as much)"
    )
    condition_penalty: float = Field(
        0.0, ge=0, description="weight of a bound on the slope between conditions; 0: off"
    )
    drift: float = Field(0.0, ge=0, description="weight of C(real)^2, 1e-3 say; 0: off")
    clip: float = Field(0.01, gt=0, description="largest weight under lipschitz = 'clipping'")
    activation: Literal["leaky_relu", "relu", "tanh"] = Field(
        "leaky_relu", description="of the critic; the other two lose slope under the penalty"
    )
    norm: Literal["none", "layer", "group", "batch"] = Field(
        "none", description="in the critic; batch only where nothing penalises slopes"
    )
    conditioning: Literal["concat", "projection"] = Field(
        "concat", description="how the critic sees group and label"
    )
    committee: int = Field(
        1,
        ge=1,
        le=limits.PACK,
        description="critics that share the work, each over half of the columns; 1: one",
    )
    multipliers: bool = Field(
        False, description="whether the critic has a factor for each group and label"
    )
    pack: int = Field(
        1, ge=1, le=limits.PACK, description="rows that the critic judges together (PacGAN)"
    )
    matching: float = Field(
        0.3,
        ge=0,
        description="weight of matching per group and label; 0: off, then no sums for it leave "
        "the sites",
    )
    matching_by: Literal["moments", "kernel", "sliced"] = Field(
        "moments",
        description="what is matched: second moments, all pairwise dependence; kernel: mean random "
        "features, the maximum mean discrepancy; sliced: histograms along random directions, the "
        "sliced Wasserstein distance",
    )
    marginals: bool = Field(
        True,
        description="whether the trained generator is held to the data's shares of categories, "
        "per group and label, so that rare ones are not lost; of a table of fewer than 100 rows "
        "numbers are held to the mean and the spread of their ranks, too",
    )
    projection: bool = Field(
        True,
        description="whether rows of the trained generator are kept by how well they go with the "
        "data's second moments; needs matching by moments, and makes drawing slower: of five to "
        "seven rows made one is kept after a thorough training, of twenty after a short one",
    )
    bins: int = Field(
        8,
        ge=0,
        le=64,
        description="bins that each number is cut into beside its value, for the second moments of "
        "the projection: shapes of distributions, and ties that are not linear; 0: none",
    )
    trees: int = Field(
        0,
        ge=0,
        le=limits.LEAF_EXCHANGES - 2,
        description="exchanges in which sites count their rows in the leaves of trees that are "
        "grown on synthetic rows; rows are then drawn from these counts, column by column, which "
        "is closer to the data and faster than the generator alone; 0: none",
    )
    critic_trees: int = Field(
        0,
        ge=0,
        le=limits.COLUMNS,
        description="trees, grown at random on finished rows, in whose leaves sites count theirs, "
        "in one exchange; rows are then kept by how well they go with the counts that are farthest "
        "off, so that trees tell them from real rows less easily; 300 are many, 0: none",
    )
    tree_leaf: int = Field(
        50,
        ge=5,
        description="rows that a leaf is expected to hold at least, and that what is drawn from it "
        "rests on; fewer come closer to the data, and to single rows of it",
    )
    forbidden: Literal["learn", "off"] = Field(
        "learn",
        description="with trees: learn has sites count pairs of values, in one exchange, and makes "
        "none that no row of the data has where chance would expect ten or more; off makes any",
    )
    allowed: tuple[str, ...] = Field(
        (),
        description="pairs of columns of which nothing is forbidden, for instance "
        "['age:education']",
    )
    optimizer: Literal["adam", "rmsprop"] = Field("adam", description="of both networks")
    generator_rate: float = Field(2e-3, gt=0, description="step size of the generator")
    critic_rate: float = Field(1e-3, gt=0, description="step size of the critic")
    beta1: float = Field(0.5, ge=0, lt=1, description="Adam's decay of the first moment")
    beta2: float = Field(0.9, ge=0, lt=1, description="Adam's decay of the second moment")
    averaging: float = Field(
        0.99, ge=0, lt=1, description="decay of the averaged generator weights, per generator step"
    )

    @field_validator("bins")
    @classmethod
    def _bins(cls, value: int) -> int:
        if value == 1:
            raise ValueError("one bin tells nothing; write 0 for none, or two or more")
        return value

    @field_validator("generator_hidden", "critic_hidden")
    @classmethod
    def _sizes(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if not value or min(value) < 1 or max(value) > limits.UNITS:
            raise ValueError(
                f"expected one size or more, each from 1 to {limits.UNITS:,}, for instance "
                "[256, 256]"
            )
        return value


class ViewSettings(Section):
    """Views: what real and fake rows alike go through before the critic sees them."""

    use: tuple[Literal["noise", "diffusion", "table"], ...] = Field(
        (),
        description="noise (on all numbers), diffusion (noise of many levels), table (columns "
        "masked, noise, scale, as ADA does for images); empty: none",
    )
    deviation: float = Field(0.5, gt=0, description="of noise and diffusion at full strength")
    rule: Literal["constant", "decay", "adaptive"] = Field(
        "decay", description="what drives the strength; adaptive: the critic's overfitting"
    )
    strength: float = Field(1.0, ge=0, le=1, description="constant, or at the start of the decay")
    until: float = Field(0.8, gt=0, le=1, description="share of training when the decay reaches 0")
    target: float = Field(0.6, ge=0, le=1, description="overfitting that adaptive views let be")
    speed: float = Field(0.02, gt=0, le=1, description="what adaptive views move a round")
    statistic: Literal["held_out", "sign"] = Field(
        "held_out",
        description="what adaptive views follow: scores of rows held out (data.held_out), or the "
        "sign of scores, which says something for jensen_shannon and hinge only",
    )

    @field_validator("use", mode="before")
    @classmethod
    def _one_view(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value


class TrainSettings(Section):
    """Rounds and what happens in each."""

    rounds: int = Field(300, ge=1, description="exchanges of training")
    critic_steps: int = Field(
        12, ge=1, le=limits.STEPS, description="critic steps at every site in a round"
    )
    generator_steps: int = Field(8, ge=1, le=limits.STEPS, description="generator steps in a round")
    batch: int = Field(
        250,
        ge=1,
        le=limits.BATCH,
        description="rows of a critic step over all sites; each takes its share of them",
    )
    generator_batch: int = Field(500, ge=2, description="rows of the server's generator step")
    site_minimum: int = Field(
        16, ge=1, le=limits.BATCH, description="rows of a critic step that a site takes at least"
    )
    exact_batch: bool = Field(
        False,
        description="whether a critic step has train.batch rows in all in spite of "
        "train.site_minimum: large sites then take fewer (everymode compare writes true)",
    )
    decay: Literal["linear", "cosine", "none"] = Field(
        "linear", description="of both learning rates"
    )
    evaluate_every: int = Field(
        10, ge=1, description="rounds between looks at slopes, overfitting and trends"
    )
    patience: int = Field(
        0,
        ge=0,
        description="evaluations without a lower calibrated estimate after which training stops "
        "(20 or more); 0: it goes on to the last round",
    )
    on_failure: Literal["repeat", "skip", "stop"] = Field(
        "repeat",
        description="a site that fails in mid-round: repeat its part, and end the run once "
        "train.retries are used up; skip it then, and go on without it; or stop at once. A run "
        "that ends leaves a checkpoint",
        json_schema_extra=HARMLESS,
    )
    retries: int = Field(
        3, ge=0, description="how often a failed part is repeated", json_schema_extra=HARMLESS
    )
    retry_pause: float = Field(
        2.0,
        ge=0,
        description="seconds before a failed part is repeated; each further repeat waits twice as "
        "long as the one before, train.retry_longest at most",
        json_schema_extra=HARMLESS,
    )
    retry_longest: float = Field(
        120.0,
        ge=0,
        description="most seconds between two repeats: retries = 8 with retry_pause = 5 take ten "
        "minutes",
        json_schema_extra=HARMLESS,
    )
    timeout: float = Field(
        600.0,
        gt=0,
        description="seconds after which a site counts as failed",
        json_schema_extra=HARMLESS,
    )
    threads: int = Field(1, ge=1, description="threads of the server's steps")


class SecureSettings(Section):
    """Whether the server sees what single sites send, or only sums over them."""

    summation: Literal["none", "masked"] = Field(
        "none",
        description="masked: sites mask their sums, so that the server learns the total and no "
        "site's part; the results are the same, bit for bit. Takes three sites and more, and "
        "federation.sums_only",
        json_schema_extra=HARMLESS,
    )
    threshold: int = Field(
        0,
        ge=0,
        description="sites that together open masks: fewer of a site's neighbours, working "
        "together with the server, learn nothing of it; as many must answer. More than half of "
        "those that hold shares of its secrets; 0: two thirds of them",
        json_schema_extra=HARMLESS,
    )
    neighbours: int = Field(
        0,
        ge=0,
        description="others that each site masks with; 0: all, up to 20 sites, and beyond that 4 "
        "log2 of their number",
        json_schema_extra=HARMLESS,
    )


class SimulationSettings(Section):
    """What Ray gives an actor. An actor serves as many sites as are dealt to it."""

    actors: int = Field(0, ge=0, description="actors; 0: one a core", json_schema_extra=HARMLESS)
    num_cpus: float = Field(
        1.0, gt=0, description="cores an actor asks Ray for", json_schema_extra=HARMLESS
    )
    num_gpus: float = Field(
        0.0,
        ge=0,
        description="share of a GPU an actor asks Ray for, 0.25 say",
        json_schema_extra=HARMLESS,
    )


class OutputSettings(Section):
    """What is kept of a run."""

    checkpoint_every: int = Field(
        25, ge=1, description="rounds between checkpoints", json_schema_extra=HARMLESS
    )
    keep: int = Field(3, ge=1, description="checkpoints kept", json_schema_extra=HARMLESS)
    rows: int = Field(0, ge=0, description="rows of synthetic.csv; 0: as many as the real tables")
    spreadsheet_safe: bool = Field(
        True,
        description="whether text and headers in synthetic.csv that begin like a formula (= + - @) "
        "get an apostrophe before them, so that no spreadsheet runs what a site sent; each is "
        "told, numbers never get one, everymode audit takes it off; false: text as it is",
    )
    trackers: tuple[Literal["tensorboard", "mlflow"], ...] = Field(
        (),
        description="who records each round's metrics and the final figures beside metrics.jsonl, "
        "in the run directory: tensorboard (folder tensorboard), mlflow (folder mlruns); needs "
        "pip install 'everymode[tensorboard,mlflow]'",
        json_schema_extra=HARMLESS,
    )

    watch: bool = Field(
        True,
        description="whether watch.html, watch.json and metrics.prom (for Prometheus) in the run "
        "directory follow the run, for a browser and everymode watch",
        json_schema_extra=HARMLESS,
    )

    @field_validator("trackers", mode="before")
    @classmethod
    def _one_tracker(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

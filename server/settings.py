"""Every key of a configuration: its type, its default, what it means, and what is allowed.

How they are read from files and written to them: `server.configuration`.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from wgan.data.frame import MISSING as MISSING_CELLS
from wgan.data.schema import Kind


class Section(BaseModel):
    """A part of a configuration: unknown keys are errors, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ColumnSettings(Section):
    """What is declared of one column instead of being agreed on."""

    kind: Kind | None = Field(None, description="integer, float, boolean, datetime or category")
    categories: tuple[str, ...] = Field((), description="the values a category column may hold")


class DataSettings(Section):
    """The tables."""

    path: str = Field(
        description="one CSV or Parquet table (then [split] deals it out), or a folder with one "
        "table per site; 'builtin:adult-train.csv.gz' is the built-in table"
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
    floor: int = Field(
        5, ge=1, description="categories and cells of group and label with fewer rows are dropped"
    )
    atom_share: float = Field(
        0.05,
        gt=0,
        le=1,
        description="a number holding this share of the rows is a state of its own",
    )
    columns: dict[str, ColumnSettings] = Field(
        {}, description="declared kinds and categories, by column: [data.columns.NAME] kind = ..."
    )

    @field_validator("holdout", "target")
    @classmethod
    def _none(cls, value: str | None) -> str | None:
        return value or None

    @field_validator("missing")
    @classmethod
    def _empty(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        # Tables of simulated sites are written with empty cells where there is no value.
        return value if "" in value else ("", *value)

    @field_validator("sensitive", "drop", mode="before")
    @classmethod
    def _one_name(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value


class SplitSettings(Section):
    """How one table is dealt out to sites; unused where data.path is a folder."""

    by: Literal["iid", "dirichlet", "group", "quantity"] = Field(
        "dirichlet",
        description="iid, dirichlet (label and group skew), group (each lives on few "
        "sites), quantity (sizes differ)",
    )
    sites: int = Field(10, ge=1, description="how many sites")
    alpha: float = Field(0.3, gt=0, description="Dirichlet's concentration: small is uneven")
    column: tuple[str, ...] = Field(
        (),
        description="columns whose joint values are dealt out; empty: data.sensitive and "
        "data.target (dirichlet), data.sensitive (group)",
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


class GroupSettings(Section):
    """What each group counts in training."""

    weights: Literal["share", "uniform", "tempered"] = Field(
        "tempered", description="share: as in the data; uniform: all alike; tempered: n_g^exponent"
    )
    exponent: float = Field(0.5, ge=0, le=1, description="for tempered weights")


class ModelSettings(Section):
    """Networks, penalties, optimizers."""

    generator_hidden: tuple[int, ...] = Field((256, 256), description="sizes of hidden layers")
    critic_hidden: tuple[int, ...] = Field((256, 256), description="sizes of hidden layers")
    noise: int = Field(128, ge=1, description="length of the generator's noise")
    temperature: float = Field(0.2, gt=0, description="of the Gumbel-softmax over categories")
    gradient_penalty: float = Field(10.0, ge=0, description="lambda of the gradient penalty")
    matching: float = Field(
        0.3,
        ge=0,
        description="weight of second-moment matching per group and label; 0: off, then "
        "no moments leave the sites",
    )
    generator_rate: float = Field(2e-3, gt=0, description="Adam's rate for the generator")
    critic_rate: float = Field(1e-3, gt=0, description="Adam's rate for the critic")
    beta1: float = Field(0.5, ge=0, lt=1, description="Adam's decay of the first moment")
    beta2: float = Field(0.9, ge=0, lt=1, description="Adam's decay of the second moment")
    averaging: float = Field(
        0.99, ge=0, lt=1, description="decay of the averaged generator weights, per generator step"
    )

    @field_validator("generator_hidden", "critic_hidden")
    @classmethod
    def _sizes(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if not value or min(value) < 1:
            raise ValueError("expected one size or more, each at least 1, for instance [256, 256]")
        return value


class TrainSettings(Section):
    """Rounds and what happens in each."""

    rounds: int = Field(300, ge=1, description="exchanges of training")
    critic_steps: int = Field(12, ge=1, description="critic steps at every site in a round")
    generator_steps: int = Field(8, ge=1, description="generator steps in a round")
    batch: int = Field(
        250, ge=1, description="rows of a critic step over all sites; each takes its share of them"
    )
    generator_batch: int = Field(500, ge=2, description="rows of the server's generator step")
    site_minimum: int = Field(
        16, ge=1, description="rows of a critic step that a site takes at least"
    )
    generator: Literal["server", "sites"] = Field(
        "server",
        description="where the generator is trained; at sites it is averaged like the critic",
    )
    statistics: Literal["averaged", "frozen"] = Field(
        "averaged",
        description="optimizer statistics: averaged with the parameters, or frozen at the "
        "common point (Mime-lite; wants a lower model.critic_rate, 1e-4 say)",
    )
    warmup: int = Field(5, ge=1, description="rounds of averaged statistics before they are frozen")
    decay: Literal["linear", "none"] = Field("linear", description="of both learning rates")
    on_failure: Literal["repeat", "skip"] = Field(
        "repeat",
        description="a site that fails in mid-round: repeat its part, or go on without it "
        "once train.retries are used up",
    )
    retries: int = Field(3, ge=0, description="how often a failed part is repeated")
    timeout: float = Field(600.0, gt=0, description="seconds after which a site counts as failed")
    threads: int = Field(1, ge=1, description="threads of the server's steps")


class SimulationSettings(Section):
    """What Ray gives an actor. An actor serves as many sites as are dealt to it."""

    actors: int = Field(0, ge=0, description="actors; 0: one a core")
    num_cpus: float = Field(1.0, gt=0, description="cores an actor asks Ray for")
    num_gpus: float = Field(0.0, ge=0, description="share of a GPU an actor asks Ray for, 0.25 say")


class OutputSettings(Section):
    """What is kept of a run."""

    checkpoint_every: int = Field(25, ge=1, description="rounds between checkpoints")
    keep: int = Field(3, ge=1, description="checkpoints kept")
    rows: int = Field(0, ge=0, description="rows of synthetic.csv; 0: as many as the real tables")


class Settings(Section):
    """A whole configuration."""

    seed: int = Field(0, ge=0, lt=2**31, description="all randomness derives from it")
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="where tensors live; auto: a GPU if there is one"
    )
    strategy: Literal["everymode", "pooled"] = Field(
        "everymode",
        description="everymode: sites keep their rows; pooled: the same recipe on one "
        "site that holds them all (the upper bound to compare with)",
    )
    data: DataSettings
    split: SplitSettings = SplitSettings()
    groups: GroupSettings = GroupSettings()
    model: ModelSettings = ModelSettings()
    train: TrainSettings = TrainSettings()
    simulation: SimulationSettings = SimulationSettings()
    output: OutputSettings = OutputSettings()

    @model_validator(mode="after")
    def _consistent(self) -> "Settings":
        used = [*self.data.sensitive, *([self.data.target] if self.data.target else [])]
        dropped = [name for name in used if name in self.data.drop]
        if dropped:
            raise ValueError(
                f"data.drop leaves out {', '.join(dropped)}, named in data.sensitive or data.target"
            )
        repeated = sorted({n for n in self.data.sensitive if self.data.sensitive.count(n) > 1})
        if repeated:
            raise ValueError(f"data.sensitive names {', '.join(repeated)} twice")
        if self.data.holdout is not None and self.data.holdout == self.data.path:
            raise ValueError(
                "data.holdout is the table of data.path: rows that were trained on cannot test; "
                "name other rows, or leave it out"
            )
        if self.device == "cpu" and self.simulation.num_gpus > 0:
            raise ValueError(
                f"simulation.num_gpus = {self.simulation.num_gpus} asks for a GPU while device is "
                "'cpu'; set device = 'cuda' or 'auto', or num_gpus = 0"
            )
        return self

"""What one metric of the audit is: an entry of the table in `everymode.fairness.audit.metrics`.

Thresholds, checks, `audit.json`, the page, JUnit and the terminal read the table. None of them
names a metric.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from everymode.fairness.audit.findings import Audit
from everymode.fairness.metrics.results import Estimate, GroupFinding

if TYPE_CHECKING:
    from everymode.fairness.audit.group_sample import GroupCounts, GroupSample

Topic = Literal["rows", "coverage", "realism", "sizes", "marginals", "copies", "attacks", "models"]

Direction = Literal["higher", "lower"]


@dataclass(frozen=True)
class Limit:
    """The threshold of a metric: a key of `[audit]` and of `everymode audit --set`.

    Attributes:
        default: What the figure is compared with unless a user says otherwise.
        description: What the key means, for the help and for `config.toml`.
        bounds: Which values are allowed, as keywords of pydantic's `Field`: `ge`, `gt`, `le`.
        whole: Whether it is a whole number.
    """

    default: float
    description: str
    bounds: Mapping[str, float]
    whole: bool = False


@dataclass(frozen=True)
class Judged:
    """One figure that a threshold is applied to.

    Attributes:
        subject: What it is a figure of: a group's name, a feature's, or "all rows".
        found: The figure with its 95 % interval.
        message: One sentence a reader without statistics understands.
        features: The features whose values make the group; empty for what is no group of theirs.
        given: Whether the generator is conditioned on the figure, so that it can hardly fail.
    """

    subject: str
    found: Estimate
    message: str
    features: tuple[str, ...] = ()
    given: bool = False


Judge = Callable[[Audit, float], Iterator[Judged]]
"""All figures that a metric's threshold, given as well, applies to."""


@dataclass(frozen=True)
class Column:
    """How the page and the terminal show a figure of a group.

    Attributes:
        heading: The column's heading on the page; lines are separated by a line break.
        digits: Decimal places.
        text: What the cell says, where that is no single figure.
        aside: Figures in brackets below the figure.
        terminal: The column's heading in the terminal; None: it is not shown there.
        interval: Whether the terminal shows its interval as a column of its own.
    """

    heading: str
    digits: int = 3
    text: Callable[[GroupFinding], str] | None = None
    aside: Callable[[GroupFinding], tuple[float | str | None, ...]] | None = None
    terminal: str | None = None
    interval: bool = False


@dataclass(frozen=True)
class Metric:
    """One metric.

    A metric without a `limit` is a figure that no check judges. One without `measure` and `count`
    is derived from figures of other metrics.

    Attributes:
        name: The threshold's key and the name of its checks.
        topic: What it says something about. Checks on `copies` decide on a release.
        direction: Whether `higher` or `lower` figures are better.
        heading: Heads its checks on the page.
        failure: How a sentence about its failures begins; the subjects follow.
        limit: Its threshold.
        judge: The figures that the threshold applies to. None: the figure `name` of every group
            that is measured, with `sentence`.
        sentence: Message of a check without a `judge`; `{value}` is the figure.
        figure: The field of a group's record in `audit.json` that the page shows; None: `name`.
        measure: Fields of a group's record, from its rows.
        count: Fields of a group's record, from its counts; sites can add these up.
        sums_suffice: Whether counts that sites add up suffice, so that the audit of a federated run
            judges it.
        column: How it is shown for every group; None: it is not.
        legend: Term and definition for the page; None: another entry explains it.
    """

    name: str
    topic: Topic
    direction: Direction
    heading: str = ""
    failure: str = ""
    limit: Limit | None = None
    judge: Judge | None = None
    sentence: str = "{value}"
    figure: str | None = None
    measure: Callable[["GroupSample"], Mapping[str, Any]] | None = None
    count: Callable[["GroupCounts"], Mapping[str, Any]] | None = None
    sums_suffice: bool = False
    column: Column | None = None
    legend: tuple[str, str] | None = None

    def judged(self, audit: Audit, limit: float) -> Iterator[Judged]:
        """All figures of an audit that the threshold applies to."""
        if self.judge is not None:
            yield from self.judge(audit, limit)
            return
        for group in audit.groups:
            if group.state == "measured":
                found = group.figure(self.name)
                value = "unknown" if found.value is None else f"{found.value:.3g}"
                text = self.sentence.format(value=value)
                yield Judged(group.name, found, text, group.features)


def each_group(
    one: Callable[[GroupFinding, Audit, float], Judged | None], measured: bool = True
) -> Judge:
    """Judges every group with real rows by itself.

    Args:
        one: The group's figure; None where it has none. Its features are filled in.
        measured: Whether groups with too few rows to measure are passed over.
    """

    def judge(audit: Audit, limit: float) -> Iterator[Judged]:
        for group in audit.groups:
            if group.rows_real == 0 or (measured and group.state != "measured"):
                continue
            found = one(group, audit, limit)
            if found is not None:
                yield replace(found, features=group.features)

    return judge

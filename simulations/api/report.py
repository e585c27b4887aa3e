"""`everymode.audit`: an audit of two data frames, for a terminal, a notebook and a program."""

import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

import everymode.fairness.audit.metrics as metrics
from everymode.fairness.audit.findings import Audit, Check
from everymode.fairness.audit.headline import headline
from everymode.fairness.audit.pooled import audit as audit_tables
from everymode.fairness.audit.thresholds import Thresholds
from everymode.fairness.report.report import page, write_report
from everymode.server.outputs.terminal import Terminal
from everymode.simulations.api.frames import check_columns, check_frame
from everymode.simulations.api.progress import in_notebook
from everymode.simulations.audit import show
from everymode.simulations.limits import parse_limits
from everymode.wgan.errors import DataError, SettingsError

HEIGHT = 640
"""Pixels of the report in a notebook."""


class AuditReport:
    """What an audit found.

    Attributes:
        audit: All of it, as plain values.
    """

    def __init__(self, found: Audit) -> None:
        """Holds an audit."""
        self.audit = found

    @property
    def passed(self) -> bool:
        """Whether no check failed and what a release needs was judged, copies above all."""
        return self.audit.fit_for_release

    @property
    def verdict(self) -> str:
        """`pass`, `fail` or `insufficient`: nothing failed, but coverage was not decided."""
        return self.audit.verdict

    @property
    def headline(self) -> str:
        """The verdict in a sentence."""
        return headline(self.audit)

    @property
    def checks(self) -> tuple[Check, ...]:
        """Every threshold held against every figure, failures first."""
        return self.audit.checks

    def to_frame(self) -> pd.DataFrame:
        """One row a group: its rows, every metric with the ends of its interval, and its state."""
        shown = [metric for metric in metrics.METRICS if metric.column is not None]
        rows = []
        for group in self.audit.groups:
            row: dict[str, Any] = {
                "group": group.name,
                "rows_real": group.rows_real,
                "rows_synthetic": group.rows_synthetic,
                "state": group.state,
            }
            for metric in shown:
                name = metric.figure or metric.name
                figure = group.figure(name)
                row[name], row[f"{name}_low"], row[f"{name}_high"] = (
                    figure.value,
                    figure.low,
                    figure.high,
                )
            rows.append(row)
        return pd.DataFrame(rows).set_index("group").dropna(axis=1, how="all")

    def save(self, folder: str | Path) -> list[Path]:
        """Writes `audit.html`, `audit.json` and `audit.junit.xml`.

        Raises:
            StateError: They cannot be written.
        """
        return list(write_report(self.audit, Path(folder)))

    def __repr__(self) -> str:
        """The table of groups, failed checks and the verdict, as `everymode audit` shows them."""
        console = Terminal(width=100, color_system=None)
        with console.capture() as captured:
            show(self.audit, console)
        return captured.get().rstrip()

    def _repr_html_(self) -> str:
        """The whole report, within the page of a notebook."""
        return (
            f'<iframe title="audit" style="width:100%;border:0" height="{HEIGHT}" '
            f'sandbox="" srcdoc="{html.escape(page(self.audit))}"></iframe>'
        )


def audit(
    real: pd.DataFrame,
    synthetic: pd.DataFrame,
    *,
    sensitive_features: Sequence[str] = (),
    target: str | None = None,
    holdout: pd.DataFrame | None = None,
    thresholds: Mapping[str, float | str | None] | None = None,
    drop: Sequence[str] = (),
    random_state: int = 0,
    progress: bool = True,
) -> AuditReport:
    """Compares a synthetic table with real rows, group by group; whoever made it.

    Args:
        real: The rows that the generator was trained on.
        synthetic: The rows to judge, with the same columns in any order.
        sensitive_features: Columns whose values, and whose joint values, are the groups; none: all
            rows are one group.
        target: The column that users will predict; None: no utility is measured.
        holdout: Real rows that the generator did not see. Without them neither utility nor copies
            are judged, so that no table passes.
        thresholds: Limits by name, such as `{"coverage_group_min": 0.9, "precision": None}`; None
            switches a check off. `everymode audit --help` lists them.
        drop: Columns to leave out: identifiers, say.
        random_state: Of the rows that are drawn.
        progress: Whether to show what is measured.

    Raises:
        DataError: Tables that cannot be compared; all problems at once.
        SettingsError: Thresholds that there are not.

    >>> import numpy as np, pandas as pd, everymode
    >>> rng = np.random.default_rng(0)
    >>> real = pd.DataFrame({"group": rng.choice(["a", "b"], 900), "age": rng.normal(40, 9, 900)})
    >>> lacking = real[real["group"] == "a"].reset_index(drop=True)
    >>> report = everymode.audit(real, lacking, sensitive_features=["group"], progress=False)
    >>> report.passed, report.verdict
    (False, 'fail')
    """
    if isinstance(sensitive_features, str):
        raise SettingsError(f"sensitive_features: expected a list; write ['{sensitive_features}']")
    problems: list[str] = []
    named = {"the real table": real, "the synthetic table": synthetic}
    named |= {} if holdout is None else {"holdout": holdout}
    wanted = dict.fromkeys(sensitive_features, "sensitive_features")
    wanted |= {target: "target"} if target else {}
    for what, frame in named.items():
        try:
            check_columns(check_frame(frame, what), wanted, what)
        except DataError as error:
            problems += error.problems
    if problems:
        raise DataError(problems)
    values = {k: "off" if v is None else str(v) for k, v in (thresholds or {}).items()}
    limits: Thresholds = parse_limits(Thresholds, [f"{k}={v}" for k, v in values.items()])
    console = Terminal(stderr=True, quiet=not progress or in_notebook())
    with console.status("reading tables") as status:
        found = audit_tables(
            real.reset_index(drop=True),
            synthetic.reset_index(drop=True),
            sensitive_features=sensitive_features,
            target=target,
            holdout=None if holdout is None else holdout.reset_index(drop=True),
            thresholds=limits,
            drop=drop,
            seed=random_state,
            progress=lambda text: status.update(f"measuring {text}"),
        )
    return AuditReport(found)

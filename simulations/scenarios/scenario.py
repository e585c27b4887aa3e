"""What a scenario is: a table with a column that names each row's site, and a score."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pandas as pd

Figures = dict[str, float]


@dataclass(frozen=True)
class Scenario:
    """A table dealt out to sites that differ in a known way.

    Attributes:
        name: As in `data.path = "scenario:NAME"` and as its preset is called.
        title: In a line.
        make: Seed -> the table, with a column `site`.
        score: A synthetic table and a seed -> figures by name.
        higher: Of each figure, whether more is better.
    """

    name: str
    title: str
    make: Callable[[int], pd.DataFrame]
    score: Callable[[pd.DataFrame, int], Figures]
    higher: Mapping[str, bool]

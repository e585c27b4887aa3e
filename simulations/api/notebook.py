"""HTML for notebooks: figures and pictures of a training."""

import base64
import html
from collections.abc import Mapping, Sized
from pathlib import Path
from typing import Any

FIGURES = {
    "rows": "synthetic rows",
    "sites": "sites",
    "groups": "groups",
    "tv_mean": "mean total variation (categories)",
    "ks_mean": "mean Kolmogorov-Smirnov (numbers)",
    "coverage_group_min": "worst group's standardised coverage",
}
"""Entries of `summary.json` that a notebook shows, with their names for people."""


def summary_table(summary: Mapping[str, Any]) -> str:
    """The main figures as a table."""
    rows = "".join(
        f"<tr><th style='text-align:left'>{html.escape(name)}</th>"
        f"<td style='text-align:right'>{html.escape(_number(summary.get(key)))}</td></tr>"
        for key, name in FIGURES.items()
    )
    return f"<table>{rows}</table>"


def picture(path: Path) -> str:
    """A PNG file within the page; nothing where there is none."""
    if not path.exists():
        return ""
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    name = html.escape(path.stem)
    return f'<img style="max-width:100%" alt="{name}" src="data:image/png;base64,{data}">'


def _number(value: object) -> str:
    if value is None:
        return "not measured"
    if isinstance(value, Sized):
        value = len(value)
    return f"{value:.4f}" if isinstance(value, float) else f"{value:,}"

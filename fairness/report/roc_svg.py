"""ROC curves on logarithmic axes, where an attack that is sure of few rows shows."""

import math
from collections.abc import Mapping, Sequence

from markupsafe import Markup, escape

from everymode.fairness.report.svg import series
from everymode.wgan.words import visible

DECADES = 3
"""Powers of ten that either axis goes down from 1."""


def roc_picture(lines: Mapping[str, Sequence[tuple[float, float]]], title: str) -> Markup:
    """Curves by name; the diagonal, dashed, is chance.

    Args:
        lines: Points (rate of false alarms, rate of members found).
        title: What is shown, for readers who do not see it.
    """
    parts = []
    for power in range(DECADES + 1):
        at = 100 * power / DECADES
        text = f"{10.0 ** (power - DECADES):g}"
        parts.append(
            f'<line x1="{at:.2f}%" x2="{at:.2f}%" y1="0" y2="100%"/>'
            f'<line x1="0" x2="100%" y1="{100 - at:.2f}%" y2="{100 - at:.2f}%"/>'
            f'<text x="{at:.2f}%" y="100%" dy="16" text-anchor="middle">{text}</text>'
            f'<text x="0" dx="-6" y="{100 - at:.2f}%" dy="4" text-anchor="end">{text}</text>'
        )
    parts.append('<line class="limit" x1="0" x2="100%" y1="100%" y2="0"/>')
    drawn = []
    for i, (name, points) in reversed(list(enumerate(lines.items()))):
        path = " ".join(f"{1000 * _at(x):.1f},{1000 - 1000 * _at(y):.1f}" for x, y in points)
        safe = escape(visible(name))
        drawn.append(
            f'<polyline class="{series(i)}" points="{path}"><title>{safe}</title></polyline>'
        )
    safe = escape(visible(title))
    return Markup(
        f'<svg class="curves" height="360" role="img" aria-label="{safe}"><title>{safe}</title>'
        f'<svg x="9%" width="88%" y="4%" height="86%">{"".join(parts)}'
        f'<svg width="100%" height="100%" viewBox="0 0 1000 1000" preserveAspectRatio="none">'
        f"{''.join(drawn)}</svg></svg></svg>"
    )


def _at(rate: float) -> float:
    """Where a rate is on an axis, 0 to 1.

    >>> _at(1.0), _at(0.0)
    (1.0, 0.0)
    """
    return max(0.0, 1 + math.log10(max(rate, 10.0**-DECADES)) / DECADES)

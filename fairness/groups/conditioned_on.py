"""What a generator can be conditioned on: a name alone, for configurations that need no tensors."""

from typing import Literal

ConditionedOn = Literal["group_and_label", "group", "label", "none"]
"""What of group and label the generator receives; it makes the rest itself, as columns."""

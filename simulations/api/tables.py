"""The built-in table as a data frame."""

from typing import Literal

import pandas as pd

from everymode.server.config.files import resolve
from everymode.wgan.data.frame import read_table
from everymode.wgan.data.values import describe


def load_adult(part: Literal["train", "test"] = "train") -> pd.DataFrame:
    """UCI Adult: 32,561 rows to train on, or 16,281 others; whole numbers and text.

    Source: Becker and Kohavi, "Adult", UCI Machine Learning Repository, 1996.

    >>> import everymode
    >>> frame = everymode.load_adult("test")
    >>> frame.shape, str(frame["age"].dtype)
    ((16281, 15), 'int64')
    """
    frame = read_table(resolve(f"builtin:adult-{part}.csv.gz"))
    whole = [name for name in frame.columns if describe(frame[name]).kind == "integer"]
    return frame.astype(dict.fromkeys(whole, "int64"))

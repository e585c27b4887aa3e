"""Stage 5, *sample*: the synthetic table is drawn and written.

It is written before anything is measured: the evaluation takes minutes, and a run that is stopped
or that fails in it has its table all the same.
"""

from dataclasses import dataclass

import pandas as pd

from server.stages.agree import Agreed
from server.stages.context import RunContext
from server.synthesis.synthesizer import Synthesizer
from wgan.data.spreadsheets import Marked
from wgan.data.write import write_table


@dataclass(frozen=True)
class SyntheticTable:
    """The synthetic table.

    Attributes:
        rows: The rows, typed, in the columns' order.
        apostrophes: The cells that an apostrophe was put before, so that no spreadsheet runs them.
    """

    rows: pd.DataFrame
    apostrophes: Marked


def sample(run: RunContext, agreed: Agreed, synthesizer: Synthesizer) -> SyntheticTable:
    """Draws rows with the data's mixture of groups and labels, and writes `synthetic.csv`.

    Raises:
        Interrupted: The user asked to stop.
        StateError: The run directory cannot be written.
    """
    output, path = run.settings.output, run.folder.synthetic
    run.begin("sample", "synthetic table")
    rows = synthesizer.sample_matching_data(output.rows or agreed.rows, run.settings.seed)
    marked = write_table(rows, agreed.plan.schema, path, output.spreadsheet_safe)
    if marked:
        run.listener.on_note(f"{marked.sentence(path.name)}; output.spreadsheet_safe = false: none")
    return SyntheticTable(rows, marked)

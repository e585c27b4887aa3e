"""Stage 5, *sample*: the synthetic table is drawn and written.

It is written before anything is measured: the evaluation takes minutes, and a run that is stopped
or that fails in it has its table all the same.
"""

from dataclasses import dataclass
from pathlib import Path

from everymode.server.datasets.base import Synthetic
from everymode.server.datasets.choice import choose_modality
from everymode.server.stages.agree import Agreed
from everymode.server.stages.context import RunContext
from everymode.server.synthesis.synthesizer import Synthesizer
from everymode.wgan.data.spreadsheets import Marked


@dataclass(frozen=True)
class SyntheticTable:
    """The synthetic table.

    Attributes:
        synthetic: The rows.
        path: Their file.
        apostrophes: The cells that an apostrophe was put before, so that no spreadsheet runs them.
    """

    synthetic: Synthetic
    path: Path
    apostrophes: Marked


def sample(run: RunContext, agreed: Agreed, synthesizer: Synthesizer) -> SyntheticTable:
    """Draws rows with the data's mixture of groups and labels, and writes `synthetic.csv`.

    Arrays are written to `synthetic.npz`.

    Raises:
        Interrupted: The user asked to stop.
        StateError: The run directory cannot be written.
    """
    output, seed, modality = (
        run.settings.output,
        run.settings.seed,
        choose_modality(agreed.plan.schema),
    )
    path = run.folder.path / modality.file
    run.begin("sample", "synthetic table")
    cells = synthesizer.cells_matching_data(output.rows or agreed.rows, seed)
    synthetic = synthesizer.generate(cells, seed)
    changed = synthetic.moved + synthetic.replaced
    if changed:
        run.listener.on_note(
            f"data.constraints: {changed:,} of {len(synthetic.rows):,} synthetic rows did not "
            f"fulfil all by construction: {synthetic.moved:,} were moved to the nearest that does, "
            f"and others took the place of {synthetic.replaced:,}"
        )
    marked = modality.write(agreed.plan, synthetic, path, output.spreadsheet_safe)
    if marked:
        run.listener.on_note(f"{marked.sentence(path.name)}; output.spreadsheet_safe = false: none")
    return SyntheticTable(synthetic, path, marked)

"""One run from tables to figures: agree, encode, train, postprocess, sample, evaluate, write.

The same for every exchange: in process, Flower's simulation, real sites.
"""

import time
from dataclasses import dataclass
from typing import Any

from everymode.server.outputs.trackers import tracked
from everymode.server.outputs.watching import watched
from everymode.server.progress import Interrupted
from everymode.server.stages.agree import agree
from everymode.server.stages.context import RunContext, choose_device
from everymode.server.stages.encode import encode
from everymode.server.stages.evaluate import evaluate
from everymode.server.stages.postprocess import postprocess
from everymode.server.stages.sample import sample
from everymode.server.stages.train import train
from everymode.server.stages.write import write

__all__ = ["Interrupted", "Session", "choose_device"]


@dataclass(frozen=True, kw_only=True)
class Session(RunContext):
    """A run; calling it runs all stages."""

    def __call__(self) -> dict[str, Any]:
        """Runs to the end and returns the summary, the content of `summary.json`.

        Raises:
            EveryModeError: Anything the user can mend; `Interrupted` where `stop` said so.
        """
        watch, seen = self.settings.output.watch, self.exchange.releases.last_seen
        with (
            watched(watch, self.folder, self.listener, seen) as watching,
            tracked(self.settings, self.folder, watching) as listener,
        ):
            run = self.heard_by(listener)
            with self.folder.recorded(self.exchange.releases, self.resume):
                summary = run._stages()
            listener.on_run_end(summary, self.folder)
        return summary

    def _stages(self) -> dict[str, Any]:
        """The stages in their order, each on the results of those before it."""
        started = time.perf_counter()
        agreed = agree(self)
        encoded = encode(self, agreed)
        training = train(self, encoded)
        ready = postprocess(self, encoded, training)
        table = sample(self, agreed, ready.synthesizer)
        evaluation = evaluate(self, encoded, training, ready.synthesizer, table)
        return write(self, encoded, training, ready, table, evaluation, started)

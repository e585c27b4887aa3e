"""One run from tables to figures: agree, encode, train, postprocess, sample, evaluate, write.

The same for every exchange: in process, Flower's simulation, real sites.
"""

import time
from dataclasses import dataclass
from typing import Any

from everymode.server.outputs.releases_file import load_releases
from everymode.server.outputs.trackers import tracked
from everymode.server.outputs.watching import watched
from everymode.server.privacy.accounted import spent
from everymode.server.privacy.secrets import forget_secret
from everymode.server.progress import Interrupted
from everymode.server.replies.releases import Releases
from everymode.server.stages.agree import agree
from everymode.server.stages.context import RunContext, choose_device
from everymode.server.stages.encode import encode
from everymode.server.stages.evaluate import evaluate
from everymode.server.stages.postprocess import postprocess
from everymode.server.stages.sample import sample
from everymode.server.stages.train import train
from everymode.server.stages.write import write
from everymode.wgan.errors import StateError

__all__ = ["Interrupted", "Session", "choose_device"]


@dataclass(frozen=True, kw_only=True)
class Session(RunContext):
    """A run; calling it runs all stages."""

    def __call__(self) -> dict[str, Any]:
        """Runs to the end and returns the summary, the content of `summary.json`.

        Raises:
            EveryModeError: Anything the user can mend; `Interrupted` where `stop` said so.
        """
        if self.resume and self.folder.releases.exists():
            self._check_ledger()
        watch, seen = self.settings.output.watch, self.exchange.releases.last_seen
        with (
            watched(watch, self.folder, self.listener, seen) as watching,
            tracked(self.settings, self.folder, watching) as listener,
        ):
            run = self.heard_by(listener)
            with self.folder.recorded(self.exchange.releases, self.resume, self.budget):
                summary = run._stages()
            # Nothing is asked any more, and whoever had it could take the noise off.
            forget_secret(self.folder.path)
            listener.on_run_end(summary, self.folder)
        self.exchange.close()
        return summary

    def _check_ledger(self) -> None:
        """Refuses to go on where answers with noise could be asked for anew, or without it."""
        if self.folder.planned:
            self.folder.check_settings(self.settings)
        releases = Releases()
        load_releases(self.folder.releases, releases)
        before = spent(releases)
        if before and self.budget is None:
            raise StateError(
                f"{self.folder.config}: this run has released sums with noise ([privacy]), and "
                "would go on without; put [privacy] back as it was, or start a new run"
            )
        simulated = not self.folder.deployed and self.settings.privacy.seed is None
        if before and simulated and self.folder.summary.exists():
            raise StateError(
                f"{self.folder.path}: this private run is finished, and what its noise was drawn "
                "from is gone; start a new run, whose budget adds to this one's"
            )

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

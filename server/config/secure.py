"""How sums are masked, from a configuration."""

from everymode.server.config.settings import Settings
from everymode.server.secure.exchange import Masking


def build_masking(settings: Settings) -> Masking | None:
    """How sums are masked; None: they are not."""
    secure, train = settings.secure, settings.train
    if secure.summation == "none":
        return None
    return Masking(
        secure.threshold,
        secure.neighbours,
        train.retries,
        train.retry_pause,
        train.on_failure == "skip",
    )

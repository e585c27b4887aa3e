"""Whether a run's sums are masked: the exchange over which a run asks its sites."""

from collections.abc import Callable

from everymode.server.replies.replies import Checker
from everymode.server.secure.channel import Channel, GridChannel, InProcessChannel
from everymode.server.secure.exchange import MaskedExchange, Masking
from everymode.server.transport.exchange import Exchange, InProcess
from everymode.server.transport.grid import GridExchange


def secured(
    exchange: InProcess | GridExchange,
    masking: Masking | None,
    tell: Callable[[str], None] = lambda text: None,
) -> Exchange:
    """The exchange itself, or one that sends masked sums over it.

    Args:
        exchange: Carries requests.
        masking: How sums are masked; None: they are not.
        tell: Is told what a user should know of replies.

    Raises:
        SettingsError: Too few sites, or a threshold that they cannot have.
    """
    if masking is None:
        return exchange
    channel: Channel
    if isinstance(exchange, InProcess):
        channel = InProcessChannel(exchange)
        exact = all(site.floor == 0 for site in exchange.sites)
    else:
        channel, exact = GridChannel(exchange), exchange.exact
    return MaskedExchange(exchange.names, channel, Checker(exact, tell), masking, tell)

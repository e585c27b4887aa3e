"""The ClientApp: a node that serves one site (deployment) or many (simulation).

In deployment a SuperNode is started with its site in the node's own configuration,

    flower-supernode --node-config 'site="north" data="/data/north.csv" workspace="/var/everymode"'

and nothing a server sends can point it at another file. In Flower's simulation a node has a
partition instead, and the message says which of the simulated sites it serves this time.
"""

# First: Ray, which a simulation imports next, must find it done.
from clients import environment  # noqa: F401

# isort: split

from pathlib import Path

import torch
from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from clients.orders import Request
from clients.site import Site, sites_in
from clients.wire import Ground, pack_problems, pack_sums, unpack_request
from clients.work import serve
from wgan.errors import DataError, EveryModeError

app = ClientApp()


@app.query("everymode")
def answer(message: Message, context: Context) -> Message:
    """Answers any order with the sum over the node's sites, or with what is wrong there."""
    # One actor a core: more threads would only compete, and change sums in their last digits.
    torch.set_num_threads(1)
    request, ground = unpack_request(message.content)
    try:
        content = pack_sums(serve(request, sites_of(context, request, ground)))
    except EveryModeError as error:
        content = pack_problems(error)
    return Message(content, reply_to=message)


def sites_of(context: Context, request: Request, ground: Ground) -> list[Site]:
    """The sites that this node serves for this request.

    Raises:
        DataError: The node's configuration names no table, or the request no site of this machine.
    """
    node = context.node_config
    if "data" in node:
        table = Path(str(node["data"]))
        name = str(node.get("site", table.name.partition(".")[0]))
        return [Site(name, table, Path(str(node.get("workspace", ".everymode"))) / name)]
    if "partition-id" not in node or not ground.folder:
        raise DataError(
            "this SuperNode has no table: start it with --node-config "
            '\'site="NAME" data="/path/to/table.csv" workspace="/path/of/its/own"\''
        )
    here = {s.name: s for s in sites_in(Path(ground.folder), Path(ground.workspace))}
    return [here[name] for name in request.sites or ()]

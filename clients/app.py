"""The ClientApp: a node that serves one site (deployment) or many (simulation).

In deployment a SuperNode is started with its site in the node's own configuration,

    flower-supernode --node-config 'site="north" data="/data/north.csv" workspace="/var/everymode"'

or `data="sqlite:///clinic.db#people"` for a table in a database, and nothing a server sends can
point it at another. In Flower's simulation a node has a
partition instead, and the message says which of the simulated sites it serves this time: only those
of a folder that the simulation marked as its own (`everymode.clients.gate.simulation`).
"""

# First: Ray, which a simulation imports next, must find it done.
from everymode.clients import environment  # noqa: F401

# isort: split

import logging
from pathlib import Path

import torch
from flwr.app import Context, Error, Message
from flwr.clientapp import ClientApp

from everymode.clients.database_copy import locate_table
from everymode.clients.gate.policy import DEFAULT, load_policy
from everymode.clients.gate.simulation import simulated
from everymode.clients.protocol.messages import Request
from everymode.clients.protocol.refusal import RefusedError
from everymode.clients.protocol.schema_messages import DescribeColumns
from everymode.clients.protocol.simulation_paths import SimulationPaths
from everymode.clients.protocol.wire import pack_problems, pack_sums, unpack_request
from everymode.clients.secure.answering import take_steps
from everymode.clients.secure.wire import STEPS, pack_outcomes, unpack_steps
from everymode.clients.site import Site
from everymode.clients.tasks.dispatch import handle
from everymode.wgan.data.database_source import is_database, parse_source
from everymode.wgan.errors import DataError, EveryModeError
from everymode.wgan.words import brief

app = ClientApp()

RAISED = 2
"""Flower's code for an app that raised an error (`flwr.common.constant.ErrorCode`)."""

_log = logging.getLogger(__name__)


@app.query("everymode")
def answer(message: Message, context: Context) -> Message:
    """Answers any order with the sum over the node's sites, or with what is wrong there."""
    # One actor a core: more threads would only compete, and change sums in their last digits.
    torch.set_num_threads(1)
    try:
        request, simulation_paths = unpack_request(message.content)
        sites = build_sites(context, request, simulation_paths)
        if STEPS in message.content:
            content = pack_outcomes(take_steps(unpack_steps(message.content), request, sites))
        else:
            content = pack_sums(handle(request, sites))
    except EveryModeError as error:
        content = pack_problems(error)
    except Exception as error:
        # Its text may hold cells of the table: it stays in this site's own log.
        _log.exception("failed inside")
        reason = f"failed inside ({type(error).__name__}); the site's own log says more"
        return Message(Error(code=RAISED, reason=reason), reply_to=message)
    return Message(content, reply_to=message)


def build_sites(
    context: Context, request: Request, simulation_paths: SimulationPaths
) -> list[Site]:
    """The sites that this node serves for this request.

    Raises:
        DataError: The node's configuration names no table, or cannot be used.
        SettingsError: So for its policy.
        RefusedError: The request names no site of a simulation on this machine.
    """
    node = context.node_config
    if "data" in node:
        data = str(node["data"])
        name = str(node.get("site", _default_name(data)))
        workspace = Path(str(node.get("workspace", ".everymode"))) / name
        if request.sites is not None and name not in request.sites:
            raise RefusedError(
                f"this SuperNode serves site '{name}', and is asked as {_named(request.sites)}; "
                "register it under the name that its --node-config says"
            )
        # A run begins with this question: a database is read anew then, and not in between.
        begins = isinstance(request.order, DescribeColumns)
        table = locate_table(data, workspace, begins)
        policy = load_policy(Path(str(node["policy"]))) if "policy" in node else DEFAULT
        floor = max(_floor(node.get("floor", 0)), policy.min_rows)
        signing_key, peers = (
            Path(str(node[key])) if key in node else None for key in ("signing_key", "peers")
        )
        return [
            Site(
                name,
                table,
                workspace,
                floor=floor,
                policy=policy,
                signing_key=signing_key,
                peers=peers,
            )
        ]
    if "partition-id" not in node or not simulation_paths.folder:
        raise DataError(
            "this SuperNode has no table: start it with --node-config "
            '\'site="NAME" data="/path/to/table.csv" workspace="/path/of/its/own"\''
        )
    here, wanted = simulated(simulation_paths), request.sites or ()
    if strangers := set(wanted) - here.keys():
        raise RefusedError(f"the request names {len(strangers)} sites that the simulation lacks")
    return [here[name] for name in wanted]


def _named(names: tuple[str, ...]) -> str:
    return ", ".join(f"'{brief(name)}'" for name in names[:5])


def _default_name(data: str) -> str:
    if is_database(data):
        return parse_source(data).table or "site"
    return Path(data).name.partition(".")[0]


def _floor(value: object) -> int:
    """The least rows of a level, as the node's configuration says."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    raise DataError("--node-config floor: expected a whole number of rows, 0 or more")

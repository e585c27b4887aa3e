"""Steps of secure summation as Flower messages: one for each node, with a step for each site."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict

from everymode.clients.protocol.limits import SITES, TEXT
from everymode.clients.protocol.messages import Request
from everymode.clients.protocol.refusal import RefusedError
from everymode.clients.protocol.simulation_paths import SimulationPaths
from everymode.clients.protocol.sums import Layout, ReplyError, SiteSums
from everymode.clients.protocol.wire import (
    MECHANISMS,
    pack_problems,
    pack_request,
    read_mechanisms,
    read_problems,
)
from everymode.clients.protocol.wire_arrays import read_arrays
from everymode.clients.secure.steps import (
    AnswerMasked,
    AttemptShares,
    Ended,
    EndSession,
    Keys,
    MakeKeys,
    MakeShares,
    Revealed,
    Said,
    Step,
    said_from_json,
    said_to_json,
    step_from_json,
    step_to_json,
)
from everymode.wgan.errors import EveryModeError

STEPS, SAID, MASKED, PROBLEMS = "steps", "said", "masked.", "problems."
"""Names of records; the last two begin the name of a record of one site."""

Outcome = Said | SiteSums | EveryModeError
"""What became of a step at a site."""


def carries_request(steps: Mapping[str, Step]) -> bool:
    """Whether steps go with the arrays of the request that they are about."""
    return any(isinstance(step, AnswerMasked) for step in steps.values())


def pack_steps(
    steps: Mapping[str, Step], request: Request, simulation_paths: SimulationPaths
) -> RecordDict:
    """Steps of a node's sites, with the request that they are about, as a message's content."""
    if not carries_request(steps):
        request = replace(request, tensors={})
    content = pack_request(replace(request, per_site={}), simulation_paths)
    content[STEPS] = ConfigRecord({name: step_to_json(step) for name, step in steps.items()})
    return content


def unpack_steps(content: RecordDict) -> dict[str, Step]:
    """The steps of a message, by site; raises `RefusedError` where they are none."""
    record = content.config_records[STEPS]
    if len(record) > SITES or any(
        not isinstance(text, str) or len(text) > TEXT for text in record.values()
    ):
        raise RefusedError("steps of secure summation that are too many or too long")
    return {name: step_from_json(str(text)) for name, text in record.items()}


def pack_outcomes(outcomes: Mapping[str, Outcome]) -> RecordDict:
    """What became of steps at a node's sites, as the content of a reply."""
    content, said = RecordDict(), dict[str, str]()
    mechanisms: set[str] = set()
    for name, outcome in outcomes.items():
        match outcome:
            case SiteSums():
                content[MASKED + name] = ArrayRecord({"sums": Array(outcome.vector)})
                mechanisms.update(outcome.mechanisms)
            case EveryModeError():
                content[PROBLEMS + name] = pack_problems(outcome)["problems"]
            case _:
                said[name] = said_to_json(outcome)
    if mechanisms:
        content[MECHANISMS] = ConfigRecord({"stated": sorted(mechanisms)})
    content[SAID] = ConfigRecord(dict(said))
    return content


def unpack_outcomes(
    message: Message, layout: Layout, steps: Mapping[str, Step], sites: Sequence[str]
) -> dict[str, Outcome]:
    """The inverse, of which no byte is trusted.

    Args:
        message: The reply; it holds content.
        layout: What was agreed on.
        steps: What was asked, by site.
        sites: The node's sites.

    Raises:
        ReplyError: The reply is not what was agreed on.
    """
    records = dict(message.content.items())
    said = records.pop(SAID, None)
    if "problems" in records:
        error = read_problems(records.pop("problems"), {})
        return dict.fromkeys(sites, error)
    mechanisms = read_mechanisms(records.pop(MECHANISMS, None))
    if not isinstance(said, ConfigRecord):
        raise ReplyError("its reply to a step of secure summation is not in the agreed form")
    outcomes: dict[str, Outcome] = {}
    for name in sites:
        step = steps[name]
        if PROBLEMS + name in records:
            outcomes[name] = read_problems(records.pop(PROBLEMS + name), {})
        elif isinstance(step, AnswerMasked):
            agreed = {"sums": (np.dtype(np.int64), (layout.size,))}
            found = read_arrays(records.pop(MASKED + name, None), agreed, f" of site '{name}'")
            outcomes[name] = SiteSums(layout, found["sums"], {}, mechanisms)
        else:
            outcomes[name] = _said(said.get(name), step, name)
    if records or set(said) - set(sites):
        raise ReplyError("records came that nobody asked for")
    return outcomes


def _said(text: object, step: Step, name: str) -> Said:
    kind: type[Said] = Revealed
    if isinstance(step, MakeKeys):
        kind = Keys
    elif isinstance(step, MakeShares):
        kind = AttemptShares
    elif isinstance(step, EndSession):
        kind = Ended
    try:
        if not isinstance(text, str) or len(text) > TEXT:
            raise ValueError
        said = said_from_json(text, kind)
    except ValueError:
        raise ReplyError(f"what site '{name}' says is not in the agreed form") from None
    if isinstance(said, Keys | AttemptShares) and said.name != name:
        raise ReplyError(f"site '{name}' answers as another")
    return said

"""Noise on the packed integers of an answer: one site's share, and what it states about it.

A question carries the noise that is asked for (`everymode.clients.protocol.noise`); the site works
out the sensitivity itself, so that a server can ask for less privacy, which the site's policy may
refuse, but not for noise that does not fit the sum. The noise is a function of a secret of the site
and of the question: the same question gets the same answer to the last bit, and another question
other noise. The secret never leaves the site; it is drawn when it is first needed.
"""

import hashlib
import hmac
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from everymode.clients.gate import discrete_gaussian
from everymode.clients.gate.mechanism import ReleaseContext
from everymode.clients.protocol.messages import EncodeData, Task, Tensors, to_json
from everymode.clients.protocol.noise import Noise, Sensitivity
from everymode.clients.protocol.plan import parse_plan
from everymode.clients.protocol.sensitivity import sensitivity
from everymode.clients.protocol.sums import SiteSums
from everymode.clients.site import Site
from everymode.wgan.errors import StateError
from everymode.wgan.files import write_bytes

NAME = "discrete Gaussian"

NO_ROWS = "no rows"
"""Name of the statement on an answer that holds nothing of any row."""

SECRET = "noise.key"
"""File in a site's workspace with its secret."""


@dataclass(frozen=True)
class SumNoise:
    """One site's share of the noise of one answer.

    Attributes:
        noise: What the question asks for; None: the answer holds nothing of any row.
        sensitivity: By how much one row moves the sum.
        key: From which the noise is drawn, 32 bytes.
        question: Digest of the question, which tells it from all others.
    """

    noise: Noise | None
    sensitivity: Sensitivity
    key: bytes
    question: str

    def add(self, sums: SiteSums) -> SiteSums:
        """The sums with the noise on every entry that rows move."""
        if self.noise is None:
            return sums
        draw, bound = discrete_gaussian.Stream(self.key), self.sensitivity
        parts = [
            discrete_gaussian.sample(parameter, portion.entries, draw)
            for portion, parameter in zip(bound.portions, bound.parameters(self.noise), strict=True)
        ]
        drawn = np.concatenate([np.zeros(0, dtype=np.int64), *parts])
        vector, start, used = sums.vector.copy(), 0, 0
        for field in sums.layout.fields:
            part = slice(start, start + field.size)
            start += field.size
            if field.name in bound.fields:
                own = drawn[used : used + field.size]
                vector[part] += own << (field.bits - bound.bits)
                used += field.size
        if used != len(drawn):
            raise ValueError(f"noise for {len(drawn)} entries, and the answer has {used} of them")
        return replace(sums, vector=vector)

    def statement(self) -> Mapping[str, str | int | float | bool]:
        """What it does, for the ledgers; it says nothing of the table."""
        if self.noise is None:
            return {"name": NO_ROWS}
        noise, bound = self.noise, self.sensitivity
        return {
            "name": NAME,
            "question": self.question,
            "sensitivity": bound.l2,
            "why": bound.explain(noise),
            "entries": bound.entries,
            "deviation": bound.deviation(noise),
            "site_deviation": bound.site_deviation(noise),
            "adders": noise.adders,
            "rho": bound.charged(noise),
            "site_rho": bound.charged_at_site(noise),
        }


def build_noise(
    order: Task, tensors: Tensors, context: ReleaseContext, site: Site
) -> SumNoise | None:
    """What is added to the answer to a question; None: nothing.

    Raises:
        StateError: The site's secret cannot be read or written.
    """
    if isinstance(order, EncodeData):
        none = Sensitivity((), (), 0, "")
        return SumNoise(None, none, b"", "") if order.noised else None
    noise: Noise | None = getattr(order, "noise", None)
    if noise is None:
        return None
    plan = getattr(order, "plan", None)
    conditions = parse_plan(str(site.plan(plan)["order"])).conditions if plan else None
    question = digest_question(order, tensors)
    asked = json.dumps([context.scope, context.task, context.round, question])
    key = hmac.new(read_secret(site.workspace), asked.encode(), hashlib.sha256).digest()
    return SumNoise(noise, sensitivity(order, conditions), key, question)


def digest_question(order: Task, tensors: Tensors) -> str:
    """SHA-256, in hexadecimal, of all that a question says to every site."""
    digest = hashlib.sha256(to_json(order).encode())
    for name in sorted(tensors):
        digest.update(name.encode() + b"\0" + np.ascontiguousarray(tensors[name]).tobytes())
    return digest.hexdigest()


def read_secret(workspace: Path) -> bytes:
    """A site's secret of 32 bytes; drawn from the system's entropy where there is none yet.

    Raises:
        StateError: It cannot be read or written, or is not what a site wrote.
    """
    path = workspace / SECRET
    try:
        secret = path.read_bytes()
    except FileNotFoundError:
        secret = os.urandom(32)
        write_secret(workspace, secret)
    except OSError as error:
        raise StateError(f"cannot read {path}: {error.strerror or error}") from error
    if len(secret) != 32:
        raise StateError(
            f"{path}: holds {len(secret)} bytes, and a secret has 32; put it back as it was: with "
            "another one, noise on a question that was answered already could be averaged away"
        )
    return secret


def write_secret(workspace: Path, secret: bytes) -> None:
    """Gives a site its secret, for its user's eyes only."""
    write_bytes(workspace / SECRET, secret, private=True)

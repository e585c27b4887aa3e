"""All that a request must pass before a site answers it."""

from dataclasses import dataclass, field

from everymode.clients.gate import held, sizes
from everymode.clients.gate.contents import check_contents
from everymode.clients.gate.inputs import (
    check_arrays,
    compute_request_digest,
    digest_for,
    own_shapes,
    shared_shapes,
)
from everymode.clients.gate.ledger import Question, build_question, describe_table, enter
from everymode.clients.gate.permission import check_permission
from everymode.clients.gate.planned import check_plan
from everymode.clients.protocol.messages import (
    CountBatchRows,
    EncodeData,
    Request,
    Task,
    Train,
    to_json,
)
from everymode.clients.protocol.plan import fingerprint
from everymode.clients.protocol.refusal import RefusedError, checked_identity, named, readable
from everymode.clients.rows import opened
from everymode.clients.site import Site


def plan_named(order: Task) -> str | None:
    """The plan that an order builds on; None before there is one."""
    return order.train.plan if isinstance(order, CountBatchRows) else getattr(order, "plan", None)


@dataclass
class Admission:
    """A request that a node may answer for its sites, each of which has its own say.

    Attributes:
        request: What is asked.
        text: Its order's JSON.
        shared: Digest of all that its sites have in common.
    """

    request: Request
    text: str
    shared: bytes
    _agreed: bool = field(default=False)

    @staticmethod
    def of(request: Request, sites: tuple[Site, ...]) -> "Admission":
        """Checks what does not depend on the site, once for all that a node serves.

        Raises:
            RefusedError: With the sites that refuse.
            NumericalError: An array is not finite.
        """
        names = tuple(site.name for site in sites)
        order = request.order
        try:
            checked_identity(request.run, "the run's name")
            if (plan := plan_named(order)) is not None:
                checked_identity(plan, "the plan's name")
            if len(set(names)) < len(names):
                raise RefusedError("one site twice: its rows would count twice")
            if strangers := set(request.per_site) - set(names):
                raise RefusedError(f"arrays for {len(strangers)} sites that are not asked")
            sizes.check_order(order)
            check_contents(order)
            with readable(f"'{order.order}'"):
                sizes.check_layout(order)
            check_arrays(request.tensors, shared_shapes(order), f"'{order.order}'")
        except RefusedError as error:
            raise RefusedError(named(error.problems, names)) from None
        return Admission(
            request, to_json(order), compute_request_digest(order, request.tensors, names)
        )

    def admit(self, site: Site) -> None:
        """Checks what depends on the site, and writes the question down.

        Raises:
            RefusedError: With its name.
            NumericalError: An array is not finite.
            StateError: The site was never prepared, or its disk takes nothing.
        """
        try:
            self._admit(site)
        except RefusedError as error:
            raise RefusedError(named(error.problems, [site.name])) from None

    def _admit(self, site: Site) -> None:
        request, order = self.request, self.request.order
        own = request.per_site.get(site.name, {})
        check_arrays(own, own_shapes(order), f"'{order.order}'")
        check_permission(order, plan_named(order), request.run, site, announced=request.announced)
        if (plan := plan_named(order)) is not None:
            self._planned(site, order, plan)
        else:
            held.check_question(order, self.text, site, request.run)
        digest = digest_for(site.name, self.shared, request)
        question = build_question(order, request.run, digest, site)
        new = enter(site, question)
        if isinstance(order, EncodeData):
            # What comes after a plan is held to the table that was encoded for it.
            enter(site, Question(fingerprint(order), "prepared", 0, digest, describe_table(site)))
        if question.kind in held.KEPT and (
            new or held.kept(site, request.run, question.kind) is None
        ):
            held.keep(site, request.run, question.kind, self.text)

    def _planned(self, site: Site, order: Task, plan: str) -> None:
        train = order.train if isinstance(order, CountBatchRows) else order
        stamp = site.stamp(plan)
        if not stamp:
            # Says that it was never prepared.
            site.plan(plan)
        if isinstance(train, Train) and train.minimum < site.floor:
            raise RefusedError(
                f"steps of {train.minimum} rows (train.site_minimum) are fewer than the "
                f"{site.floor} of this site's floor; write at least that many"
            )
        if not self._agreed:
            device = train.device if isinstance(train, Train) else "cpu"
            text, _ = opened(site, plan, stamp, device)
            check_plan(order, text, self.request.tensors)
            self._agreed = True

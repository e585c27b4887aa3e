"""What server and sites say to each other, fixed before it is said.

- `messages`, `schema_messages`: every request, with the layout of its answer.
- `sums`: additive vectors with named fields, as exact integers.
- `sketch`: sums that a vocabulary is read from.
- `plan`: what was agreed on before training.
- `wire`: Flower's messages.
"""

from typing import TYPE_CHECKING

from everymode.wgan.lazy import lazy_exports

if TYPE_CHECKING:
    from everymode.clients.protocol.messages import (
        CountBatchRows,
        CountLeaves,
        CountMarginals,
        CountNeighbours,
        EncodeData,
        HeldOutFeatureSums,
        Matched,
        Request,
        SiteStatistics,
        SumMoments,
        Task,
        Tensors,
        Train,
        from_json,
        to_json,
    )
    from everymode.clients.protocol.plan import (
        STATISTICS_BINS,
        STATISTICS_EDGES,
        Plan,
        derive_seed,
        fingerprint,
        parse_plan,
        resident,
        widths,
    )
    from everymode.clients.protocol.refusal import RefusedError, checked_identity, named, readable
    from everymode.clients.protocol.schema_messages import (
        CollectVocabulary,
        CountHistograms,
        DescribeColumns,
        HeldOut,
        KMeansStep,
    )
    from everymode.clients.protocol.simulation_paths import SimulationPaths
    from everymode.clients.protocol.sketch import (
        BINS,
        BYTES,
        CAPACITY,
        HIGHEST,
        frequent,
        log_bin,
        log_edges,
        peel,
        vote,
    )
    from everymode.clients.protocol.sums import (
        LARGEST,
        Field,
        Floats,
        Layout,
        ReplyError,
        SitePayload,
        SiteSums,
    )
    from everymode.clients.protocol.wire import (
        ORDER,
        pack_problems,
        pack_request,
        pack_sums,
        unpack_reply,
        unpack_request,
    )
else:
    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "everymode.clients.protocol.messages": (
                "CountBatchRows",
                "CountLeaves",
                "CountMarginals",
                "CountNeighbours",
                "EncodeData",
                "HeldOutFeatureSums",
                "Matched",
                "Request",
                "SiteStatistics",
                "SumMoments",
                "Task",
                "Tensors",
                "Train",
                "from_json",
                "to_json",
            ),
            "everymode.clients.protocol.plan": (
                "STATISTICS_BINS",
                "STATISTICS_EDGES",
                "Plan",
                "derive_seed",
                "fingerprint",
                "parse_plan",
                "resident",
                "widths",
            ),
            "everymode.clients.protocol.refusal": (
                "RefusedError",
                "checked_identity",
                "named",
                "readable",
            ),
            "everymode.clients.protocol.schema_messages": (
                "CollectVocabulary",
                "CountHistograms",
                "DescribeColumns",
                "HeldOut",
                "KMeansStep",
            ),
            "everymode.clients.protocol.simulation_paths": ("SimulationPaths",),
            "everymode.clients.protocol.sketch": (
                "BINS",
                "BYTES",
                "CAPACITY",
                "HIGHEST",
                "frequent",
                "log_bin",
                "log_edges",
                "peel",
                "vote",
            ),
            "everymode.clients.protocol.sums": (
                "LARGEST",
                "Field",
                "Floats",
                "Layout",
                "ReplyError",
                "SitePayload",
                "SiteSums",
            ),
            "everymode.clients.protocol.wire": (
                "ORDER",
                "pack_problems",
                "pack_request",
                "pack_sums",
                "unpack_reply",
                "unpack_request",
            ),
        },
    )

__all__ = [
    "BINS",
    "BYTES",
    "CAPACITY",
    "HIGHEST",
    "LARGEST",
    "ORDER",
    "STATISTICS_BINS",
    "STATISTICS_EDGES",
    "CollectVocabulary",
    "CountBatchRows",
    "CountHistograms",
    "CountLeaves",
    "CountMarginals",
    "CountNeighbours",
    "DescribeColumns",
    "EncodeData",
    "Field",
    "Floats",
    "HeldOut",
    "HeldOutFeatureSums",
    "KMeansStep",
    "Layout",
    "Matched",
    "Plan",
    "RefusedError",
    "ReplyError",
    "Request",
    "SimulationPaths",
    "SitePayload",
    "SiteStatistics",
    "SiteSums",
    "SumMoments",
    "Task",
    "Tensors",
    "Train",
    "checked_identity",
    "derive_seed",
    "fingerprint",
    "frequent",
    "from_json",
    "log_bin",
    "log_edges",
    "named",
    "pack_problems",
    "pack_request",
    "pack_sums",
    "parse_plan",
    "peel",
    "readable",
    "resident",
    "to_json",
    "unpack_reply",
    "unpack_request",
    "vote",
    "widths",
]

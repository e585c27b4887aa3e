"""What is known of a reply is held against it: honest ones pass, a liar is named and not added."""

import contextlib
from functools import reduce
from operator import add

import numpy as np
import pytest

from everymode.clients.protocol.messages import (
    CountBatchRows,
    CountLeaves,
    CountMarginals,
    CountNeighbours,
    EncodeData,
    HeldOutFeatureSums,
    SiteStatistics,
    SumMoments,
    Train,
)
from everymode.clients.protocol.schema_messages import (
    CollectVocabulary,
    CountHistograms,
    DescribeColumns,
    KMeansStep,
)
from everymode.clients.protocol.sums import ReplyError, SiteSums
from everymode.clients.tasks.dispatch import served
from everymode.fairness.matching.moments import MINIMUM
from everymode.server.outputs.run_directory import RunFolder
from everymode.server.replies.outliers import FAR, outliers
from everymode.server.replies.replies import Checker, Source
from everymode.server.session import Interrupted, Session
from everymode.server.simulated_sites import create_simulated_sites
from everymode.server.transport.exchange import ExchangeError, InProcess
from everymode.wgan.errors import NumericalError

VARIANTS = {
    "moments": {
        "data": {"sensitive": ["group", "sex"]},
        "model": {"marginals": True, "projection": False, "trees": 2},
        "train": {"exact_batch": True, "evaluate_every": 1},
    },
    "kernel": {"model": {"matching_by": "kernel"}, "data": {"clusters": 2, "held_out": 0.2}},
    "sliced": {
        "model": {"matching_by": "sliced"},
        "data": {"held_out": 0.2},
        "groups": {"weights": "minimax", "minimax_every": 1},
    },
    "apart": {"federation": {"weights": "afl"}},
    "own": {"strategy": "md_gan"},
    "robust": {"federation": {"aggregation": "median", "hostile_sites": 1}},
    "sampled": {"federation": {"sites_per_round": 2}},
}


class Recording(InProcess):
    """Keeps every request with what each site sent."""

    def __call__(self, request):
        asked = [s for s in self.sites if request.sites is None or s.name in request.sites]
        own = {site.name: served(request, site) for site in asked}
        self.__dict__.setdefault("kept", []).append((request.order, own))
        return reduce(add, own.values())


def session(kit, table, folder, exchange=InProcess, told=None, stop=lambda: False, **changes):
    """A run whose exchange says what it tells of replies, or records them."""
    data = {"path": str(table), "sensitive": ["group"], "target": "outcome"}
    changes["data"] = data | changes.get("data", {})
    settings = kit.tiny(table, **changes)
    run = RunFolder(folder)
    run.create(settings)
    stage = create_simulated_sites(settings, run.sites)
    carried = exchange(stage.sites, tell=(told if told is not None else []).append)
    with contextlib.suppress(Interrupted):
        Session(settings=settings, folder=run, exchange=carried, columns=stage.columns, stop=stop)()
    return carried


def test_a_table_of_small_groups_alone_is_answered_honestly(kit, tmp_path):
    # No group has a row in second moments, and shares are of all of them together.
    table = tmp_path / "people.csv"
    frame = kit.people(90)
    assert frame["group"].value_counts().max() < MINIMUM < len(frame)
    frame.to_csv(table, index=False)
    told = []
    session(
        kit,
        table,
        tmp_path / "run",
        told=told,
        data={"sensitive": ["group"], "target": None},
        model={"marginals": True, "projection": False},
        train={"rounds": 1},
    )
    assert (tmp_path / "run" / "synthetic.csv").exists() and not told


@pytest.fixture(scope="module")
def recorded(kit, tmp_path_factory):
    """What sites sent in runs of every kind: `(order, {site: sums})` by variant."""
    folder = tmp_path_factory.mktemp("recorded")
    kit.people(200).to_csv(folder / "people.csv", index=False)
    found = {}
    for name, changes in VARIANTS.items():
        # One run goes to its end, where the finished table is counted.
        stop = (lambda: False) if name == "moments" else kit.stop_after(2)
        path = folder / "people.csv"
        found[name] = session(kit, path, folder / name, Recording, stop=stop, **changes).kept
    return found


def replayed(kept, together, exact=True, lie=None, order=None):
    """Hands recorded replies to a checker; `lie` changes those of the first site to `order`."""
    checker = Checker(exact=exact)
    for asked, own in kept:
        names = sorted(own)
        collector = checker.open(asked)
        lying = lie is not None and isinstance(asked, order)
        if lying:
            own = own | {names[0]: changed(own[names[0]], lie)}
        if together:
            collector.take(Source(tuple(names), 3), reduce(add, [own[n] for n in names]))
        else:
            for name in names:
                collector.take(Source((name,)), own[name])
        if lying:
            return
        collector.close()
    assert lie is None, "the lie was never told"


def changed(sums, lie):
    vector = sums.vector.copy()
    per_site = {s: {n: a.copy() for n, a in own.items()} for s, own in sums.per_site.items()}
    copy = SiteSums(sums.layout, vector, per_site)
    return lie(copy) or copy


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("together", [False, True], ids=["sites", "a node of all"])
@pytest.mark.parametrize("name", VARIANTS)
def test_what_honest_sites_send_is_taken_in_every_kind_of_run(name, together, exact, recorded):
    replayed(recorded[name], together, exact)


def test_every_order_is_among_what_is_recorded(recorded):
    asked = {type(order) for kept in recorded.values() for order, _ in kept}
    expected = {
        DescribeColumns,
        CollectVocabulary,
        CountHistograms,
        KMeansStep,
        EncodeData,
        SumMoments,
        SiteStatistics,
        HeldOutFeatureSums,
        Train,
        CountBatchRows,
    }
    expected |= {CountLeaves, CountMarginals, CountNeighbours}
    assert asked == expected


def plus(name, value, index=0):
    """Adds to one entry of a field: whole numbers as units, others as what they stand for."""

    def lie(sums):
        found = first(sums, name)
        entries = sums.units(found).reshape(-1)
        entries[index] += value if isinstance(value, int) else round(value * 2 ** bits(sums, found))

    return lie


def first(sums, pattern):
    """The first field of a name, or of a kind that has any entry."""
    wanted = (f.name for f in sums.layout.fields if f.size)
    kind = pattern.removesuffix("*")
    return next(n for n in wanted if n == pattern or (kind != pattern and n.startswith(kind)))


def bits(sums, name):
    return next(f.bits for f in sums.layout.fields if f.name == name)


def moved(name, first, second, value):
    """Moves a count from one place to another: their sum stays."""

    def lie(sums):
        plus(name, value, first)(sums)
        plus(name, -value, second)(sums)

    return lie


def times(factor):
    """A site that says of everything that there is more of it."""

    def lie(sums):
        sums.vector[:] *= factor

    return lie


def letter(name, change):
    def lie(sums):
        change(next(iter(sums.per_site.values()))[name])

    return lie


def unlettered(sums):
    return SiteSums(sums.layout, sums.vector, {})


def put(value):
    def change(array):
        array.reshape(-1)[0] = value

    return change


MILLION = 10**6
LIES = {
    "look: a cell more": ("moments", DescribeColumns, plus("cells.0", 1, 1)),
    "look: a missing cell less": ("moments", DescribeColumns, plus("cells.0", 1, 0)),
    "look: more numbers than cells": ("moments", DescribeColumns, plus("cells.0", MILLION, 200)),
    "look: two ranges of a site": ("moments", DescribeColumns, plus("magnitude.0", 2)),
    "look: more values than cells": ("moments", DescribeColumns, plus("distinct.0", MILLION)),
    "look: negative rows": ("moments", DescribeColumns, plus("rows", -MILLION)),
    "look: rows without end": ("moments", DescribeColumns, plus("rows", 2**41)),
    "values: a negative bin": ("moments", CollectVocabulary, plus("histogram.*", -MILLION, 5000)),
    "values: a bin more": ("moments", CollectVocabulary, plus("histogram.*", 1, 5000)),
    "values: a vote more": ("moments", CollectVocabulary, plus("vote.*", 1)),
    "values: a bit without rows": ("moments", CollectVocabulary, plus("vote.*", 1000, 3)),
    "values: a value more": ("moments", CollectVocabulary, plus("sketch.*", 1)),
    "values: bytes of no value": ("moments", CollectVocabulary, plus("sketch.*", 2**61, 1)),
    "values: twice of all": ("moments", CollectVocabulary, times(2)),
    "ranks: a cell of a million": ("moments", CountHistograms, plus("cells", MILLION)),
    "ranks: a cell of 2^61": ("moments", CountHistograms, plus("cells", 2**61)),
    "ranks: a negative cell": ("moments", CountHistograms, plus("cells", -MILLION)),
    "ranks: another group's cell": ("moments", CountHistograms, moved("cells", 0, 2, 20)),
    "ranks: a category more": ("moments", CountHistograms, plus("categories.*", 400)),
    "ranks: a point mass more": ("moments", CountHistograms, plus("atoms.*", 1)),
    "ranks: a fine bin more": ("moments", CountHistograms, plus("bins.*", 1)),
    "ranks: a fine bin less": ("moments", CountHistograms, lambda s: largest_minus(s, "bins.*")),
    "cluster: a row more": ("kernel", KMeansStep, plus("counts", 1)),
    "cluster: far from all codes": ("kernel", KMeansStep, plus("squares", 1e4)),
    "cluster: farther than squares allow": ("kernel", KMeansStep, plus("sums", 1e4)),
    "prepare: a row more": ("moments", EncodeData, plus("rows", 1)),
    "prepare: more weight": ("moments", EncodeData, plus("weight", 0.01)),
    "prepare: less weight": ("moments", EncodeData, plus("weight", -0.01)),
    "prepare: two sites": ("moments", EncodeData, plus("sites", 1)),
    "prepare: two of a group": ("moments", EncodeData, plus("group_sites", 1)),
    "prepare: two take part": ("moments", EncodeData, plus("taking", 1)),
    "prepare: a count more": ("moments", EncodeData, plus("counts", 1, 5)),
    "prepare: a count of a million": ("moments", EncodeData, plus("counts", MILLION, 5)),
    "prepare: a mean of a number": ("moments", EncodeData, plus("marginals", 0.01)),
    "moments: larger squares": ("moments", SumMoments, plus("moments", 50.0)),
    "moments: negative squares": ("moments", SumMoments, plus("moments", -50.0)),
    "moments: larger products": ("moments", SumMoments, plus("moments", 2.0, 1)),
    "moments: twice of all": ("moments", SumMoments, lambda s: scaled(s, "moments", 2)),
    "moments: half of all": ("moments", SumMoments, lambda s: scaled(s, "moments", 0.5)),
    "prepare: twice the marginals": ("moments", EncodeData, lambda s: scaled(s, "marginals", 2)),
    "prepare: a larger share": ("moments", EncodeData, plus("marginals", 0.2, 3)),
    "prepare: larger features": ("kernel", EncodeData, plus("description", 1.0)),
    "prepare: a bin of a direction more": ("sliced", EncodeData, plus("description", 0.1)),
    "profile: no payloads": ("apart", SiteStatistics, unlettered),
    "profile: negative cells": ("apart", SiteStatistics, letter("cells", put(-1.0))),
    "profile: half a row": ("apart", SiteStatistics, letter("cells", put(0.5))),
    "profile: more cells than rows": ("apart", SiteStatistics, letter("cells", put(1e6))),
    "profile: a column of other rows": ("apart", SiteStatistics, letter("bins", put(1e6))),
    "feel: more held out than rows": ("sliced", HeldOutFeatureSums, plus("held", MILLION)),
    "feel: larger features than rows": ("sliced", HeldOutFeatureSums, plus("features", 1e4)),
    "train: two sites": ("moments", Train, plus("sites", 1)),
    "train: more weight": ("moments", Train, plus("weight", 0.5)),
    "train: less weight": ("moments", Train, plus("weight", -0.01)),
    "train: more weight than rows held out leave": ("sliced", Train, plus("weight", 0.9)),
    "train: a million rows": ("moments", Train, plus("estimated", MILLION)),
    "train: an update beyond all range": ("moments", Train, plus("critic", 2**62)),
    "train: an update that leaves the others no range": ("moments", Train, plus("critic", 2**61)),
    "train: a share of its own": ("robust", Train, letter("share", put(0.9))),
    "train: a negative share": ("robust", Train, letter("share", put(-0.1))),
    "train: negative slopes": ("moments", Train, plus("slopes", -0.5)),
    "train: more slopes than weight": ("moments", Train, plus("slopes", 0.5)),
    "train: more scores than weight": ("moments", Train, plus("scored", 0.5)),
    "train: a negative risk": ("apart", Train, letter("risk", put(-1.0))),
    "train: a risk beyond all": ("apart", Train, letter("risk", put(1e9))),
    "train: no payloads, apart": ("apart", Train, unlettered),
    "train: more weight where all are alike": ("apart", Train, plus("weight", 0.1)),
    "train: negative steps": ("own", Train, letter("seen", put(-5.0))),
    "measure: fewer rows for more": ("moments", CountBatchRows, plus("rows", MILLION)),
    "measure: rows without end": ("moments", CountBatchRows, lambda s: scaled(s, "rows", 1000)),
    "audit: a bin more": ("moments", CountMarginals, plus("age", 1)),
    "audit: a million in every column": (
        "moments",
        CountMarginals,
        lambda s: everywhere(s, MILLION),
    ),
    "leaves: a row more": ("moments", CountLeaves, plus("counts", 1)),
    "leaves: a row less than none": ("moments", CountLeaves, plus("counts", -MILLION)),
    "recall: more recalled than rows": ("moments", CountNeighbours, plus("recalled", MILLION)),
    "recall: more outside than rows": ("moments", CountNeighbours, plus("outside", MILLION)),
    "recall: a cell more": ("moments", CountNeighbours, plus("cells", 1)),
    "recall: a million rows": ("moments", CountNeighbours, plus("rows", MILLION)),
}


def largest_minus(sums, pattern):
    entries = sums.units(first(sums, pattern))
    entries[entries.argmax()] -= 1


def scaled(sums, name, factor):
    found = sums.units(name)
    found[...] = np.rint(found * factor).astype(np.int64)


def everywhere(sums, value):
    for entry in sums.layout.fields:
        sums.units(entry.name)[0, 0] += value


@pytest.mark.parametrize("name", LIES)
def test_a_lie_is_refused(name, recorded):
    variant, order, lie = LIES[name]
    with pytest.raises(ReplyError):
        replayed(recorded[variant], together=False, lie=lie, order=order)


def test_rows_that_no_column_has_are_refused_with_the_first_reply(recorded):
    asked, own = recorded["moments"][0]
    assert isinstance(asked, DescribeColumns)
    first = sorted(own)[0]
    lie = changed(own[first], plus("rows", 2 * MILLION))
    with pytest.raises(ReplyError, match=r"cells of column 'age' are not as many as the rows"):
        Checker().open(asked).take(Source((first,)), lie)
    Checker().open(asked).take(Source((first,)), own[first])


def test_weights_that_together_make_more_than_a_whole_are_refused_when_a_run_is_resumed(recorded):
    # Nothing is known of sites then, and each may have any rows.
    asked, own = next(k for k in recorded["moments"] if isinstance(k[0], EncodeData))
    for name, lie in (("honest", None), ("liar", plus("weight", 0.2))):
        collector = Checker().open(asked)
        for i, site in enumerate(sorted(own)):
            sums = changed(own[site], lie) if lie and i == 0 else own[site]
            collector.take(Source((site,)), sums)
        if name == "honest":
            collector.close()
        else:
            with pytest.raises(ReplyError, match=r"all sites together make 1\.2"):
                collector.close()


@pytest.mark.parametrize("exact", [True, False])
def test_counts_that_a_site_left_out_are_taken_only_where_sites_may(exact, recorded):
    def without(sums):
        cells = sums.units("cells")
        for entry in sums.layout.fields:
            if entry.name.startswith("bins."):
                found = sums.units(entry.name)
                found[found < 2] = 0
        cells[cells < 2] = 0

    kept = recorded["moments"]
    if exact:
        with pytest.raises(ReplyError, match="rows only"):
            replayed(kept, False, exact, without, CountHistograms)
    else:
        replayed(kept, False, exact, without, CountHistograms)


def test_a_reply_that_comes_again_in_another_round_is_refused(recorded):
    (first, own), (second, _) = (k for k in recorded["robust"] if isinstance(k[0], Train))
    checker, source = Checker(), Source(("site-00",))
    checker.open(first).take(source, own["site-00"])
    # The same round may be asked again, and another site may answer this one.
    checker.open(first).take(source, own["site-00"])
    checker.open(second).take(Source(("site-01",)), own["site-01"])
    with pytest.raises(ReplyError, match=f"is that of round {first.round}, sent again"):
        checker.open(second).take(source, own["site-00"])


def test_a_site_that_claims_most_rows_is_named_before_training(recorded):
    asked, own = next(k for k in recorded["moments"] if isinstance(k[0], CountHistograms))
    rows = {name: int(sums.units("cells").sum()) for name, sums in own.items()}
    largest = max(rows, key=lambda name: rows[name])
    share = rows[largest] / sum(rows.values())
    for limit, together in ((share - 1e-6, False), (share, False), (0.1, True)):
        collector = Checker(largest_share=limit).open(asked)
        if together:
            # Of a node's sum nobody can say whose rows they are.
            collector.take(Source(tuple(sorted(own)), 1), reduce(add, own.values()))
        else:
            for name, sums in own.items():
                collector.take(Source((name,)), sums)
        if limit < share and not together:
            expected = (
                f"^site '{largest}': it counts {rows[largest]:,} of .*federation.largest_share"
            )
            with pytest.raises(ReplyError, match=expected) as caught:
                collector.close()
            assert len(caught.value.problems) == 1
        else:
            collector.close()


def lying(monkeypatch, order, lie, name="site-01"):
    """One site lies in every reply to an order."""
    from everymode.clients.tasks import dispatch

    honest = dispatch.handle_at_site

    def answer(asked, tensors, site, *others):
        sums = honest(asked, tensors, site, *others)
        return changed(sums, lie) if isinstance(asked, order) and site.name == name else sums

    monkeypatch.setattr(dispatch, "handle_at_site", answer)


@pytest.mark.parametrize(
    ("order", "lie", "expected"),
    [
        # Each was measured: worst coverage fell from .93 to .26; the server hung over six million
        # edges; two million rows were written.
        (
            CountHistograms,
            plus("cells", MILLION),
            r"^site 'site-01': .*'cells' add up to 1,000,\d+ rows",
        ),
        (
            CollectVocabulary,
            plus("histogram.*", -MILLION, 5000),
            r"^site 'site-01': .*negative count",
        ),
        (DescribeColumns, plus("rows", 2 * MILLION), r"^site 'site-01': .*the rows \(2,000,\d+\)"),
    ],
    ids=["a cell of a million", "a negative histogram", "two million rows"],
)
def test_the_attacks_that_were_measured_end_the_run_by_name(
    order, lie, expected, kit, table, tmp_path, monkeypatch
):
    lying(monkeypatch, order, lie)
    with pytest.raises(ExchangeError, match=expected):
        session(kit, table, tmp_path / "run")


def test_all_sites_that_lie_are_named(kit, table, tmp_path, monkeypatch):
    lying(monkeypatch, CountHistograms, plus("cells", MILLION))
    lying(monkeypatch, CountHistograms, plus("cells", -MILLION), "site-02")
    with pytest.raises(ExchangeError) as caught:
        session(kit, table, tmp_path / "run")
    assert {p.split(":")[0] for p in caught.value.problems} == {"site 'site-01'", "site 'site-02'"}


def test_an_update_out_of_line_is_told_with_its_site(kit, table, tmp_path, monkeypatch):
    lying(monkeypatch, Train, lambda s: scaled(s, "critic", 1000))
    told: list[str] = []
    session(kit, table, tmp_path / "run", told=told, stop=kit.stop_after(1))
    assert told and all("site 'site-01': its update of 'critic' in round 1" in t for t in told)


def test_honest_sites_are_not_told_of(kit, table, tmp_path):
    # The control of the test above, over sites as unlike as they come.
    told: list[str] = []
    split = {"sites": 6, "alpha": 0.05}
    session(kit, table, tmp_path / "run", told=told, stop=kit.stop_after(3), split=split)
    assert told == []


def test_divergence_that_a_reply_caused_names_its_site(kit, table, tmp_path, monkeypatch):
    lying(monkeypatch, Train, lambda s: scaled(s, "critic", 1e7))
    with pytest.raises(NumericalError, match="site 'site-01': its update of 'critic' in round 1"):
        session(kit, table, tmp_path / "run")


def test_outliers_are_held_against_the_others():
    assert list(outliers({"critic": {"a": 1.0, "b": 1.1, "c": 0.9}})) == []
    assert [who for who, *_ in outliers({"critic": {"a": 1.0, "b": 2 * FAR}})] == ["b"]
    two = {"critic": {"a": 1.0, "b": 1e9, "c": 1.0, "d": 1e6}}
    assert [who for who, *_ in outliers(two)] == ["b", "d"]
    # Second moments are squares, and of one site alone nothing can be said.
    assert list(outliers({"critic_second": {"a": 1.0, "b": FAR**1.9}})) == []
    assert list(outliers({"critic": {"a": 1e9}})) == []


def test_a_message_names_no_more_sites_than_can_be_read():
    assert str(Source(("b",))) == "site 'b'" and str(Source((), 7)) == "node 7"
    many = Source(tuple(f"s{i}" for i in range(40)))
    assert str(many) == "sites 's0', 's1', 's2', 's3', 's4' and 35 more"

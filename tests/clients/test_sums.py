"""What leaves a site: exact, order-free, and loud where a number does not fit."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from everymode.clients.protocol.sums import LARGEST, Field, Layout, SiteSums
from everymode.wgan.errors import NumericalError

LAYOUT = Layout((Field("rows", (1,)), Field("update", (2, 2), bits=40), Field("loss", (), bits=20)))


def packed(rows, update, loss=0.0):
    return LAYOUT.pack({"rows": [rows], "update": np.reshape(update, (2, 2)), "loss": loss})


finite = st.floats(-1e5, 1e5, allow_nan=False)
sites = st.tuples(st.integers(0, 10**9), st.lists(finite, min_size=4, max_size=4), finite)


@given(st.lists(sites, min_size=1, max_size=12), st.randoms(use_true_random=False))
def test_the_total_does_not_depend_on_order_or_grouping(answers, random):
    sums = [packed(*answer) for answer in answers]
    total = sum(sums, LAYOUT.zero())
    left = list(sums)
    # Any tree of additions: two of those left, picked at random, become one.
    while len(left) > 1:
        random.shuffle(left)
        left.append(left.pop() + left.pop())
    np.testing.assert_array_equal(left[0].vector, total.vector)
    assert total.units("rows")[0] == sum(answer[0] for answer in answers)


def test_floats_in_the_same_place_do_depend_on_order():
    # The control of the test above: what integers buy.
    assert (0.1 + 0.2) + 0.3 != 0.1 + (0.2 + 0.3)
    a, b, c = (packed(0, [x] * 4) for x in (0.1, 0.2, 0.3))
    np.testing.assert_array_equal(((a + b) + c).vector, (a + (b + c)).vector)


@given(st.lists(st.lists(finite, min_size=4, max_size=4), min_size=1, max_size=8))
def test_rounding_stays_within_half_a_unit_a_site(updates):
    total = sum((packed(1, update) for update in updates), LAYOUT.zero())
    # Read as integers: a float64 holds fewer digits than the total.
    for i, units in enumerate(total.units("update").reshape(-1)):
        exact = sum(Fraction(update[i]) for update in updates)
        assert abs(Fraction(int(units), 2**40) - exact) <= Fraction(len(updates), 2**41)


@given(st.lists(st.integers(-(2**61), 2**61), min_size=4, max_size=4))
def test_counts_are_exact_beyond_what_a_float_holds(counts):
    layout = Layout((Field("n", (4,)),))
    np.testing.assert_array_equal(layout.pack({"n": np.array(counts)}).units("n"), counts)


def test_integers_and_floats_of_one_value_give_the_same_units():
    layout = Layout((Field("x", (2,), bits=10),))
    whole, real = (layout.pack({"x": np.array([3, -5], t)}) for t in (np.int64, np.float32))
    np.testing.assert_array_equal(whole.vector, real.vector)
    assert whole.vector.tolist() == [3 << 10, -5 << 10]


def test_fields_come_back_by_name_and_in_shape():
    total = packed(3, [1, 2, 3, 4.5], -0.25) + packed(4, [0, 0, 0, 0.5], 1)
    assert (LAYOUT.size, len(total.vector)) == (6, 6)
    assert total["update"].tolist() == [[1, 2], [3, 5]]
    assert total["loss"].shape == () and float(total["loss"]) == 0.75
    with pytest.raises(KeyError, match="loses"):
        total["loses"]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_number_that_is_not_finite_names_its_field_and_what_to_do(bad):
    with pytest.raises(NumericalError, match=r"'update' is not finite.*model\.critic_rate"):
        packed(1, [0, bad, 0, 0])


@pytest.mark.parametrize("bad", [2.0**22, -(2.0**22)])
def test_a_number_out_of_range_names_its_field_and_the_range(bad):
    packed(1, [0, 0, 0, np.nextafter(bad, 0)])
    with pytest.raises(NumericalError, match=r"'update' reaches 4\.19e\+06, .*\+-4\.19e\+06"):
        packed(1, [0, 0, 0, bad])


@pytest.mark.parametrize("sign", [1, -1])
def test_a_total_out_of_range_is_an_error_and_never_a_wrapped_number(sign):
    half = packed(0, [0, 0, 0, sign * 2.0**21])
    with pytest.raises(NumericalError, match="sum of 'update' over sites exceeds its range"):
        half + half
    most = SiteSums(LAYOUT, np.full(6, sign * (int(LARGEST) - 1)))
    with pytest.raises(NumericalError, match="sum of 'rows'"):
        most + most
    # The smallest integer is its own magnitude.
    with pytest.raises(NumericalError, match="sum of 'rows'"):
        SiteSums(LAYOUT, np.full(6, np.iinfo(np.int64).min)) + LAYOUT.zero()


def test_large_integers_are_refused_before_they_wrap():
    layout = Layout((Field("n", (1,)), Field("x", (1,), bits=40)))
    with pytest.raises(NumericalError, match="'n' reaches"):
        layout.pack({"n": np.array([2**62]), "x": [0]})
    with pytest.raises(NumericalError, match="'n' reaches"):
        layout.pack({"n": np.array([2**63 + 5], np.uint64), "x": [0]})
    with pytest.raises(NumericalError, match="'x' reaches"):
        layout.pack({"n": [0], "x": np.array([2**30])})


def test_packing_wants_every_field_in_its_shape_and_no_other():
    with pytest.raises(ValueError, match="no field called lost, rose"):
        LAYOUT.pack({"rows": [1], "rose": 1, "lost": 2})
    with pytest.raises(KeyError, match="update"):
        LAYOUT.pack({"rows": [1], "loss": 0})
    with pytest.raises(ValueError, match=r"update has shape \(4,\), expected \(2, 2\)"):
        LAYOUT.pack({"rows": [1], "update": np.zeros(4), "loss": 0})


def test_sums_of_different_layouts_do_not_add():
    other = Layout((*LAYOUT.fields[:2], Field("loss", (), bits=21)))
    with pytest.raises(ValueError, match="different layouts"):
        LAYOUT.zero() + other.zero()


def test_a_wrapping_field_wraps_and_takes_int64_only():
    layout = Layout((Field("hash", (1,), wrapping=True), Field("n", (1,))))
    top = layout.pack({"hash": np.array([2**63 - 1]), "n": [1]})
    assert (top + top).units("hash").tolist() == [-2]
    with pytest.raises(ValueError, match="must be int64"):
        layout.pack({"hash": np.array([1.0]), "n": [1]})

"""Ranges, and labels that do not lie on one another."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from figures.axes import Range, layer_axis, line_labels, spread
from figures.words import cut, labels

shares = st.lists(st.floats(0, 1), max_size=12).map(sorted)


@given(shares)
def test_spread_positions_keep_their_distance_and_order(positions):
    moved = spread(positions, distance=0.05)
    assert len(moved) == len(positions)
    assert all(second - first >= 0.05 - 1e-9 for first, second in pairwise(moved))


@given(shares)
def test_positions_that_are_apart_stay(positions):
    apart = [index * 0.1 + 0.001 * position for index, position in enumerate(positions)]
    assert spread(apart, distance=0.05) == pytest.approx(apart)


@given(st.lists(st.floats(0, 1e300) | st.none(), max_size=8), st.booleans(), st.booleans())
def test_range_covers_what_can_be_drawn(values, log, zero):
    shown = Range.around(values, log=log, zero=zero)
    assert shown.low < shown.high
    for value in values:
        if value is not None:
            assert value <= shown.high
            assert shown.log or value >= shown.low
    if zero and not shown.log:
        assert shown.low <= 0


@pytest.mark.parametrize("log", [True, False])
def test_share_and_value_are_inverse(log):
    shown = Range.around([0.001, 5.0], log=log)
    for share in (0.0, 0.3, 1.0):
        assert shown.share(shown.at(share)) == pytest.approx(share)


@pytest.mark.parametrize(("low", "high"), [(0.1, 0.45), (0.2, 1.3), (1, 30), (1e-3, 2), (1e-9, 1)])
def test_logarithmic_axes_have_some_ticks_and_not_too_many(low, high):
    shown = Range.around([low, high], log=True)
    assert shown.log
    assert 3 <= len(shown.axis["values"]) <= 10


def test_values_that_differ_by_rounding_are_drawn_as_one():
    shown = Range.around([0.5, 0.5 + 1e-13])
    assert (shown.low, shown.high) == pytest.approx((0.45, 0.55))


def test_names_of_layers_stand_aslant_where_they_would_meet():
    angles = [
        layer_axis(names, width=250).to_dict()["axis"]["labelAngle"]
        for names in (["H_1", "output"], ["H_1", "H_2", "relu(H_2)", "H_3", "relu(H_3)", "output"])
    ]
    assert angles == [0, -40]


def test_layers_have_numbers_where_there_is_no_room_for_names():
    names = [f"stages.{index}.conv1" for index in range(27)]
    assert layer_axis(names, width=250).to_dict()["field"] == "position"
    assert layer_axis(names, width=720).to_dict()["field"] == "layer"


def test_lines_outside_have_no_label():
    shown = Range(0.0, 1.0, log=False)
    rows = line_labels({"in": 0.5, "near": 0.501, "out": 2.0}, shown, height=100)
    assert [(row["label"], row["y"]) for row in rows] == [("in", 0.5), ("near", 0.501)]
    assert rows[1]["label_y"] - rows[0]["label_y"] == pytest.approx(0.13)


def test_zeros_alone_and_nothing_have_a_linear_range():
    for values in ([0.0, 0.0], [], [None]):
        assert not Range.around(values, log=True).log


@given(st.lists(st.text(max_size=60), max_size=6, unique=True))
def test_labels_are_short_printable_and_all_different(names):
    made = labels(names)
    assert len(set(made)) == len(names)
    assert all(0 < len(label) <= 36 and label.isprintable() for label in made)


@given(st.text())
def test_cut_is_short_and_keeps_what_is_short(name):
    assert len(cut(name)) <= 28
    if name.isprintable() and len(name) <= 28 and name == " ".join(name.split()):
        assert cut(name) == name

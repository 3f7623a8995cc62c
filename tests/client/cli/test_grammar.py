"""A gate's conditions: what is read, what is refused, and where the refusal points."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.metrics import REGISTRY
from collapse_client.errors import BadCondition
from collapse_client.gate.aliases import ALIASES
from collapse_client.gate.grammar import Layer, Measurement, Side, parse, written


def layer_of(text: str) -> Layer:
    return parse(f"rank({text}) > 0").left.measurement.layer


@pytest.mark.parametrize(
    ("text", "layer"),
    [
        ("head.2", Layer(name="head.2")),
        ("  layer1.0.conv1 ", Layer(name="layer1.0.conv1")),
        ("relu(H_2)", Layer(name="relu(H_2)")),
        ("a b", Layer(name="a b")),
        ('"a, b"', Layer(name="a, b")),
        ("'a, \"b\"'", Layer(name='a, "b"')),
        (r'"a \"b\" \\"', Layer(name='a "b" \\')),
        ('" x "', Layer(name=" x ")),
        ('"last"', Layer(name="last")),
        ('"3"', Layer(name="3")),
        ("last", Layer(word="last")),
        ("all", Layer(word="all")),
        ("3", Layer(name="3", index=3)),
        ("#3", Layer(index=3)),
        ("#-1", Layer(index=-1)),
        ("größe/λ", Layer(name="größe/λ")),
    ],
)
def test_layers(text, layer):
    assert layer_of(text) == layer


@given(st.text(min_size=1, max_size=20))
@pytest.mark.parametrize("step", ["", ", first_step"])
def test_any_name_can_be_written(step, name):
    condition = parse(f"2*nc1({written(name)}{step}) < 0.1")
    assert condition.left.measurement.layer.name == name
    assert condition.left.measurement.layer.word is None
    assert condition.left.measurement.layer.index is None


@given(st.text(max_size=30))
def test_whatever_is_written_is_read_or_refused_in_words(text):
    try:
        condition = parse(text)
    except BadCondition:
        return
    assert condition.measurements


def test_sides():
    condition = parse(" 1e-1*NC1(last,previous_step)<=.5 ")
    assert condition.left == Side(0.1, Measurement("within_class_variability", Layer(word="last"), "previous_step"))
    assert (condition.operator, condition.right) == ("<=", Side(0.5))
    turned = parse("-3 != rank(first)")
    assert (turned.left, turned.right.measurement.metric) == (Side(-3.0), "class_mean_rank")


@pytest.mark.parametrize("sign", ["<", "<=", ">", ">=", "==", "!="])
def test_comparisons(sign):
    assert parse(f"rank(last){sign}9").operator == sign


@pytest.mark.parametrize(
    ("text", "place", "reason"),
    [
        ("", 0, "a metric"),
        ("rank", 4, "rank(last)"),
        ("rank last > 1", 5, "layer is missing"),
        ("rank() > 1", 5, "layer is missing"),
        ("rank(last > 1", 13, "closing parenthesis"),
        ("rank(last)", 10, "comparison"),
        ("rank(last) = 9", 11, "comparison"),
        ("rank(last) => 9", 11, "comparison"),
        ("rank(last) > ", 13, "a metric"),
        ("rank(last) > nan", 16, "nan(last)"),
        ("rank(last) > 1 and rank(first) > 1", 15, "should end"),
        ("rank(last, step_9) > 1", 17, "first_step"),
        ("rank(a, b) > 1", 9, "quotes"),
        ('rank("a) > 1', 5, 'no closing "'),
        ("9 * 9 > rank(last)", 4, "a metric"),
        ('__import__("os").system("x") > 1', 16, "comparison"),
    ],
)
def test_what_cannot_be_read_is_pointed_at(text, place, reason):
    with pytest.raises(BadCondition) as caught:
        parse(text)
    told, shown, mark = str(caught.value).split("\n")
    assert reason in told
    assert (shown, mark) == (f"  {text}", f"  {' ' * place}^")


@pytest.mark.parametrize(
    ("text", "reason"),
    [("1 < 2", "numbers only"), ("rank(all) > rank(any)", "all and for any")],
)
def test_what_makes_no_sense(text, reason):
    with pytest.raises(BadCondition, match=reason):
        parse(text)


def test_a_mark_stands_right_under_a_hostile_text():
    with pytest.raises(BadCondition) as caught:
        parse("rank(\x1b[2J) !")
    _, shown, mark = str(caught.value).split("\n")
    assert shown == "  rank(\\x1b[2J) !"
    assert shown[mark.index("^")] == "!"


def test_short_names_are_of_the_catalogue():
    assert set(ALIASES.values()) <= set(REGISTRY)
    assert not set(ALIASES) & set(REGISTRY)

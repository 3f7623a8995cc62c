"""The scalar problem that all symmetric solutions come down to. Free of torch."""

from __future__ import annotations

from analysis.dufm.problem import Problem


def shrink(cost: float, exponent: float) -> tuple[float, float]:
    """The least value of g(s) = ½(1 − s)² + cost · s^exponent over s ≥ 0, and the s where it is: (s, g(s)).

    cost ≥ 0, 0 < exponent ≤ 1. g rises from g(0) = ½, to a local maximum and down to a local minimum, or all the
    way. g'(s) = 0 is (1 − s) s^(1−p) = p · cost, p the exponent, whose left side rises up to s* = (1−p)/(2−p) and falls
    from there: the local minimum is the larger root, in [s*, 1]. g' is convex (g''' ≥ 0) and positive at 1, so that
    Newton's iteration from 1 falls monotonically onto the largest root; where it passes s*, there is none. The minimum
    over s ≥ 0 is the smaller of that value and ½. At p = 1 this is soft thresholding, s = max(0, 1 − cost).

    >>> shrink(0.25, 1.0)
    (0.75, 0.21875)
    >>> shrink(10.0, 0.4)
    (0.0, 0.5)
    """
    s, turning_point = 1.0, (1 - exponent) / (2 - exponent)
    while True:
        curvature = 1 - cost * exponent * (1 - exponent) * s ** (exponent - 2)
        if curvature <= 0:
            return 0.0, 0.5
        slope = s - 1 + cost * exponent * s ** (exponent - 1)
        following = s - slope / curvature
        if following <= turning_point:
            return 0.0, 0.5
        if following >= s:  # monotone but for rounding: there is nothing left to gain
            break
        s = following
    value = (1 - s) ** 2 / 2 + cost * s**exponent
    return (s, value) if value < 0.5 else (0.0, 0.5)


def collapse(problem: Problem) -> tuple[float, float]:
    """The s of deep neural collapse, and its loss, whether or not the layers are wide enough for it.

    >>> problem = Problem(num_classes=10, widths=(5,) * 4, weight_decays=(0.004,) * 4, feature_decay=0.004)
    >>> round(collapse(problem)[1], 7)
    0.0991799
    """
    power = problem.depth + 1
    return shrink(problem.num_classes * power / 2 * problem.effective_decay, 2 / power)

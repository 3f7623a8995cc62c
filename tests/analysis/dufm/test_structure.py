"""Solutions that are written down, and what they are called: in any order of classes and neurons, at any scale."""

import itertools

import pytest
import torch
from dufm_models import dnc_loss, model, random_variables

from analysis.dufm.model import Variables, losses
from analysis.dufm.structure import are_zero, classify, ranks, triangular_root


def solution(features, *weights):
    return Variables(features.double()[None], tuple(weight.double()[None] for weight in weights))


def padded(matrix, rows, columns):
    larger = torch.zeros(rows, columns, dtype=torch.float64)
    larger[: matrix.shape[0], : matrix.shape[1]] = matrix
    return larger


def dnc(num_classes=4, depth=3, width=7, samples_per_class=1):
    """H_1 and all weights are parts of the identity."""
    eye = padded(torch.eye(num_classes), width, width)
    features = eye[:, :num_classes].repeat_interleave(samples_per_class, dim=1)
    problem = model(num_classes=num_classes, depth=depth, width=width, samples_per_class=samples_per_class)
    return problem, solution(features, *[eye] * (depth - 1), eye[:num_classes])


def srg(vertices=5, depth=4, samples_per_class=1):
    """Incidence of vertices and edges; in the last hidden layer a neuron for each edge: 1 on its vertices, −1 off."""
    edges = list(itertools.combinations(range(vertices), 2))
    incidence = torch.tensor([[float(vertex in edge) for edge in edges] for vertex in range(vertices)])
    width = len(edges) + 2
    eye = padded(torch.eye(vertices), width, width)
    features = padded(incidence, width, len(edges)).repeat_interleave(samples_per_class, dim=1)
    detect = padded(2 * incidence.T - 1, width, width)
    decode = padded(torch.eye(len(edges)) / 2, len(edges), width)
    problem = model(num_classes=len(edges), depth=depth, width=width, samples_per_class=samples_per_class)
    return problem, solution(features, *[eye] * (depth - 2), detect, decode)


def other_classes(problem, variables, seed=0):
    """The same with the classes in another order."""
    order = torch.randperm(problem.num_classes, generator=torch.Generator().manual_seed(seed))
    columns = (order[:, None] * problem.samples_per_class + torch.arange(problem.samples_per_class)).flatten()
    *weights, last = variables.weights
    return Variables(variables.features[:, :, columns], (*weights, last[:, order]))


def other_neurons(problem, variables, seed=0):
    """The same with neurons in another order, layer by layer; H_1, which no ReLU follows, turned besides."""
    generator = torch.Generator().manual_seed(seed)
    features, weights = variables.features, list(variables.weights)
    turn = torch.linalg.qr(torch.randn(problem.widths[0], problem.widths[0], generator=generator).double())[0]
    features, weights[0] = turn @ features, weights[0] @ turn.T
    for layer, width in enumerate(problem.widths[1:]):
        order = torch.randperm(width, generator=generator)
        weights[layer], weights[layer + 1] = weights[layer][:, order], weights[layer + 1][:, :, order]
    return Variables(features, tuple(weights))


def split_neurons(problem, variables):
    """Every neuron of the hidden layers becomes two of 1/√2 the size: twice the width, the same Gram matrices."""
    weights = list(variables.weights)
    for layer in range(len(weights) - 1):
        weights[layer] = torch.cat([weights[layer]] * 2, dim=1) / 2**0.5
        weights[layer + 1] = torch.cat([weights[layer + 1]] * 2, dim=2) / 2**0.5
    widths = (problem.widths[0], *(2 * width for width in problem.widths[1:]))
    decays = problem.weight_decays
    problem = model(problem.num_classes, problem.depth, widths, problem.samples_per_class, decays)
    return problem, Variables(variables.features, tuple(weights))


def rescaled(variables, factor=1e3):
    """A factor moved from one layer to the next."""
    first, second, *others = variables.weights
    return Variables(variables.features / factor, (first * factor**2, second / factor, *others))


@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize(
    ("kind", "made"),
    [
        ("dnc", lambda n: dnc(samples_per_class=n)),
        ("dnc", lambda n: dnc(num_classes=2, depth=2, samples_per_class=n)),
        ("srg", lambda n: srg(vertices=4, depth=3, samples_per_class=n)),
        ("srg", lambda n: srg(vertices=5, samples_per_class=n)),
        ("srg", lambda n: srg(vertices=8, samples_per_class=n)),
    ],
)
def test_a_constructed_solution_is_found_however_it_is_written(kind, made, samples):
    problem, variables = made(samples)
    assert classify(problem, variables) == kind
    assert classify(problem, other_classes(problem, variables)) == kind
    assert classify(problem, other_neurons(problem, variables)) == kind
    assert classify(problem, rescaled(variables)) == kind
    assert classify(problem, rescaled(variables, 1e-3)) == kind
    wider, split = split_neurons(problem, variables)
    assert classify(wider, split) == kind
    assert classify(problem, Variables(variables.features.float(), tuple(map(torch.Tensor.float, variables.weights))))


def test_srg_has_low_rank_before_the_last_relu_and_full_rank_after_it():
    problem, variables = srg(vertices=5, depth=4)
    assert ranks(problem, other_neurons(problem, variables)) == {
        "H_1": 5,
        "H_2": 5,
        "relu(H_2)": 5,
        "H_3": 5,
        "relu(H_3)": 5,
        "H_4": 5,
        "relu(H_4)": 10,
        "output": 10,
    }


def test_a_little_noise_changes_nothing_and_much_does():
    for problem, variables in (dnc(), srg()):
        noise = random_variables(problem, seed=3)

        def noisy(share, problem=problem, variables=variables, noise=noise):
            tensors = [a + share * b for a, b in zip(variables.tensors, noise.tensors, strict=True)]
            return classify(problem, Variables(tensors[0], tuple(tensors[1:])))

        assert noisy(1e-4) == classify(problem, variables)
        assert noisy(0.3) not in ("dnc", "srg", "zero")


@pytest.mark.parametrize("made", [dnc, srg])
def test_samples_must_coincide(made):
    problem, variables = made(samples_per_class=3)
    scattered = variables.features.clone()
    scattered[:, -1] += torch.tensor([1.0, -1.0, 0.0]).repeat(problem.num_classes)
    weights = list(variables.weights)
    weights[0] = weights[0].clone()
    weights[0][:, -1, -1] = 1.0
    assert classify(problem, Variables(scattered, tuple(weights))) not in ("dnc", "srg")


def test_three_classes_are_no_graph_and_two_layers_have_no_middle():
    assert classify(*srg(vertices=3)) == "other"
    assert classify(*srg(vertices=5, depth=2)) == "low_rank"


def test_middle_layers_must_agree_on_the_graph():
    problem, variables = srg(vertices=5, depth=4)
    # The second of the middle layers sees the complement of what it should: each vertex's edges become the others.
    wrong = [weight.clone() for weight in variables.weights]
    wrong[1][0, :5, :5] = 0.5 - torch.eye(5, dtype=torch.float64)
    assert classify(problem, Variables(variables.features, tuple(wrong))) != "srg"


def test_frames_of_unequal_norms_are_not_dnc():
    problem, variables = dnc()
    uneven = variables.features.clone()
    uneven[:, :, 0] *= 1.2
    assert classify(problem, Variables(uneven, variables.weights)) == "other"


def test_negative_entries_before_the_first_relu_cost_nothing_and_are_dnc():
    """M_2 positive semi-definite, diagonal 1, off it −c: the loss is that of M_2 = I, and the rank may be lower."""
    problem = model(num_classes=3, depth=3, width=3, decay=0.01)
    order, eye = problem.depth + 1, torch.eye(3, dtype=torch.float64)
    half = (1.5 * eye - 0.5).double()
    vectors, values = torch.linalg.eigh(half)[1], torch.linalg.eigh(half)[0].clamp(min=0)
    root = vectors @ torch.diag(values.sqrt()) @ vectors.T  # root @ root = half, of rank 2

    def scaled(first, features, s):
        size = s ** (1 / order)
        return solution(size * features, size * first, size * eye, size * eye)

    best = min(float(losses(problem, scaled(root, root, s / 1000)).loss) for s in range(500, 1000))
    frame = min(float(losses(problem, scaled(eye, eye, s / 1000)).loss) for s in range(500, 1000))
    assert best == pytest.approx(frame, rel=1e-12)
    assert frame == pytest.approx(dnc_loss(problem), rel=1e-5)
    assert classify(problem, scaled(root, root, 0.9)) == "dnc"
    assert ranks(problem, scaled(root, root, 0.9))["H_2"] == 2


@pytest.mark.parametrize("depth", [1, 3])
def test_cross_entropy_has_simplices_and_frames(depth):
    problem = model(num_classes=4, depth=depth, width=4, loss="cross_entropy")
    eye = torch.eye(4, dtype=torch.float64)
    simplex = eye - 0.25
    assert classify(problem, solution(simplex, *[eye] * (depth - 1), simplex)) == "dnc"
    assert classify(problem, solution(eye, *[eye] * depth)) == "dnc"
    lower = simplex.clone()
    lower[:, 0], lower[:, 2] = lower[:, 1], lower[:, 3]
    assert classify(problem, solution(lower, *[eye] * depth)) == "low_rank"


def test_zero_is_zero_and_has_no_rank():
    problem = model(depth=3, decay=0.5)
    nothing = random_variables(problem, scale=1e-9)
    assert classify(problem, nothing) == "zero"
    assert set(ranks(problem, nothing).values()) == {0}
    zeros = random_variables(problem, scale=0.0)
    assert classify(problem, zeros) == "zero"
    # An output of 0 is not enough: these variables are not.
    dead = Variables(random_variables(problem).features, zeros.weights)
    assert classify(problem, dead) != "zero"
    assert ranks(problem, dead) == {name: 3 if name == "H_1" else 0 for name in problem.layers}


def test_zero_is_told_of_each_run():
    problem = model(decay=0.5)
    some = random_variables(problem, runs=2)
    some.features[1] = 0
    for weight in some.weights:
        weight[1] = 0
    assert are_zero(problem, losses(problem, some)).tolist() == [False, True]


def test_the_rest():
    problem = model(num_classes=4, depth=3, width=8)
    assert classify(problem, random_variables(problem)) == "other"
    thin = model(num_classes=4, depth=3, width=(8, 3, 8))
    assert classify(thin, random_variables(thin)) == "low_rank"
    assert classify(model(depth=1, width=2), random_variables(model(depth=1, width=2))) == "low_rank"


def test_one_run_at_a_time():
    problem = model()
    with pytest.raises(ValueError, match="one run at a time, not 2"):
        classify(problem, random_variables(problem, runs=2))


def test_triangular_roots():
    assert [triangular_root(r * (r - 1) // 2) for r in range(3, 50)] == list(range(3, 50))
    assert [triangular_root(size) for size in (2, 4, 5, 7, 9, 11, 14)] == [None] * 7

"""Each method behaves as theory says on problems with known minima."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from evolq.driver import Driver
from evolq.methods.evolutionary import EvolQ
from evolq.methods.newton import trust_region_step
from evolq.optimizer import Answer
from evolq.registry import find_method
from evolq.space import SpaceInfo
from landscape.errors import UserError
from tests.evolq.problems import egg_carton, noisy, piecewise_constant, quadratic
from tests.evolq.test_driver import run


@pytest.mark.parametrize("name", ["coordinate", "cmaes", "sep-cmaes", "sgd", "adam", "newton"])
def test_a_quadratic_is_minimised(name):
    problem, _ = quadratic()
    settings = {"check": 5, "trial": 10} if name in ("sgd", "adam") else {}
    _, course = run(name, problem, 20000, **settings)
    assert course.best_value < 1e-3 * course.steps[0].value


def test_coordinate_search_solves_a_separable_problem_to_its_smallest_step():
    problem, target = quadratic(curvature=[1, 10, 100, 1000, 1, 1])
    end, _ = run("coordinate", problem, 20000, smallest=1e-4)
    np.testing.assert_allclose(end, target, atol=1e-3)


def test_cma_es_learns_the_scaling_that_plain_random_search_does_not():
    problem, _ = quadratic(curvature=10.0 ** np.arange(6))
    adapted = run("cmaes", problem, 20000)[1].best_value
    plain = run("random", problem, 20000)[1].best_value
    assert adapted < 1e-2 * plain


@pytest.mark.parametrize("name", ["sgd/almost-everywhere", "adam/almost-everywhere"])
def test_where_the_derivative_is_zero_almost_everywhere_gradient_descent_stays(name):
    method, _, preset = name.partition("/")
    problem, _ = piecewise_constant()
    optimizer: Any = find_method(method, preset).create(problem.info, preset, budget=2000)
    assert optimizer.options.estimator == "almost-everywhere"
    assert not Driver(problem, optimizer, 2000).run().any()


@pytest.mark.parametrize("name", ["evolq", "coordinate", "cmaes"])
def test_methods_that_need_values_only_cross_plateaus(name):
    problem, _ = piecewise_constant()
    settings = {"relative": True, "mutation": 0.03, "passes": 100} if name == "evolq" else {}
    _, course = run(name, problem, 10000, **settings)
    assert course.best_value < 0.25 * course.steps[0].value


def test_an_egg_carton_traps_small_steps_and_not_large_ones():
    problem, _ = egg_carton()
    small = run("coordinate", problem, 5000, step=0.002, grow=1.0)[1].best_value
    large = run("coordinate", problem, 5000, step=0.03, grow=1.0)[1].best_value
    assert large < 0.5 * small


def test_spsa_estimates_the_gradient_of_a_linear_function_without_bias():
    problem, _ = quadratic()
    slope = np.array([1.0, -2.0, 0.5, 0.0, 3.0, -1.0])
    problem.function = lambda e, rows: float(slope @ e)
    optimizer: Any = find_method("spsa").create(problem.info, budget=10**6)
    estimates = []
    for _ in range(4000):
        query = optimizer.gradient_query()
        estimates.append(optimizer.gradient_of(problem.answer(query)))
    error = np.std(estimates, axis=0) / np.sqrt(len(estimates))
    assert (np.abs(np.mean(estimates, axis=0) - slope) < 5 * error).all()


def test_finite_differences_are_exact_on_a_quadratic():
    problem, _ = quadratic()
    optimizer: Any = find_method("finite-differences").create(problem.info, budget=10**6, directions=6, parts=2)
    gradient = optimizer.gradient_of(problem.answer(optimizer.gradient_query()))
    np.testing.assert_allclose(gradient, problem.slope(np.zeros(6), None), rtol=1e-9)


def test_adam_takes_steps_of_the_learning_rate_at_first():
    problem, _ = quadratic()
    optimizer: Any = find_method("adam").create(problem.info, budget=0, rates="0.01")
    optimizer.tell(problem.answer(optimizer.ask()))
    np.testing.assert_allclose(np.abs(optimizer.point), 0.01, rtol=1e-6)


def test_learning_rates_are_chosen_by_their_trials_and_what_they_cost_is_part_of_the_budget():
    problem, _ = quadratic()
    optimizer: Any = find_method("sgd").create(
        problem.info, budget=3000, rates="0.00001 0.01", trial=5, check=5, batch=2
    )
    driver = Driver(problem, optimizer, 3000)
    driver.run()
    assert optimizer.rate == 0.01
    assert driver.course.spent <= 3000
    assert len(optimizer.trials) == 2


def test_noise_of_single_images_cancels_in_differences_on_the_same_parts():
    problem, _ = noisy(noise=1e-2)
    _, course = run("spsa", problem, 8000)
    assert course.best_value < 0.3 * course.steps[0].value


def test_newton_solves_a_quadratic_in_one_step_inside_its_region():
    problem, target = quadratic(curvature=[1, 10, 100, 1000, 2, 5])
    end, course = run("newton", problem, 10 * 3 + 6 * 4 * 10 + 10, images=10, products=6, radius=1.0)
    np.testing.assert_allclose(end, target, atol=1e-9)
    assert course.spent == 30 + 240 + 10  # a gradient, six products of four passes, and the new point


@pytest.mark.parametrize("seed", range(8))
def test_the_trust_region_step_is_optimal(seed):
    generator = np.random.default_rng(seed)
    dimension = 5
    root = generator.standard_normal((dimension, dimension))
    matrix = root + root.T  # indefinite
    gradient = generator.standard_normal(dimension)
    step, predicted = trust_region_step(lambda v: matrix @ v, gradient, dimension, 0.5)
    assert np.linalg.norm(step) <= 0.5 * (1 + 1e-9)
    assert predicted == pytest.approx(gradient @ step + 0.5 * step @ matrix @ step, rel=1e-9)
    others = generator.standard_normal((20000, dimension))
    others *= 0.5 * generator.random((20000, 1)) ** (1 / dimension) / np.linalg.norm(others, axis=1, keepdims=True)
    values = others @ gradient + 0.5 * np.einsum("ni,ij,nj->n", others, matrix, others)
    assert predicted <= values.min() + 1e-9


def test_newton_stops_where_the_budget_does_not_pay_for_a_product():
    problem, _ = quadratic()
    end, course = run("newton", problem, 45)
    assert course.spent <= 45 and not end.any()


# Evol-Q as released


def test_the_released_preset_takes_480_evaluations_of_twelve_blocks():
    info = SpaceInfo.plain(24, groups=12, images=1000, parts=10)
    optimizer: Any = EvolQ.create(info, "released")
    blocks = []
    while (query := optimizer.ask()) is not None:
        assert query.points.shape == (1, 24) and query.parts is None
        blocks.append(query.group)
        optimizer.tell(Answer(query, np.array([1.0])))
    assert len(blocks) == 480
    assert blocks[:8] == [11] * 4 + [10] * 4  # the last block first; one measurement and three children each
    assert blocks[47] == 0 and blocks[48] == 11


def test_the_released_mutation_is_absolute_uniform_and_then_the_absolute_value():
    info = SpaceInfo.plain(4, groups=1)
    info = SpaceInfo(**{**vars(info), "centre": np.array([0.02, 0.05, 0.0004, 0.1]), "bits": np.array([3, 4, 4, 8])})
    optimizer: Any = EvolQ.create(info, "released", seed=5)
    optimizer.tell(Answer(optimizer.ask(), np.array([1.0])))
    generator = np.random.default_rng([5, 0x65766F])
    for _ in range(2):
        generator.integers(0, 15, 10)  # the tournament
        noise = generator.uniform(-1.0, 1.0, 4) * np.array([1e-3, 1e-3, 1e-3, 1e-4])
        query = optimizer.ask()
        np.testing.assert_allclose(info.centre * np.exp(query.points[0]), np.abs(info.centre + noise), rtol=1e-12)
        optimizer.tell(Answer(query, np.array([2.0])))  # worse: dropped, so that the next parent is the start again


def test_the_fittest_drawn_member_is_the_parent_and_the_worst_is_dropped():
    info = SpaceInfo.plain(2, groups=1)
    optimizer: Any = EvolQ.create(info, passes=1, population=3, cycles=3, tournament=50, relative=True, mutation=0.1)
    optimizer.tell(Answer(optimizer.ask(), np.array([1.0])))
    first = optimizer.ask()
    assert optimizer.tell(Answer(first, np.array([0.5]))) == [True]
    second = optimizer.ask()  # of 50 draws out of 3 members one is the best
    assert np.abs(second.points - first.points).max() <= 0.1
    assert sorted(optimizer.fitness) == [0.5, 1.0, 1.0]
    assert optimizer.tell(Answer(second, np.array([7.0]))) == [False]
    assert sorted(optimizer.fitness) == [0.5, 1.0, 1.0]
    optimizer.tell(Answer(optimizer.ask(), np.array([0.5])))  # as good as the best: a tie keeps the older one
    assert optimizer.ask() is None
    np.testing.assert_array_equal(optimizer.current, first.points[0])


def test_a_child_that_is_nan_is_the_worst():
    optimizer: Any = EvolQ.create(SpaceInfo.plain(2, groups=1), "released")
    optimizer.tell(Answer(optimizer.ask(), np.array([1.0])))
    assert optimizer.tell(Answer(optimizer.ask(), np.array([np.nan]))) == [False]
    assert np.isfinite(optimizer.fitness).all()


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("evolq", {"population": 0}, "population of Evol-Q is 0"),
        ("evolq", {"generations": 3}, "has no setting 'generations'"),
        ("adam", {"rates": "0.1 x"}, "rates '0.1 x'"),
        ("adam", {"estimator": "exact"}, "estimator 'exact' is unknown"),
        ("cmaes", {"sigma": 0.0}, "sigma > 0"),
        ("coordinate", {"shrink": 2.0}, "0 < shrink < 1"),
        ("random", {"largest": 0.001}, "smallest <= largest"),
        ("spsa", {"distance": 0.0}, "distance > 0"),
    ],
)
def test_settings_that_cannot_be_used_are_told_in_one_line(name, settings, words):
    with pytest.raises(UserError, match=words):
        find_method(name).create(SpaceInfo.plain(2), **settings)


def test_a_dense_covariance_matrix_is_refused_for_too_many_coordinates():
    with pytest.raises(UserError, match="use --tie"):
        find_method("cmaes").create(SpaceInfo.plain(3000))

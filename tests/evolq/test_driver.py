"""The driver: what is asked for is counted, recorded, and can be gone on from."""

from __future__ import annotations

import numpy as np
import pytest

from evolq.driver import Driver
from evolq.optimizer import Optimizer, Query
from evolq.registry import find_method
from landscape.errors import UserError
from tests.evolq.problems import constant, noisy, piecewise_constant, quadratic

VALUES = ["evolq", "random", "coordinate", "cmaes", "sep-cmaes", "spsa", "finite-differences"]
GRADIENT = ["sgd", "adam", "adamw", "newton"]


def make(name, problem, budget=2000, seed=0, **settings):
    return find_method(name).create(problem.info, seed=seed, budget=budget, **settings)


def run(name, problem, budget=2000, seed=0, **settings):
    driver = Driver(problem, make(name, problem, budget, seed, **settings), budget)
    return driver.run(), driver.course


class KilledError(Exception):
    pass


class Recorder:
    """Keeps rows and state as a run folder does, and dies before a given record is kept."""

    def __init__(self, dies_at=None):
        self.rows, self.state, self.static = [], None, None
        self.left = dies_at

    def __call__(self, rows, state, static):
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise KilledError
        self.rows += rows
        self.state = state
        self.static = self.static if static is None else static


def as_numbers(rows):
    return [
        (row.cost, row.value, row.best, row.block, row.accepted, row.images, row.coordinates.tobytes()) for row in rows
    ]


@pytest.mark.parametrize("name", VALUES + GRADIENT)
@pytest.mark.parametrize("dies_at", [1, 7])
def test_a_killed_run_goes_on_bit_for_bit(name, dies_at):
    whole = Recorder()
    problem, _ = noisy()
    end = Driver(problem, make(name, problem), 2000, whole).run()

    recorder = Recorder(dies_at)
    with pytest.raises(KilledError):
        Driver(problem, make(name, problem), 2000, recorder).run()
    recorder.left = None
    again = Driver(problem, make(name, problem), 2000, recorder).run(recorder.state, recorder.static)

    assert again.tobytes() == end.tobytes()
    assert as_numbers(recorder.rows) == as_numbers(whole.rows)


@pytest.mark.parametrize("name", VALUES + GRADIENT)
def test_the_budget_is_never_exceeded_and_the_best_never_rises(name):
    for budget in (0, 3, 10, 35, 500):
        problem, _ = quadratic()
        _, course = run(name, problem, budget)
        assert course.spent <= budget
        best = [step.best for step in course.steps]
        assert best == sorted(best, reverse=True)
        assert [step.cost for step in course.steps] == sorted(step.cost for step in course.steps)


@pytest.mark.parametrize("name", VALUES + GRADIENT)
def test_with_a_budget_below_one_step_the_result_is_the_start(name):
    problem, _ = quadratic()
    end, course = run(name, problem, budget=4)
    assert not end.any() and len(course.steps) == 1 and course.spent == 0


@pytest.mark.parametrize("name", VALUES + GRADIENT)
@pytest.mark.parametrize("value", [2.0, np.nan, np.inf])
def test_equal_nan_and_infinite_losses_are_survived(name, value):
    end, course = run(name, constant(value), 400)
    assert np.isfinite(end).all()
    assert not end.any() or np.isnan(value)
    np.testing.assert_equal([step.value for step in course.steps], [value] * len(course.steps))


@pytest.mark.parametrize("name", VALUES + GRADIENT)
def test_a_space_of_one_dimension_is_searched(name):
    problem, _ = quadratic(1, groups=1)
    end, course = run(name, problem, 3000)
    assert end.shape == (1,)
    assert course.best_value <= course.steps[0].value


@pytest.mark.parametrize("name", VALUES + GRADIENT)
def test_a_seed_decides_a_run(name):
    problem, _ = noisy()
    first, second = run(name, problem, 800, seed=1)[1], run(name, problem, 800, seed=1)[1]
    assert as_numbers(first.steps) == as_numbers(second.steps)


def test_the_value_of_a_point_that_was_measured_in_parts_counts_as_soon_as_all_parts_are_known():
    class InParts(Optimizer):
        def start(self):
            self.turn = 0

        def ask(self):
            self.turn += 1
            return Query(np.full((1, 4), 0.01), parts=(self.turn - 1,)) if self.turn <= 4 else None

        def tell(self, answer):
            return [True]

    problem, _ = noisy()
    driver = Driver(problem, InParts(problem.info), 1000)
    driver.run()
    values = [step.value for step in driver.course.steps]
    whole = problem.function(np.full(4, 0.01), np.arange(40))
    assert driver.course.steps[-1].best == pytest.approx(min(values[0], whole), rel=1e-12)
    assert all(step.best == values[0] for step in driver.course.steps[:-1])
    assert [step.images for step in driver.course.steps] == [40, 10, 10, 10, 10]
    assert [step.cost for step in driver.course.steps] == [0, 10, 20, 30, 40]


def test_a_gradient_costs_three_passes_of_its_images():
    problem, _ = quadratic(images=10)
    query = Query(np.zeros((2, 6)), gradient="straight-through", images=(0, 3, 5))
    assert problem.cost(query) == 2 * 3 * 3
    assert problem.answer(query).cost == 18 and problem.spent == 18


def test_the_last_query_is_cut_to_what_the_budget_pays_for():
    problem, _ = quadratic(images=10)
    _, course = run("cmaes", problem, budget=10 * 8 + 35)  # generations of 9 points in 6 dimensions
    assert len(course.steps) - 1 == 11 and course.spent == 110


def test_what_an_optimizer_works_out_by_itself_is_counted_told_and_kept():
    class Working(Optimizer):
        STATE = ("turn",)

        def start(self):
            self.turn = 0

        def attach(self, problem):
            self.problem = problem

        def ask(self):
            self.turn += 1
            if self.turn == 4:
                return None
            self.problem.spent += 7
            return Query(np.zeros((0 if self.turn < 3 else 1, 6)))

        def tell(self, answer):
            return [True] * len(answer.values)

    problem, _ = quadratic(images=10)
    kept: list[int] = []
    told: list[int] = []
    driver = Driver(problem, Working(problem.info), 1000, lambda rows, state, static: kept.append(len(rows)))
    driver.tell_progress(told.append)
    driver.run()
    assert kept == [1, 0, 0, 1] and driver.course.spent == sum(told) == 3 * 7 + 10


def test_an_optimizer_that_asks_for_nothing_and_does_nothing_is_stopped():
    class Idle(Optimizer):
        def ask(self):
            return Query(np.zeros((0, 6)))

        def tell(self, answer):
            return []

    problem, _ = quadratic()
    with pytest.raises(UserError, match="Idle asked for no points"):
        Driver(problem, Idle(problem.info), 100).run()


def test_points_of_a_wrong_shape_are_a_users_mistake():
    class Wrong(Optimizer):
        def ask(self):
            return Query(np.zeros((1, 3)))

        def tell(self, answer):
            return []

    problem, _ = quadratic()
    with pytest.raises(UserError, match=r"Wrong asked for points of shape \(1, 3\); expected \(n, 6\)"):
        Driver(problem, Wrong(problem.info), 100).run()


def test_a_method_that_needs_gradients_says_so_where_there_are_none():
    problem, _ = piecewise_constant()
    problem.slope = None
    with pytest.raises(UserError, match="has no gradient"):
        run("adam", problem, 500)


@pytest.mark.parametrize("name", ["evolq", "random"])
def test_the_released_rule_looks_at_the_test_images_again_and_again(name):
    problem, _ = quadratic()
    looked = []

    def judge(point):
        looked.append(point.copy())
        return -float(np.abs(point).max())  # the start is the best, on these test images

    driver = Driver(problem, make(name, problem), 400, judge=judge)
    assert not driver.run().any()
    assert driver.course.looks == len(looked) > 2
    assert driver.course.judged_value == 0.0
    assert driver.course.best_value < driver.course.steps[0].value

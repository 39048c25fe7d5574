"""Records of pictures: values, labels, units, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from landscape.errors import UserError
from landscape.plots.cut import cut
from landscape.plots.info.curvature import fit_info, operator_words, spectrum_info
from landscape.plots.info.flips import flips_info
from landscape.plots.info.floor import floor_info
from landscape.plots.info.losses import losses_info
from landscape.plots.info.plane import aligned, principal_plane, scanned_plane
from landscape.plots.info.reliability import reliability_info
from landscape.plots.info.roughness import roughness_info
from landscape.plots.info.search import convergence_info, methods_info
from landscape.plots.info.trajectories import trajectories_info
from landscape.plots.info.words import value_text
from landscape.plots.methods import looks
from landscape.plots.runs import Run
from tests.plots.searches import NAMES, SIZES, search, stored
from tests.plots.studies import curvature_report, reliability_report
from tests.plots.surfaces import grid, line, with_gaps
from tests.report.runs import stored_scan


def test_a_loss_has_its_words_and_an_unknown_one_its_name():
    assert value_text("infonce@0.5").on("test").label == "test infoNCE at T = 0.5, x 2T (nats)"
    assert value_text("kl").unit == "nats"
    assert value_text("top1").change_label == "change of top-1 (points)"
    assert value_text("brier").label == "brier"


# ---- cut ----


@pytest.mark.parametrize(("direction", "where"), [(1, (slice(None), 3)), (2, (2, slice(None)))])
def test_a_cut_is_the_line_through_the_centre(direction, where):
    surface = grid()
    found = cut(surface, direction)
    assert found.dims == 1
    np.testing.assert_array_equal(found.values["loss"], surface.values["loss"][where])
    low, high = found.interval("loss")
    full_low, full_high = surface.interval("loss")
    np.testing.assert_allclose(low, full_low[where])
    np.testing.assert_allclose(high, full_high[where])


def test_a_cut_along_a_direction_that_is_not_there_is_refused():
    with pytest.raises(UserError, match="--cut 2"):
        cut(line(), 2)
    assert cut(line(), 1).shape == (5,)


# ---- losses ----


def test_losses_are_compared_with_the_first_and_top1_turned_around():
    base = np.arange(35.0).reshape(5, 7)
    surface = grid(values={"loss": base, "top1": -base, "infonce": base**2, "flip_rate": base}, per_image={})
    info = losses_info(surface)
    assert list(info.surface.values) == ["loss", "top1", "infonce"] and info.reference == "loss"
    assert info.agreement["top1"] == pytest.approx(1.0) and info.agreement["infonce"] == pytest.approx(1.0)
    assert np.isnan(info.replicates["loss"])
    assert info.words("loss") == "" and info.words("top1") == "rank correlation with cross-entropy +1.00"


def test_the_words_of_a_loss_say_what_replicates():
    words = losses_info(grid()).words("top1")
    assert "of its variance replicates" in words and "cross-entropy" in words


# ---- floor ----


def test_noise_is_half_the_difference_of_halves_and_the_surface_their_mean():
    info = floor_info(grid())
    np.testing.assert_allclose(info.noise, (info.first - info.second) / 2)
    np.testing.assert_allclose(info.measured, (info.first + info.second) / 2, atol=1e-12)  # an even number of images
    surface = grid().values["loss"]
    np.testing.assert_allclose(info.measured, surface - surface.mean(), atol=1e-12)
    assert info.images == 40 and info.limit >= np.abs(info.measured).max()


def test_top1_is_in_points():
    info, surface = floor_info(grid(), "top1"), grid()
    np.testing.assert_allclose(info.measured, surface.values["top1"] - surface.values["top1"].mean(), atol=1e-12)


@pytest.mark.parametrize(
    ("surface", "value", "words"),
    [
        (with_gaps(grid(), np.arange(35).reshape(5, 7) < 20), "loss", "15 of this surface have no finite 'loss'"),
        (grid(1, 5), "loss", "at least 3 points"),
        (grid(images=3), "loss", "at least 4 images"),
        (grid(), "infonce", "batches of 40 images; this run has 1"),
        (grid(), "flip_rate", "per-image"),
    ],
)
def test_a_floor_that_cannot_be_found_is_refused(surface, value, words):
    with pytest.raises(UserError, match=words):
        floor_info(surface, value)


# ---- flips ----


def test_flips_are_in_percent_and_the_change_is_from_the_centre():
    surface = grid()
    info = flips_info(surface)
    assert (np.diff(info.flips) >= 0).all() and info.flips[0] == 0.0 and info.change[0] == 0.0
    worst = int(np.argmax(info.change))
    expected = surface.values["loss"].max() - surface.values["loss"][2, 3]
    assert info.change[worst] == pytest.approx(expected)
    assert info.flips.max() == pytest.approx(100 * surface.values["flip_rate"].max())
    assert info.low is not None and (info.low <= info.change + 1e-12).all()


# ---- planes and paths ----


@pytest.fixture
def scan(tmp_path):
    return Run(stored_scan(tmp_path / "grid"))


def test_a_point_of_the_plane_is_found_in_it(scan):
    directions = scan.array("directions")
    points = np.array([[0.0, 0.0], [0.1, -0.2], [0.03, 0.0]]) @ directions
    trajectory = search(steps=3, coordinates=points)
    x, y, off = scanned_plane(scan, [trajectory]).project(trajectory)
    np.testing.assert_allclose(x, [0.0, 0.1, 0.03], atol=1e-12)
    np.testing.assert_allclose(y, [0.0, -0.2, 0.0], atol=1e-12)
    np.testing.assert_allclose(off, 0.0, atol=1e-12)


def test_the_distance_off_the_plane_is_a_root_mean_square(scan):
    directions = scan.array("directions")
    normal = np.linalg.svd(directions)[2][-1]  # of length 1, orthogonal to both
    trajectory = search(steps=1, coordinates=0.5 * normal[None])
    _, _, off = scanned_plane(scan, [trajectory]).project(trajectory)
    assert off[0] == pytest.approx(0.5 / np.sqrt(8))


def test_scales_that_the_scan_does_not_move_lie_off_the_plane(scan):
    points = np.zeros((1, 9))
    points[0, 8] = 0.3
    trajectory = search(steps=1, coordinates=points, names=(*NAMES, "head.weight"), sizes=(*SIZES, 1))
    x, y, off = scanned_plane(scan, [trajectory]).project(trajectory)
    assert x[0] == y[0] == 0.0 and off[0] == pytest.approx(0.3 / np.sqrt(9))


def test_a_tied_scale_is_spread_over_its_channels_and_zero_points_are_left_out():
    points = np.array([[0.1, 0.2, 3.0]])
    names = (NAMES[0], NAMES[1], f"{NAMES[0]}.zero_point")
    trajectory = search(steps=1, coordinates=points, names=names, sizes=(1, 1, 1))
    np.testing.assert_array_equal(aligned(trajectory, NAMES, SIZES), [[0.1] * 6 + [0.2] * 2])


@pytest.mark.parametrize("order", [1, -1])
def test_searches_that_tie_channels_share_a_plane_with_those_that_do_not(order):
    tied = search("cmaes", steps=30, coordinates=np.linspace(0, 1, 60).reshape(30, 2) ** 2, sizes=(1, 1))
    plane = principal_plane([search(), tied][::order])
    assert dict(zip(plane.names, plane.sizes, strict=True)) == dict(zip(NAMES, SIZES, strict=True))
    assert all(len(part) == 30 for part in plane.project(tied))


def test_principal_components_hold_paths_in_a_plane_and_the_start_is_zero():
    generator = np.random.default_rng(0)
    basis, steps = generator.normal(size=(2, 8)), generator.normal(size=(30, 2))
    steps[0] = 0.0
    trajectory = search(coordinates=steps @ basis, accepted=np.ones(30, dtype=bool))
    plane = principal_plane([trajectory])
    x, y, off = plane.project(trajectory)
    assert off.max() < 1e-12 and x[0] == pytest.approx(0) and y[0] == pytest.approx(0)
    np.testing.assert_allclose(np.sqrt(np.mean(plane.directions**2, axis=1)), 1.0)  # unit RMS, as every direction
    assert plane.x_label.startswith("principal component 1 (")


def test_paths_keep_cost_value_and_the_best_point(scan):
    trajectory = search()
    info = trajectories_info([trajectory], scan)
    path = info.paths[0]
    assert path.end == int(np.argmin(trajectory.value)) and path.name == "evolq, seed 0"
    assert path.accepted.sum() == 10 and path.cost[-1] == 3000
    assert info.surface is not None and info.title == info.surface.title
    assert "off the plane" in info.subtitle and "infoNCE on its 100 images" in info.subtitle


def test_a_look_at_a_part_of_the_images_is_no_best_point(scan):
    images = np.full(30, 100)
    images[20] = 10
    value = 26.0 + np.arange(30.0)
    value[20] = 1.0
    assert trajectories_info([search(images=images, value=value)], scan).paths[0].end == 0


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"coordinates": None}, "--keep-points"),
        ({"names": ("a.weight", "b.weight")}, "moved none of the scales"),
        ({"sizes": (2, 6)}, "do not fit"),
    ],
)
def test_a_search_that_does_not_fit_the_scan_is_refused(scan, changes, words):
    with pytest.raises(UserError, match=words):
        trajectories_info([search(**changes)], scan)


def test_a_line_is_no_plane(tmp_path):
    with pytest.raises(UserError, match="--dims 2"):
        trajectories_info([search()], Run(stored_scan(tmp_path / "line", dims=1)))


# ---- searches ----


def test_a_curve_is_the_mean_of_the_best_so_far_over_seeds():
    first = search(steps=3, cost=np.array([1.0, 2.0, 4.0]), best=np.array([9.0, 8.0, 5.0]))
    second = search(seed=1, steps=2, cost=np.array([1.0, 3.0]), best=np.array([9.0, 7.0]), finished=False)
    (curve,) = convergence_info([first, second]).curves
    assert curve.cost.tolist() == [1, 2, 3, 4] and curve.seeds == (0, 1)
    assert curve.mean.tolist() == [9, 8.5, 7.5, 6] and curve.low.tolist() == [9, 8, 7, 5]
    assert curve.high.tolist() == [9, 9, 8, 7]


def test_curves_have_the_units_of_cost_and_loss():
    info = convergence_info([search()], "net")
    assert info.x_label == "budget (images through the full network)" and info.title == "net"
    assert info.y_label == "lowest infoNCE so far (nats)" and info.start == 27.0


def test_methods_are_sorted_by_their_mean_and_seeds_stay_apart():
    good, bad = search("good", steps=40), search("bad", steps=3)
    info = methods_info([bad, good, search("bad", 1, 3)], "top1")
    assert info.labels == ("good", "bad") and info.seeds == ((0,), (0, 1))
    assert list(info.panels) == ["search infoNCE (nats)", "test top-1 (%)"]
    assert info.panels["test top-1 (%)"][1].tolist() == [70.0, 71.0]
    assert info.starts == {"search infoNCE (nats)": 27.0, "test top-1 (%)": 69.0}


def test_searches_that_cannot_be_compared_are_refused():
    with pytest.raises(UserError, match="different losses"):
        convergence_info([search(), search(loss="mse")])
    with pytest.raises(UserError, match="no search is finished"):
        methods_info([search(finished=False)])
    with pytest.raises(UserError, match="did not measure 'kl'"):
        methods_info([search()], "kl")
    with pytest.raises(UserError, match="visited no point"):
        convergence_info([search(steps=1, **_nothing())])


def _nothing() -> dict[str, Any]:
    """Arrays of a search that has only just begun."""
    empty = {name: np.zeros(0) for name in ("cost", "value", "best", "seconds", "block", "accepted", "images")}
    return {**empty, "coordinates": None}


def test_a_run_shows_what_it_holds_in_a_notebook_and_escapes_names(tmp_path):
    scan = Run(stored_scan(tmp_path / "grid", model="<b>&"))
    assert repr(scan) == "Run(grid, scan, finished)"
    shown = scan._repr_html_()
    assert "<b>grid</b>: scan, finished" in shown and f"<td>{scan.surface.values['loss'].min():.4f}</td>" in shown
    assert "<b>&" not in shown and "&lt;b&gt;&amp;" in shown
    shown = Run(stored(tmp_path / "searches", [search(), search("random")]))._repr_html_()
    assert "evolq, seed 0" in shown and "random, seed 0" in shown and "budget spent" in shown


def test_a_run_folder_gives_its_trajectories_back(tmp_path):
    run = Run(stored(tmp_path / "searches", [search(), search("random", 2)]))
    assert not run.is_scan and run.has_trajectories
    found = run.trajectories
    assert [each.label for each in found] == ["evolq", "random"]
    np.testing.assert_array_equal(found[0].coordinates, search().coordinates)


# ---- looks ----


def test_a_method_looks_the_same_in_every_picture():
    assert looks(["evolq", "random"])["random"] == looks(["random", "adam", "mine"])["random"]
    assert looks(["a", "b"])["a"] == looks(["a"])["a"]
    both = looks(["evolq (ours)", "evolq (released)"])
    assert both == looks(["evolq (released)", "evolq (ours)"])
    chosen = "evolq (released), selected on the test set"
    assert looks([chosen])[chosen] == both["evolq (released)"]


def test_presets_share_the_colour_and_differ_in_line_and_marker():
    found = looks(["evolq", "evolq (released)", "evolq (ours)"])
    assert len({look.colour for look in found.values()}) == 1
    assert len({(look.line, look.marker) for look in found.values()}) == 3


def test_no_two_methods_of_a_picture_look_the_same():
    names = [f"method {number}" for number in range(30)]
    found = looks(names)
    assert len(set(found.values())) == 30


# ---- roughness, curvature, reliability ----


def test_rows_of_roughness_are_roots_of_the_noise_floor(tmp_path):
    from landscape.roughness import noise_floor

    runs = [Run(stored_scan(tmp_path / str(block), 7, block=block)) for block in (10, 2)]
    info = roughness_info(runs)
    assert info.places == ("block 2", "block 10") and info.x_label == "attention block"
    found = noise_floor(runs[0].surface, "loss")["jaggedness"]
    row = info.rows[0]
    assert row.measured == pytest.approx(np.sqrt(found.measured)) and row.floor == pytest.approx(np.sqrt(found.floor))
    assert row.estimate == pytest.approx(np.sqrt(max(found.estimate, 0))) and row.images == 40
    assert info.y_label == "jaggedness of cross-entropy (nats)" and row.series == "deit_tiny_patch16_224, w4a8"
    assert row.sizes[-1] == 40 and row.by_size[-1] == pytest.approx(row.measured)


def test_operators_over_the_same_coordinates_share_a_panel():
    info = spectrum_info(curvature_report())
    assert [(name, len(group)) for name, group in info.panels] == [
        ("straight-through surrogate, over scales", 2),
        ("float network, over weights", 1),
    ]
    assert info.x_label == "eigenvalue (nats per squared relative change)"
    words = operator_words(info.panels[0][1][1])
    assert words.startswith("Gauss-Newton (GGN): trace ") and words.endswith("192 dimensions")
    assert fit_info(curvature_report()).fits == curvature_report().fits


def test_reliability_is_that_of_the_centre():
    info = reliability_info(reliability_report())
    first, second = info.curves
    assert first.estimator == "straight-through" and first.step.tolist() == [0.001, 0.01, 0.1]
    assert first.cosine.tolist() == [0.1, 0.6, -0.2] and not first.is_zero and second.is_zero
    assert info.flipped == pytest.approx([0.2, 2.0, 20.0]) and info.nearest_flip == 8e-5
    assert len(info.descents) == 4

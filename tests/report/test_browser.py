"""The report in a real browser: it opens, switches, tells values, and gives its data."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

from landscape.report import ReportOptions, save_report
from landscape.scan import load_surface
from tests.plots.searches import search, stored
from tests.report.browser import browser, complaints, wait_for
from tests.report.runs import stored_scan

AWKWARD = "</script><img src=x onerror=alert(1)>&'\"-net"


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    searches = [search("evolq (released)", 0), search("evolq (released)", 1), search("random", 0)]
    return [
        stored_scan(folder / "grid", model=AWKWARD),
        stored_scan(folder / "line", points=7, dims=1),
        stored(folder / "searches", searches, model=AWKWARD),
    ]


@pytest.fixture(scope="module")
def page(runs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    path = save_report(runs, folder / "report.html", ReportOptions(draws=20))
    with browser(folder) as opened:
        opened.get(path.as_uri())
        wait_for(lambda: opened.execute_script("return !!document.querySelector('#plot .main-svg')"), "first plot")
        opened.downloads = folder
        yield opened


@pytest.fixture(autouse=True)
def fresh(page):
    page.execute_script("openRun(0); choose('layer', 'value'); choose('view', 'map'); choose('value', 'loss')")


def _select(page, name: str, value: str) -> None:
    """As a user does: choose an entry of a list."""
    script = (
        "const s = document.getElementById(arguments[0]); s.value = arguments[1]; s.dispatchEvent(new Event('change'))"
    )
    page.execute_script(script, name, value)


def _shown(page) -> np.ndarray:
    return np.array(page.execute_script("return document.getElementById('plot').data[0].z"), dtype=np.float64)


def _point_at(page, i: int, j: int) -> None:
    """Move the mouse to point (i, j) of the heat map, from beside it."""
    from selenium.webdriver.common.action_chains import ActionChains

    place = page.execute_script(
        "const plot = document.getElementById('plot'), { xaxis, yaxis } = plot._fullLayout, surface = currentSurface();"
        "plot.scrollIntoView({ block: 'center' });"
        "const box = plot.getBoundingClientRect();"
        "return [box.x + xaxis._offset + xaxis.l2p(surface.x[arguments[0]]),"
        "        box.y + yaxis._offset + yaxis.l2p(surface.y[arguments[1]])].map(Math.round)",
        i,
        j,
    )
    actions = ActionChains(page)
    actions.w3c_actions.pointer_action.move_to_location(place[0] - 9, place[1] - 9)
    actions.w3c_actions.pointer_action.move_to_location(*place)
    actions.perform()


def test_it_opens_without_a_complaint_and_asks_no_server(page):
    assert complaints(page) == []
    loaded = page.execute_script("return performance.getEntriesByType('resource').map((each) => each.name)")
    assert [address for address in loaded if not address.startswith(("data:", "blob:"))] == []
    assert page.execute_script("return document.getElementById('title').textContent") == "3 runs"


def test_switching_the_loss_changes_the_surface(page, runs):
    surface = load_surface(runs[0])
    np.testing.assert_array_equal(_shown(page), surface.values["loss"].T)
    _select(page, "value", "top1")
    np.testing.assert_array_equal(_shown(page), surface.values["top1"].T)
    bar = page.execute_script("return document.getElementById('plot').data[0].colorbar.title.text")
    assert bar == "test top-1 (%)"


def test_layers_are_differences_intervals_and_the_noise_floor(page, runs):
    surface = load_surface(runs[0])
    _select(page, "layer", "change")
    np.testing.assert_allclose(_shown(page), (surface.values["loss"] - surface.values["loss"][2, 2]).T, atol=1e-15)
    low, high = surface.interval("loss")
    _select(page, "layer", "width")
    np.testing.assert_allclose(_shown(page), ((high - low) / 2).T, rtol=1e-5, atol=1e-7)
    _select(page, "layer", "noise")
    assert abs(_shown(page).mean()) < 1e-6
    _select(page, "value", "flip_rate")
    assert page.execute_script("return document.getElementById('layer').value") == "value"  # it has no noise floor


def test_pointing_at_a_point_shows_the_stored_value(page, runs):
    surface = load_surface(runs[0])
    low, high = surface.interval("loss")
    _point_at(page, 1, 3)
    script = "return [...document.querySelectorAll('#plot .hovertext text tspan')].map((line) => line.textContent)"
    lines = wait_for(lambda: page.execute_script(script), "hover")
    z, centre = surface.values["loss"][1, 3], surface.values["loss"][2, 2]
    minus = "\N{MINUS SIGN}"
    assert lines[0] == f"d1 {minus}2.5%, d2 +2.5%"
    assert lines[1] == f"test cross-entropy (nats): {z:.4f}"
    assert lines[2] == f"minus the centre: {z - centre:+.4f}".replace("-", minus)
    assert lines[3] == f"95% interval of that: {low[1, 3]:+.4f} to {high[1, 3]:+.4f}".replace("-", minus)


def test_arrow_keys_move_a_point_whose_values_are_read_out(page, runs):
    from selenium.webdriver.common.keys import Keys

    plot = page.find_element("id", "plot")
    plot.send_keys(Keys.ARROW_RIGHT, Keys.ARROW_UP)
    surface = load_surface(runs[0])
    words = page.find_element("id", "readout").text
    assert f"d1 +2.5%, d2 +2.5%; test cross-entropy (nats): {surface.values['loss'][3, 3]:.4f}" in words
    plot.send_keys(Keys.HOME)
    assert "the calibrated network" in page.find_element("id", "readout").text
    plot.send_keys(Keys.END)
    best = surface.best("loss")
    assert f"{best.values['loss']:.4f}" in page.find_element("id", "readout").text


@pytest.mark.parametrize(("view", "kind"), [("map", "heatmap"), ("contour", "contour"), ("raised", "surface")])
def test_a_grid_is_seen_flat_and_in_three_dimensions(page, view, kind):
    _select(page, "view", view)
    assert page.execute_script("return document.getElementById('plot').data[0].type") == kind
    assert complaints(page) == []


def test_a_cut_is_the_line_through_the_chosen_point(page, runs):
    page.execute_script("goTo([1, 4])")
    _select(page, "view", "cut2")
    curve = page.execute_script(
        "return document.getElementById('plot').data.find((each) => each.mode === 'lines+markers').y"
    )
    np.testing.assert_array_equal(curve, load_surface(runs[0]).values["loss"][1, :])


def test_the_table_is_downloaded_with_all_digits(page, runs):
    page.find_element("id", "csv").click()
    path = wait_for(lambda: next(iter(page.downloads.glob("grid*.csv")), None), "download")
    rows = wait_for(lambda: list(csv.DictReader(path.read_text().splitlines())), "rows of the download")
    table = load_surface(runs[0]).to_dataframe()
    assert list(rows[0]) == list(table.columns)
    for name in table.columns:
        found = np.array([float(row[name]) for row in rows])
        np.testing.assert_allclose(found, table[name], rtol=0 if name != "flip_rate" else 1e-15)


def test_data_are_downloaded_as_json_too(page):
    page.find_element("id", "json").click()
    path = wait_for(lambda: next(iter(page.downloads.glob("grid*.json")), None), "download")
    record = wait_for(lambda: json.loads(path.read_text() or "null"), "content of the download")
    assert len(record["table"]["rows"]) == 25 and record["settings"]["model"] == AWKWARD


def test_a_head_sorts_its_table_both_ways(page):
    column = "#points-table th:nth-child(3) button"
    cells = (
        "return [...document.querySelectorAll('#points-table td:nth-child(3)')].map((cell) => Number(cell.textContent))"
    )
    page.execute_script(f"document.querySelector('{column}').click()")
    rising = page.execute_script(cells)
    assert rising == sorted(rising)
    page.execute_script(f"document.querySelector('{column}').click()")
    assert page.execute_script(cells) == rising[::-1]
    assert (
        page.execute_script("return document.querySelector('#points-table th:nth-child(3)').ariaSort") == "descending"
    )


def test_every_run_can_be_opened_and_names_are_no_tags(page):
    for index, heading in enumerate(["Surface", "Surface", "Searches"]):
        page.execute_script("openRun(arguments[0])", index)
        visible = page.execute_script(
            "return [...document.querySelectorAll('section:not([hidden]) > h3')].map((each) => each.textContent)"
        )
        assert heading in visible
    assert AWKWARD in page.execute_script("return document.getElementById('run-title').textContent")
    assert page.execute_script("return document.images.length") == 0
    assert complaints(page) == []


def test_searches_have_their_pictures_over_the_scan_and_a_table(page):
    page.execute_script("openRun(2)")
    count = "return document.getElementById(arguments[0]).data.length"
    assert page.execute_script(count, "convergence") == 4  # low, high and mean of two seeds; one curve of the other
    kinds = page.execute_script("return document.getElementById('trajectories').data.map((each) => each.type)")
    assert kinds[0] == "heatmap"
    assert page.execute_script("return document.querySelectorAll('#results-table tbody tr').length") == 3


def test_nothing_sticks_out_of_a_narrow_window(page):
    page.set_window_size(500, 900)  # the narrowest that Chromium makes
    try:
        page.execute_script("window.dispatchEvent(new Event('resize'))")
        wide = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
        wait_for(lambda: page.execute_script(wide) <= 0, "no sideways scrolling")
    finally:
        page.set_window_size(1200, 900)

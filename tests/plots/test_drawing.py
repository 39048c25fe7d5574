from __future__ import annotations

import io
import re
from html.parser import HTMLParser

import matplotlib
import numpy as np
import pytest
from matplotlib.collections import QuadMesh
from matplotlib.contour import ContourSet
from matplotlib.figure import Figure
from PIL import Image

from landscape.errors import UserError
from landscape.plots import (
    draw_contours,
    draw_contours_interactive,
    draw_surface,
    draw_surface_interactive,
    save_surface,
    surface_info,
    surface_page,
)
from landscape.plots.paper.axes import edges
from landscape.plots.style import PaperFigure
from landscape.surface import Surface
from tests.plots.surfaces import grid, line, with_gaps

ONLY_CENTRE = np.zeros((5, 7), dtype=bool)
ONLY_CENTRE[2, 3] = True
NAMES = ["loss", "top1", "infonce", "flip_rate"]

AWKWARD = {
    "constant": grid(values={name: np.ones((5, 7)) for name in NAMES}, per_image={}),
    "zero": grid(values={name: np.zeros((5, 7)) for name in NAMES}, per_image={}),
    "one point of a grid": with_gaps(grid(), ONLY_CENTRE),
    "no centre": with_gaps(grid(), ~ONLY_CENTRE),
    "no point": with_gaps(grid(), np.zeros((5, 7), dtype=bool)),
    "infinite": grid(values={name: np.where(ONLY_CENTRE, 1.0, np.inf) for name in NAMES}, per_image={}),
    "one point of a line": with_gaps(line(), np.arange(5) == 2),
    "holes in a line": with_gaps(line(9), np.array([1, 1, 0, 1, 1, 0, 1, 0, 0], dtype=bool)),
    "no point of a line": with_gaps(line(), np.zeros(5, dtype=bool)),
    "a line of one point": line(1),
    "a grid of one point": grid(1, 1),
    "a grid of one row": grid(1, 5),
    "one image": line(images=1),
    "mathematics in a name": grid(settings={"model": r"a$\frac$b_{", "layers": "*" * 300}),
}


def _texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(matplotlib.text.Text)]


def test_a_line_is_a_curve_with_its_interval_and_the_flip_rate_below():
    surface = line()
    figure = draw_surface(surface_info(surface))
    curve, flips = figure.axes
    assert curve.get_ylabel() == "test cross-entropy (nats)"
    assert flips.get_ylabel().replace("\n", " ") == "code-flip rate (% of codes)"
    assert flips.get_xlabel() == "relative change of the scales along d1 (RMS)"
    drawn = next(each for each in curve.lines if each.get_label() == "quantized network")
    np.testing.assert_array_equal(drawn.get_ydata(), surface.values["loss"])
    low, high = surface.interval("loss")
    band = np.asarray(curve.collections[0].get_paths()[0].vertices)
    assert band[:, 1].min() == pytest.approx((surface.values["loss"][2] + low).min())
    assert band[:, 1].max() == pytest.approx((surface.values["loss"][2] + high).max())


def test_the_legend_of_a_line_explains_the_band_and_the_marks():
    surface = line()
    words = " ".join(_texts(draw_surface(surface_info(surface)))).replace("\n", " ")
    assert "95% interval of the difference to the centre (paired bootstrap over 40 images)" in words
    assert f"centre: {surface.values['loss'][2]:.4f}" in words
    assert f"best: {surface.values['loss'].min():.4f}" in words


@pytest.mark.parametrize(("level", "dashed"), [(1.0, True), (9.0, False)])
def test_the_float_level_is_a_line_where_it_is_in_range_and_words_where_it_is_not(level, dashed):
    figure = draw_surface(surface_info(line(reference={"float": {"loss": level}})))
    dashes = [each for each in figure.axes[0].lines if each.get_linestyle() == "--"]
    assert len(dashes) == dashed
    words = f"float network: {level:.4f}" + ("" if dashed else " (outside this range)")
    assert words in _texts(figure)


def test_a_grid_is_two_heat_maps_whose_cells_lie_around_the_points():
    surface = grid()
    figure = draw_surface(surface_info(surface))
    left, right = figure.axes
    assert left.get_xlabel() == right.get_xlabel() == "relative change of the scales along d1 (RMS)"
    assert left.get_ylabel() == "relative change of the scales along d2 (RMS)"
    assert [panel.child_axes[0].get_ylabel() for panel in (left, right)] == [
        "test cross-entropy (nats)",
        "test top-1 (%)",
    ]
    mesh = left.collections[0]
    assert isinstance(mesh, QuadMesh) and surface.beta is not None
    np.testing.assert_array_equal(np.reshape(np.asarray(mesh.get_array()), (7, 5)), surface.values["loss"].T)
    corners = np.array(mesh.get_coordinates())
    np.testing.assert_allclose((corners[:-1, :-1] + corners[1:, 1:])[0, :, 0] / 2, surface.alpha, atol=1e-15)
    np.testing.assert_allclose((corners[:-1, :-1] + corners[1:, 1:])[:, 0, 1] / 2, surface.beta, atol=1e-15)


def test_the_star_of_a_grid_lies_on_the_best_point_and_the_cross_on_the_centre():
    surface = grid()
    lines = draw_surface(surface_info(surface)).axes[0].lines
    marks = {each.get_marker(): np.asarray(each.get_xydata())[0].tolist() for each in lines}
    best = surface.best("loss")
    assert marks == {"P": [0.0, 0.0], "*": [best.alpha, best.beta]}


def test_cells_without_a_value_are_hatched_and_named():
    figure = draw_surface(surface_info(with_gaps(grid(), np.arange(35).reshape(5, 7) < 20)))
    assert figure.axes[0].patch.get_hatch()
    assert np.ma.count_masked(figure.axes[0].collections[0].get_array()) == 15
    assert "no finite value" in _texts(figure)
    assert "no finite value" not in _texts(draw_surface(surface_info(grid())))


def test_contour_lines_are_left_out_where_a_value_has_few_levels():
    info = surface_info(grid(9, 9))
    figure = draw_surface(info)
    loss, top1 = figure.axes
    assert any(isinstance(each, ContourSet) for each in loss.collections)
    assert not any(isinstance(each, ContourSet) for each in top1.collections)
    assert info.values["top1"].levels_words in _texts(figure)
    assert isinstance(draw_contours(info, "top1").axes[0].collections[0], QuadMesh)
    assert isinstance(draw_contours(info, "loss").axes[0].collections[0], ContourSet)
    screen = draw_contours_interactive(info, "top1")
    assert screen.data[0].type == "heatmap" and "13 distinct values" in screen.layout.title.text
    assert draw_contours_interactive(info, "loss").data[0].type == "contour"


def test_uneven_cells_meet_halfway():
    np.testing.assert_allclose(edges(np.array([-1.0, 0.0, 3.0])), [-1.5, -0.5, 1.5, 4.5])


def test_another_value_can_be_drawn_and_an_unknown_one_not():
    assert draw_surface(surface_info(line()), "flip_rate").axes[0].get_ylabel() == "code-flip rate (% of codes)"
    bars = [panel.child_axes[0].get_ylabel() for panel in grid().plot("top1").axes]
    assert bars == ["test top-1 (%)", "test cross-entropy (nats)"]
    with pytest.raises(UserError, match="no value 'mse'"):
        draw_surface(surface_info(line()), "mse")


@pytest.mark.parametrize("name", AWKWARD)
@pytest.mark.filterwarnings("error")
def test_awkward_surfaces_can_be_drawn(name, tmp_path):
    info = surface_info(AWKWARD[name])
    draw_surface(info, "loss").savefig(tmp_path / "picture.png", dpi=50)
    draw_surface(info, "flip_rate")
    draw_surface_interactive(info, "top1").to_json()


def test_no_text_of_a_figure_leaves_it_or_meets_the_header():
    title = {"model": "/networks/with a very/long_path/of_a_network_file.py:W_factory", "layers": "blocks.*.attn.*" * 5}
    for surface in (line(settings=title), grid(settings=title)):
        figure = draw_surface(surface_info(surface))
        frame = figure.bbox
        header = [text.get_window_extent() for text in figure.texts]
        assert all(box.x0 >= frame.x0 and box.x1 <= frame.x1 and box.y1 <= frame.y1 for box in header)
        top = min(box.y0 for box in header)
        for axes in figure.axes:
            box = axes.get_tightbbox()
            assert box is not None and box.y1 <= top and frame.x0 <= box.x0 and box.x1 <= frame.x1


def test_drawing_leaves_the_users_style_alone():
    before = dict(matplotlib.rcParams)
    draw_surface(surface_info(grid())).savefig(io.BytesIO(), format="pdf")
    assert dict(matplotlib.rcParams) == before
    with matplotlib.rc_context({"font.size": 40, "axes.grid": True, "image.cmap": "jet"}):
        crooked = draw_surface(surface_info(line()))
    assert crooked.axes[0].yaxis.label.get_fontsize() == 7.5
    assert not any(each.get_visible() for each in crooked.axes[0].get_xgridlines())


def test_a_pdf_keeps_its_text_as_truetype(tmp_path):
    line().plot().savefig(tmp_path / "curve.pdf")
    content = (tmp_path / "curve.pdf").read_bytes()
    assert b"/CIDFontType2" in content and b"/Type3" not in content


def test_a_notebook_gets_a_picture():
    figure = grid().plot()
    assert isinstance(figure, PaperFigure) and figure._repr_png_().startswith(b"\x89PNG")


def _buttons(figure) -> list[list[str]]:
    return [[button.label for button in menu.buttons] for menu in figure.layout.updatemenus]


def test_buttons_choose_the_value_and_the_view():
    values = ["cross-entropy", "top-1", "infoNCE", "code flips"]
    assert _buttons(line().plotly()) == [values]
    assert _buttons(grid().plotly()) == [values, ["heat map", "3D surface"]]
    assert grid().plotly("infonce").layout.updatemenus[0].active == 2


def test_a_value_button_of_a_grid_brings_values_and_labels_and_leaves_the_view():
    surface = grid()
    data, layout, _ = surface.plotly().layout.updatemenus[0].buttons[1].args
    for trace in (0, 1):
        np.testing.assert_array_equal(np.array(data["z"][trace]), surface.values["top1"].T)
    best = surface.best("top1")
    assert (data["x"][3], data["y"][3]) == ([best.alpha], [best.beta])
    assert set(layout.values()) == {"test top-1 (%)"}
    assert "visible" not in data


def test_a_view_button_shows_its_traces_and_leaves_the_values():
    flat, raised = (button.args for button in grid().plotly().layout.updatemenus[1].buttons)
    assert flat[0] == {"visible": [True, False, True, True, False, False]}
    assert raised[0] == {"visible": [False, True, False, False, True, True]}
    assert flat[1]["xaxis.visible"] and not raised[1]["xaxis.visible"]


def test_a_value_button_of_a_line_brings_curve_band_and_float_level():
    surface = line(reference={"float": {"top1": 500.0}})
    data, layout, _ = surface.plotly().layout.updatemenus[0].buttons[1].args
    assert data["y"][1] == surface.values["top1"].tolist()
    low, high = surface.interval("top1")
    centre = surface.values["top1"][2]
    np.testing.assert_allclose(data["y"][0], [*(centre + low), *(centre + high)[::-1]])
    assert data["visible"][4] == "legendonly" and layout == {"yaxis.title.text": "test top-1 (%)"}


def test_the_band_has_a_gap_where_the_curve_has_one():
    surface = with_gaps(line(7), np.array([1, 1, 0, 1, 1, 1, 0], dtype=bool))
    band = surface.plotly().data[0]
    assert list(band.x).count(None) == 1
    first = list(band.x).index(None)
    np.testing.assert_array_equal(band.x[:first], surface.alpha[[0, 1, 1, 0]])


def test_pointing_at_a_point_shows_place_value_and_interval():
    surface = grid()
    low, high = surface.interval("loss")
    z, centre = surface.values["loss"], surface.values["loss"][2, 3]
    shown = surface.plotly().data[0].text[5][1].replace("\N{MINUS SIGN}", "-")
    assert shown.split("<br>") == [
        "d1 -2.5%, d2 +5%",
        f"test cross-entropy (nats): {z[1, 5]:.4f}",
        f"minus the centre: {z[1, 5] - centre:+.4f}",
        f"95% interval of that: {low[1, 5]:+.4f} to {high[1, 5]:+.4f}",
    ]


def test_axes_of_the_interactive_picture_carry_the_same_labels():
    flat = grid().plotly().layout
    assert flat.xaxis.title.text == flat.scene.xaxis.title.text == "relative change of the scales along d1 (RMS)"
    assert flat.yaxis.title.text == flat.scene.yaxis.title.text == "relative change of the scales along d2 (RMS)"
    assert flat.coloraxis.colorbar.title.text == flat.scene.zaxis.title.text == "test cross-entropy (nats)"
    curve = line().plotly().layout
    assert curve.yaxis.title.text == "test cross-entropy (nats)"
    assert curve.xaxis2.title.text == "relative change of the scales along d1 (RMS)"


def test_a_picture_is_never_sent_to_a_server():
    assert "sendChartToCloud" in grid().plotly().layout.modebar.remove
    assert '"showSendToCloud": false' in surface_page(surface_info(line()))


class _Addresses(HTMLParser):
    """Every address that a tag would load."""

    def __init__(self):
        super().__init__()
        self.found, self.titles = [], []

    def handle_starttag(self, tag, attrs):
        self.titles.append(tag)
        self.found += [value for name, value in attrs if name in ("src", "href", "data", "srcset")]


def test_the_page_is_complete_in_itself():
    page = surface_page(surface_info(grid()))
    parser = _Addresses()
    parser.feed(page)
    assert parser.found == []
    assert len(page) > 1_000_000 and "plotly.js v" in page
    for button in ("cross-entropy", "top-1", "infoNCE", "code flips", "heat map", "3D surface"):
        assert f'"label":"{button}"' in page
    assert "@import" not in re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)


def test_names_are_escaped_in_the_page():
    surface = line(settings={"model": "</title><script>alert('x')</script>&"})
    page = surface_page(surface_info(surface))
    assert "<script>alert" not in page
    assert "<title>&lt;/title&gt;&lt;script&gt;" in page
    assert "&lt;script&gt;alert('x')&lt;/script&gt;&amp;" in surface.plotly().layout.title.text


def test_both_pictures_are_saved_and_the_picture_carries_its_origin(tmp_path):
    info = surface_info(grid())
    paths = save_surface(info, tmp_path)
    assert [path.name for path in paths] == ["surface.png", "surface.html"]
    with Image.open(paths[0]) as picture:
        assert picture.size[0] == round(7.2 * 200)
        assert (picture.info["Title"], picture.info["Description"]) == (info.title, info.subtitle)
    assert paths[1].read_text(encoding="utf-8").startswith("<!doctype html>")


def test_a_folder_that_is_not_there_is_told_in_one_line(tmp_path):
    with pytest.raises(UserError, match="cannot write the pictures"):
        save_surface(surface_info(line()), tmp_path / "absent")


def test_a_surface_from_a_table_alone_can_be_drawn(tmp_path):
    """Without per-image data there is no interval, and none is claimed."""
    surface = Surface(np.array([-0.1, 0.0, 0.1]), None, {"loss": np.array([2.0, 1.0, 3.0])})
    info = surface_info(surface, ("loss",))
    words = " ".join(_texts(draw_surface(info)))
    assert "interval" not in words
    assert "<b>Intervals.</b>" not in surface_page(info)
    assert "<b>Intervals.</b>" in surface_page(surface_info(line()))
    assert info.images is None


@pytest.mark.parametrize("spread", [0.3, 0.0012, 0.00037])
def test_the_levels_of_contours_are_written_with_all_their_digits(spread):
    surface = grid(9, 9)
    z = 17.45 + spread * np.add.outer(np.linspace(0, 1, 9), np.linspace(0, 1, 9) ** 2)
    figure = draw_contours(surface_info(grid(9, 9, values={**surface.values, "loss": z}, per_image={})))
    lines = next(each for each in figure.axes[0].collections if isinstance(each, ContourSet) and each.labelTexts)
    levels = np.array(list(lines.levels))
    for text in lines.labelTexts:
        assert np.abs(levels - float(text.get_text())).min() < 1e-6 * (levels[1] - levels[0])


def test_numbers_on_the_screen_are_written_out_and_a_page_fits_a_narrow_window():
    surface = grid(values={**grid().values, "loss": 1e-4 * grid().values["loss"]}, per_image={})
    figure = draw_surface_interactive(surface_info(surface))
    assert figure.layout.coloraxis.colorbar.minexponent == figure.layout.scene.zaxis.minexponent == 7
    page = surface_page(surface_info(surface))
    assert '<meta name="viewport" content="width=device-width' in page and '<div class="picture" tabindex="0">' in page

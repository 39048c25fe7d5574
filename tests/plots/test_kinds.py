"""Every kind of picture: what its record holds, and that it can be drawn in every format from run folders."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image, ImageSequence

from landscape.cli.app import main
from landscape.errors import UserError
from landscape.plots import load_record, save_record, surface_info
from landscape.plots.kinds import KINDS, default_kind, make_picture
from landscape.plots.options import PlotOptions
from landscape.plots.picture import plain_record, record_text
from landscape.plots.sources import Record, open_source
from landscape.plots.studies import load_study
from landscape.scan import load_surface
from tests.plots.searches import search, stored
from tests.plots.studies import curvature_report, reliability_report
from tests.plots.surfaces import line
from tests.report.runs import stored_scan

NEEDS = {
    "line": ("grid",),
    "trajectories": ("grid", "searches"),
    "convergence": ("searches",),
    "methods": ("searches",),
    "animation": ("grid", "searches"),
    "spectrum": ("curvature.json",),
    "fit": ("curvature.json",),
    "reliability": ("reliability.json",),
    "roughness": ("grid", "other"),
}


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    stored_scan(folder / "grid", points=7)
    stored_scan(folder / "line", points=9, dims=1)
    stored_scan(folder / "other", points=7, block=6, bits="w3a8")
    stored(folder / "searches", [search("evolq (released)", seed) for seed in (0, 1)] + [search("random")])
    (folder / "curvature.json").write_text(json.dumps(curvature_report().to_dict()))
    (folder / "reliability.json").write_text(json.dumps(reliability_report().to_dict()))
    return folder


def _picture(sources, kind: str, **options):
    names = NEEDS.get(kind, ("grid",))
    return make_picture([open_source(sources / name) for name in names], PlotOptions(kind=kind, **options))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("error")
def test_a_kind_has_a_record_and_drawings(sources, kind):
    picture = _picture(sources, kind)
    assert picture.info.title and picture.info.subtitle
    json.dumps(plain_record(picture.info), allow_nan=False)
    if picture.paper:
        figure = picture.paper()
        assert isinstance(figure, Figure) and figure.axes
    if picture.screen:
        assert len(picture.screen().data) > 0


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("vtk", "animation")])
def test_no_text_of_a_picture_leaves_it_or_meets_the_header(sources, kind):
    figure = _picture(sources, kind).paper()
    figure.draw_without_rendering()
    frame = figure.bbox
    header = [text.get_window_extent() for text in figure.texts]
    top = min(box.y0 for box in header)
    for axes in [] if kind == "surface" else figure.axes:  # axes in 3D have no tight box: looked at by eye
        box = axes.get_tightbbox()
        assert box is not None
        assert frame.x0 - 1 <= box.x0 and box.x1 <= frame.x1 + 1 and frame.y0 - 1 <= box.y0
        assert box.y1 <= top + 1


@pytest.mark.parametrize("kind", KINDS)
def test_the_command_draws_it(sources, kind, tmp_path, capsys):
    names = [str(sources / name) for name in NEEDS.get(kind, ("grid",))]
    formats = {"vtk": "vts", "animation": "html"}.get(kind, "pdf,png,svg,html,json")
    code = main(["plot", *names, "--kind", kind, "--format", formats, "--out", str(tmp_path), "--json"])
    told = json.loads(capsys.readouterr().out)
    assert code == 0 and [path.rpartition(".")[2] for path in told["files"]] == formats.split(",")
    for path in told["files"]:
        assert (tmp_path / path.rpartition("/")[2]).stat().st_size > 500


@pytest.mark.parametrize("kind", KINDS)
def test_a_record_in_a_file_is_drawn_again(sources, kind, tmp_path):
    first = _picture(sources, kind)
    path = save_record(first.info, tmp_path / "record.json")
    again = make_picture([open_source(path)], PlotOptions(kind=kind))
    assert plain_record(again.info) == plain_record(first.info)
    assert again.formats == first.formats
    if again.screen:
        assert len(again.screen().data) > 0
    other = "reliability" if kind != "reliability" else "fit"
    with pytest.raises(UserError, match=f"--kind {other} is not possible of the record"):
        make_picture([open_source(path)], PlotOptions(kind=other))


def test_a_record_that_an_older_version_wrote_is_drawn_with_defaults_for_what_it_lacks(tmp_path):
    data = json.loads(record_text(surface_info(line())))
    del data["verdicts"]
    (tmp_path / "old.json").write_text(json.dumps(data))
    old = open_source(tmp_path / "old.json")
    assert isinstance(old, Record) and old.info.verdicts == {}
    del data["title"]
    (tmp_path / "broken.json").write_text(json.dumps(data))
    with pytest.raises(UserError, match=r"no record of a picture .*title"):
        open_source(tmp_path / "broken.json")


def test_a_record_gets_the_kind_that_fits_it(sources, tmp_path):
    for kind in ("heatmap", "floor", "convergence", "fit"):
        path = save_record(_picture(sources, kind).info, tmp_path / f"{kind}.json")
        assert default_kind([open_source(path)]) == kind
    with pytest.raises(UserError, match="no record of a picture"):
        load_record(sources / "curvature.json")


def test_a_table_of_roughness_is_drawn_with_the_most_images_of_each_line(sources, tmp_path):
    from landscape.roughness import noise_floor

    found = noise_floor(load_surface(sources / "grid"), "loss")["jaggedness"].to_dict()
    about = {"network": "deit", "bits": "w4a8", "part": "5", "value": "loss", "step": 0.0025, "dims": 1}
    rows = [
        {**about, "run": "a", "images": n, "flip_rate": 0.08, "jaggedness": {**found, "images": n}} for n in (40, 20)
    ]
    rows.append({**rows[0], "run": "b", "network": "resnet20", "part": "layer2.*"})
    (tmp_path / "table.json").write_text(json.dumps(rows))
    info = make_picture([open_source(tmp_path / "table.json")]).info
    assert [(row.place, row.images, row.flips) for row in info.rows] == [("block 5", 40, 8.0), ("layer2.*", 40, 8.0)]
    assert info.rows[0].measured == pytest.approx(np.sqrt(found["measured"]))
    assert [info.x_of(row) for row in info.rows] == [0.0, 1.0]  # alone at its place: in the middle
    with pytest.raises(UserError, match="the table has no 'mse'; it has loss"):
        make_picture([open_source(tmp_path / "table.json")], PlotOptions(value="mse"))


def test_by_default_a_run_gets_the_kind_that_fits_it_and_two_formats(sources, tmp_path, capsys):
    for name, kind in [("line", "line"), ("grid", "heatmap"), ("searches", "convergence"), ("curvature.json", "fit")]:
        assert main(["plot", str(sources / name), "--out", str(tmp_path)]) == 0
        assert (tmp_path / f"{kind}.pdf").is_file() and (tmp_path / f"{kind}.png").is_file()


def test_out_may_name_a_file_whose_ending_is_the_format(sources, tmp_path):
    assert main(["plot", str(sources / "grid"), "--out", str(tmp_path / "a" / "mine.svg")]) == 0
    assert (tmp_path / "a" / "mine.svg").is_file() and not (tmp_path / "a" / "mine.png").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["line", "--kind", "heatmap"], "this run is a line"),
        (["line", "--kind", "surface"], "this run is a line"),
        (["grid", "--kind", "pie"], "give one of line, heatmap"),
        (["grid", "--kind", "convergence"], "has none"),
        (["searches", "--kind", "floor"], "needs a scan"),
        (["grid", "--kind", "spectrum"], "landscape curvature --out FILE"),
        (["grid", "--value", "mse"], "no value 'mse'"),
        (["grid", "--format", "docx"], "--format docx"),
        (["grid", "--out", "picture.docx"], "no format to write"),
        (["grid", "--cut", "3", "--kind", "line"], "--cut 3"),
        (["grid", "--level", "95"], "--level 95"),
        (["absent"], "there is no run"),
        ([], "no run is given"),
    ],
)
def test_a_mistake_is_told_in_one_line(sources, arguments, words, capsys):
    given = [str(sources / part) for part in arguments[:1]] + arguments[1:]
    assert main(["plot", *given]) == 2
    told = capsys.readouterr().err.strip()
    assert words in told and "\n" not in told


def test_a_search_of_another_network_is_not_drawn_over_a_scan(sources, tmp_path):
    other = stored(tmp_path / "other", [search()], bits="w8a8")
    with pytest.raises(UserError, match="bits is w8a8 there and w4a8 in the scan"):
        make_picture([open_source(sources / "grid"), open_source(other)], PlotOptions(kind="trajectories"))


def test_the_list_names_every_kind(capsys):
    assert main(["plot", "--list"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in told] == list(KINDS)


def test_a_file_of_a_study_is_read_back_as_it_was_written(sources):
    assert load_study(sources / "curvature.json") == curvature_report()
    read = load_study(sources / "reliability.json")
    assert repr(read) == repr(reliability_report())  # NaN is not equal to itself


def test_another_file_is_no_study(tmp_path):
    (tmp_path / "a.json").write_text("{}")
    (tmp_path / "b.json").write_text("no json")
    for name in ("a.json", "b.json"):
        with pytest.raises(UserError, match="no record of a study"):
            open_source(tmp_path / name)


def test_the_animation_has_its_frames_and_ends_where_the_searches_end(sources, tmp_path):
    from landscape.plots.paper.animation import save_animation

    info = _picture(sources, "animation").info
    path = save_animation(info, tmp_path / "film.gif", frames=4, width=3.0)
    with Image.open(path) as film:
        sizes = [frame.size for frame in ImageSequence.Iterator(film)]
        assert len(sizes) >= 4 and len(set(sizes)) == 1
    figure = _picture(sources, "animation").screen()
    last = figure.frames[-1].data[0]
    kept = info.paths[0].accepted
    np.testing.assert_array_equal(np.array(last.x, dtype=float), info.paths[0].x[kept])
    assert len(figure.frames[0].data[0].x) < kept.sum()


def _vtk_arrays(path) -> dict[str, np.ndarray]:
    """Arrays of a VTK file, read by its documentation: 8 bytes of length, then float64."""
    import base64

    found = {}
    for element in ElementTree.parse(path).iter("DataArray"):
        raw = base64.b64decode(element.text or "")
        (length,) = np.frombuffer(raw[:8], "<u8")
        assert length == len(raw) - 8
        found[element.attrib["Name"]] = np.frombuffer(raw[8:], "<f8").reshape(
            -1, int(element.attrib["NumberOfComponents"])
        )
    return found


def test_a_vtk_file_holds_every_value_at_its_place(sources, tmp_path):
    picture = _picture(sources, "vtk")
    (path,) = picture.save(tmp_path / "grid", ["vts"])
    surface = load_surface(sources / "grid")
    assert surface.beta is not None
    arrays = _vtk_arrays(path)
    extent = ElementTree.parse(path).getroot()[0].attrib["WholeExtent"]
    assert extent == "0 6 0 6 0 0"
    points = arrays["points"].reshape(7, 7, 3)  # the first index runs fastest: [j, i]
    np.testing.assert_allclose(points[2, 5, :2], [100 * surface.alpha[5], 100 * surface.beta[2]])
    loss = arrays["loss"].reshape(7, 7)
    assert loss[2, 5] == surface.values["loss"][5, 2]
    height = points[..., 2]
    assert height.min() == 0 and height.max() == pytest.approx(100 * (surface.alpha[-1] - surface.alpha[0]) / 2)
    assert np.argmax(height) == np.argmax(loss)
    assert {"loss", "top1", "infonce", "flip_rate", "loss_low", "loss_high"} <= arrays.keys()


def test_vtk_itself_reads_the_file(sources, tmp_path):
    reader_of = pytest.importorskip("vtkmodules.vtkIOXML", reason="the vtk library is not installed")
    (path,) = _picture(sources, "vtk").save(tmp_path / "grid", ["vts"])
    reader = reader_of.vtkXMLStructuredGridReader()
    reader.SetFileName(str(path))
    reader.Update()
    read = reader.GetOutput()
    dimensions = [0, 0, 0]
    read.GetDimensions(dimensions)
    assert dimensions == [7, 7, 1]
    surface = load_surface(sources / "grid")
    assert surface.beta is not None
    names = [read.GetPointData().GetArrayName(k) for k in range(read.GetPointData().GetNumberOfArrays())]
    assert {"loss", "top1", "infonce", "flip_rate", "loss_low", "top1_high"} <= set(names)
    for i, j in ((0, 0), (5, 2), (2, 6)):
        at = i + 7 * j  # the first index runs fastest
        place = read.GetPoint(at)
        np.testing.assert_allclose(place[:2], [100 * surface.alpha[i], 100 * surface.beta[j]])
        for name in ("loss", "top1", "infonce"):
            assert read.GetPointData().GetArray(name).GetValue(at) == surface.values[name][i, j]

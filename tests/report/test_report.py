"""The report's data: what is inside the page, how large it is, and the commands it gives."""

from __future__ import annotations

import base64
import json
import re
import shlex

import numpy as np
import pytest

import landscape
from landscape.cli.app import main
from landscape.errors import UserError
from landscape.plots import convergence_info, save_record
from landscape.refine import refine
from landscape.report import ReportOptions, build_report, save_report
from landscape.report.packing import packed
from landscape.report.refinement import line_levels
from landscape.report.run_data import quantized_parts, scan_command
from landscape.scan import load_surface
from tests.plots.searches import search, stored
from tests.plots.studies import curvature_report, reliability_report
from tests.report.runs import stored_scan

FEW = ReportOptions(draws=5)


def _data(page: str) -> dict:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found
    return json.loads(found[1])


def _unpacked(entry: dict) -> np.ndarray:
    return np.frombuffer(base64.b64decode(entry["data"]), dtype=f"<{entry['type']}")


def test_values_are_in_the_page_bit_for_bit(tmp_path):
    folder = stored_scan(tmp_path / "grid")
    surface = load_surface(folder)
    shown = _data(build_report([folder], FEW))["runs"][0]["surface"]
    assert shown["x"] == surface.alpha.tolist() and shown["centre"] == [2, 2]
    by_name = {value["name"]: value for value in shown["values"]}
    assert list(by_name) == ["loss", "top1", "infonce", "flip_rate"]
    assert _unpacked(by_name["loss"]["z"]).tolist() == surface.values["loss"].ravel().tolist()
    low, _ = surface.interval("loss")
    np.testing.assert_allclose(_unpacked(by_name["loss"]["low"]), low.ravel(), rtol=1e-6, atol=1e-9)
    assert by_name["flip_rate"]["low"] is None and by_name["flip_rate"]["floor"] is None


def test_nan_and_infinity_survive_packing():
    values = np.array([1.5, np.nan, np.inf, -0.0])
    assert _unpacked(packed(values)).tobytes() == values.tobytes()


def test_a_value_without_a_floor_says_why(tmp_path):
    folder = stored_scan(tmp_path / "few", images=3)
    value = _data(build_report([folder], FEW))["runs"][0]["surface"]["values"][0]
    assert value["floor"] is None and "at least" in value["no_floor"]


def test_the_page_holds_settings_scheme_versions_and_what_stays_in_floating_point(tmp_path):
    run = _data(build_report([stored_scan(tmp_path / "grid")], FEW))["runs"][0]
    assert ["bits", "w4a8"] in run["settings"]
    assert ["weights", "4 bits <per channel>"] in run["scheme"]
    assert run["float_parts"] == ["biases of 3 layers", "norm: weight & <bias>"]
    assert run["versions"] == [["evolq-landscape", "0.1.0"]]
    assert run["status"] == "finished"


def test_quantized_tensors_of_all_blocks_share_a_row():
    names = [
        "quantized/blocks.0.qkv.weight.scale",
        "quantized/blocks.1.qkv.weight.scale",
        "quantized/head.output.scale",
    ]
    assert quantized_parts([*names, "quantized/head.output.zero_point", "teacher"]) == [
        {"pattern": "blocks.*.qkv.weight", "count": 2, "kind": "weights"},
        {"pattern": "head.output", "count": 1, "kind": "activations"},
    ]


def test_the_command_has_every_setting_that_is_no_default():
    settings = {
        "kind": "scan",
        "model": "a b.py:net",
        "bits": "w4a8",
        "block": 5,
        "dims": 1,
        "points": 21,
        "radius": 0.1,
    }
    words = shlex.split(scan_command(settings, "my run"))
    assert words[:2] == ["landscape", "scan"] and words[-2:] == ["--out", "runs/my run"]
    given = dict(zip(words[2::2], words[3::2], strict=True))
    assert given["--model"] == "a b.py:net" and given["--block"] == "5" and given["--radius"] == "0.1"
    assert given["--dims"] == "1" and "--points" not in given  # 21 is the default


def test_names_cannot_end_a_script_or_begin_a_tag(tmp_path):
    folder = stored_scan(tmp_path / "grid", model="</script><b>&\u2028")
    page = build_report([folder], ReportOptions(title="<b>mine</b>", draws=0))
    assert "</script><b>" not in page and "\u2028" not in page
    assert "<title>&lt;b&gt;mine&lt;/b&gt;</title>" in page
    assert _data(page)["runs"][0]["model"] == "</script><b>&\u2028"


def test_the_page_asks_no_server_and_holds_plotly_once(tmp_path):
    page = build_report([stored_scan(tmp_path / "grid"), stored_scan(tmp_path / "line", 7, dims=1)], FEW)
    assert page.count("* plotly.js v") == 1
    tags = re.sub(r"<script[ >].*?</script>", "", page, flags=re.DOTALL)
    assert not re.search(r"\b(src|srcset)=|href=\"http|@import|url\(", tags)


def test_searches_are_drawn_over_the_scan_they_started_from(tmp_path):
    scan = stored_scan(tmp_path / "grid")
    searches = stored(tmp_path / "searches", [search("evolq"), search("random")])
    found = _data(build_report([searches, scan], FEW))["runs"][0]["search"]
    assert set(found["pictures"]) == {"convergence", "methods", "trajectories"} and found["missing"] == {}
    assert [row[0] for row in found["table"]["rows"]] == ["evolq", "random"]
    other = stored(tmp_path / "others", [search("evolq")], bits="w8a8")
    paths = _data(build_report([other, scan], FEW))["runs"][0]["search"]["pictures"]["trajectories"]
    assert "principal component" in paths["layout"]["xaxis"]["title"]["text"]


def test_what_a_search_did_not_keep_is_told(tmp_path):
    folder = stored(tmp_path / "searches", [search("evolq", coordinates=None, finished=False)])
    missing = _data(build_report([folder], FEW))["runs"][0]["search"]["missing"]
    assert "--keep-points" in missing["trajectories"] and "no search is finished" in missing["methods"]


def test_an_unfinished_scan_has_a_report(tmp_path):
    from landscape.store import RunStore

    folder = stored_scan(tmp_path / "grid")
    settings = load_surface(folder).settings
    with RunStore.create(tmp_path / "begun", dict(settings)) as store:
        store.save_point(12, [0.0, 0.0], {"loss": 1.0}, {"loss": np.ones(3)}, 0.1)
    run = _data(build_report([tmp_path / "begun"], FEW))["runs"][0]
    assert run["status"] == "interrupted" and run["surface"]["complete"] is False
    assert np.isnan(_unpacked(run["surface"]["values"][0]["z"])).sum() == 24


def test_no_run_and_no_place_are_told_in_one_line(tmp_path):
    with pytest.raises(UserError, match="no run is given"):
        build_report([])
    with pytest.raises(UserError, match="there is no run in"):
        build_report([tmp_path])
    with pytest.raises(UserError, match="is a folder"):
        save_report([stored_scan(tmp_path / "grid")], tmp_path, FEW)
    with pytest.raises(UserError, match="--draws -1"):
        ReportOptions(draws=-1)


def test_the_command_line_writes_a_page(tmp_path, capsys):
    folder = stored_scan(tmp_path / "grid")
    assert main(["report", str(folder), "--out", str(tmp_path / "a" / "page.html"), "--draws", "5", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["bytes"] == (tmp_path / "a" / "page.html").stat().st_size
    assert main(["report", str(tmp_path / "absent")]) == 2
    assert "there is no run" in capsys.readouterr().err


@pytest.mark.slow
def test_ten_large_runs_stay_below_ten_megabytes(tmp_path):
    folders = [stored_scan(tmp_path / f"run{number}", points=51, images=20) for number in range(10)]
    path = save_report(folders, tmp_path / "report.html", ReportOptions(draws=0))
    assert path.stat().st_size < 10e6


def test_studies_in_a_run_folder_are_part_of_its_page_and_other_files_are_not(tmp_path):
    folder = stored_scan(tmp_path / "grid")
    (folder / "curvature.json").write_text(json.dumps(curvature_report().to_dict()))
    (folder / "reliability.json").write_text(json.dumps(reliability_report().to_dict()))
    (folder / "notes.json").write_text("[1, 2]")
    curvature, gradients = _data(build_report([folder], FEW))["runs"][0]["studies"]
    assert [picture["title"] for picture in curvature["pictures"]] == [
        "How far local models of the loss hold",
        "Spectrum of the curvature",
    ]
    operators, models = curvature["tables"]
    first = curvature_report().curvatures[0]
    row = dict(zip(operators["head"], operators["rows"][0], strict=True))
    assert (row["operator"], row["largest"], row["trace"]) == ("hessian", first.largest[0], first.trace)
    assert len(models["rows"]) == 2 * len(curvature_report().fits[0].radii)
    assert gradients["name"] == "reliability" and "gradients of infoNCE" in gradients["subtitle"]
    agreement = gradients["tables"][0]
    assert "the centre" in [row[0] for row in agreement["rows"]]


def test_files_of_studies_and_records_are_runs_of_their_own(tmp_path):
    stored(tmp_path / "searches", [search(), search("random")])
    (tmp_path / "reliability.json").write_text(json.dumps(reliability_report().to_dict()))
    info = convergence_info([search(), search("random")], "a network")
    save_record(info, tmp_path / "curves.json")
    names = ("searches", "reliability.json", "curves.json")
    searches, study, curves = _data(build_report([tmp_path / name for name in names], FEW))["runs"]
    assert searches["studies"] == [] and searches["search"] is not None
    assert study["kind"] == "study" and ["model", "deit_tiny_patch16_224"] in study["settings"]
    assert curves["title"] == "a network" and len(curves["studies"][0]["pictures"][0]["figure"]["data"]) >= 2
    with pytest.raises(UserError, match="no record of a study"):
        build_report([tmp_path / "absent.json", *_written(tmp_path / "other.json", "{}")][1:], FEW)


def _written(path, text: str) -> list:
    path.write_text(text)
    return [path]


@pytest.mark.parametrize(
    ("axis", "levels"),
    [
        ([-0.1, 0.0, 0.1], [0, 0, 0]),
        ([0.0, 0.05, 0.1, 0.125, 0.15], [0, 1, 0, 2, 1]),
        ([-0.1, -0.0125, 0.0], [0, 3, 0]),
    ],
)
def test_the_level_of_a_grid_line_counts_how_often_its_gap_was_halved(axis, levels):
    assert line_levels(np.array(axis), 0.1).tolist() == levels


def test_a_refined_run_says_which_lines_were_added(tmp_path):
    problem = landscape.load_problem(block=1, images=20, calib_images=20, infonce_batch=5)
    landscape.scan(problem, out=tmp_path / "first", points=3, radius=0.1)
    refine(problem, tmp_path / "first", tmp_path / "finer", lines=3)
    (run,) = _data(build_report([tmp_path / "finer"], FEW))["runs"]
    found, surface = run["refinement"], load_surface(tmp_path / "finer")
    assert surface.beta is not None
    assert found["from"] == "first" and "9 grid lines, 6 of the first scan" in found["words"]
    for levels, axis in ((found["x"], surface.alpha), (found["y"], surface.beta)):
        assert [level == 0 for level in levels] == np.isin(axis, [-0.1, 0.0, 0.1]).tolist()
    scan, refined = run["command"].splitlines()
    assert scan.endswith("--out runs/first")
    assert refined.startswith("landscape refine runs/first ") and "--lines=3" in refined

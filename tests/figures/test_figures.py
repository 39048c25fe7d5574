"""The figures of the study: each has its runs, commands and words; packed runs hold what a picture needs."""

from __future__ import annotations

import lzma
import re
import sqlite3
import subprocess

import numpy as np
import pytest

from figures import deit_paths, runs
from figures.all import figures, page
from figures.all import main as all_figures
from figures.command_line import run_script
from figures.deit_paths import METHODS
from figures.packing import keep
from figures.places import HOME, QUICK, Place, place_for, shared_data
from figures.runs import SCANS, SCRIPTS, TABLES, command_of, folder_of, is_there, scan_words, shown_place
from landscape.errors import UserError
from landscape.plots.kinds import KINDS
from landscape.scan import load_surface
from landscape.trajectory import load_trajectories
from tests.plots.searches import search, stored
from tests.report.runs import stored_scan


@pytest.mark.parametrize("figure", figures(), ids=lambda figure: figure.name)
def test_a_figure_names_a_kind_runs_that_are_there_and_words(figure):
    assert figure.kind in KINDS and figure.missing() == []
    assert figure.title and figure.words.endswith(".")
    for run in figure.runs:
        assert run in {**SCANS, **SCRIPTS, **TABLES}
        assert command_of(run).split()[0] in ("landscape", "python")


def test_the_page_shows_every_figure_with_the_commands_that_made_it():
    text = page(figures())
    for figure in figures():
        assert f"(gallery/{figure.name}.{figure.formats[0]})" in text and figure.title in text
        for run in figure.runs:
            assert command_of(run) in text


def test_every_kind_but_the_export_is_in_the_gallery():
    assert {figure.kind for figure in figures()} >= set(KINDS) - {"vtk", "contour"}


def test_a_figure_is_drawn_from_its_kept_run(tmp_path):
    figure = next(each for each in figures() if each.kind == "convergence")
    files = figure.draw(Place(tmp_path))
    assert [file.name for file in files] == [f"{figure.name}.png", f"{figure.name}.pdf"]
    assert all(file.stat().st_size > 5000 for file in files)


def test_runs_on_fewer_images_leave_what_is_kept_alone(tmp_path):
    assert place_for(None) == HOME and place_for(40) == QUICK
    assert is_there("deit_search", Place(tmp_path))  # the repository's, where a place has none of its own
    assert folder_of("roughness").is_file() and shown_place("deit_plane") == "runs/deit_plane"
    with pytest.raises(UserError, match=r"make it with: python figures/runs\.py absent"):
        folder_of("absent")


def test_a_run_on_few_images_still_has_four_batches_of_infonce():
    words = scan_words("deit_block5", "a folder", 40)
    assert words[-4:] == ["--images", "40", "--infonce-batch", "10"] and "a folder/imagenette-mini" in words
    assert scan_words("deit_plane", "data", 300)[-1] == "40"  # never more than the figure's own
    assert "--infonce-batch" not in scan_words("deit_block5", "data")


@pytest.mark.parametrize(
    ("main", "words", "said"),
    [
        (all_figures, ["--rerun", "--images", "3"], "--images 3 is too few: .* give 16 or more"),
        (all_figures, ["--images", "40"], "--images is of no use without --rerun"),
        (all_figures, ["--bogus"], "unrecognized arguments: --bogus"),
        (runs.main, ["nonsense"], "no run is called 'nonsense'; there are deit_block5,"),
        (runs.main, ["resnet20", "--images", "40"], "no networks and images in .*absent"),
        (deit_paths.main, ["--methods", "random"], "--methods lacks evolq/ours and hessian/tokens"),
        (deit_paths.main, ["--methods", "bogus", "--points", "0"], "unknown method 'bogus'"),
        (deit_paths.main, ["--seeds", "0"], "--seeds 0 is too few; give 1 or more"),
    ],
)
def test_a_mistake_on_the_command_line_is_told_in_one_line_before_any_work(
    main, words, said, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("LANDSCAPE_SHARED_DATA", str(tmp_path / "absent"))
    with pytest.raises(SystemExit) as left:
        run_script(lambda: main([*words, "--out", str(tmp_path / "out")]))
    assert left.value.code == 2
    assert re.fullmatch(f"error: {said}.*\n", capsys.readouterr().err)


def test_ctrl_c_ends_with_one_line_and_what_a_command_said_is_not_said_again(capsys):
    def interrupted():
        raise KeyboardInterrupt

    def failed():
        raise subprocess.CalledProcessError(2, ["landscape"])

    for main, code, lines in ((interrupted, 130, 2), (failed, 2, 0)):
        with pytest.raises(SystemExit) as left:
            run_script(main)
        assert left.value.code == code and capsys.readouterr().err.count("\n") == lines


def test_the_folder_of_real_data_is_that_of_the_tests_unless_the_environment_names_another(monkeypatch, tmp_path):
    monkeypatch.setenv("LANDSCAPE_SHARED_DATA", str(tmp_path))
    assert shared_data() == tmp_path


def test_a_packed_scan_keeps_points_and_moved_scales_and_nothing_else_of_the_network(tmp_path):
    folder = stored_scan(tmp_path / "grid")
    with sqlite3.connect(folder / "run.sqlite") as open_meanwhile:
        open_meanwhile.execute(
            "INSERT INTO arrays SELECT 'teacher', dtype, shape, data FROM arrays WHERE name = 'directions'"
        )
    packed = _unpacked(keep(folder, tmp_path / "grid.sqlite.xz"), tmp_path / "again")
    before, after = load_surface(folder), load_surface(packed)
    for name in before.names:
        np.testing.assert_array_equal(after.values[name], before.values[name])
    np.testing.assert_array_equal(after.per_image["loss"], before.per_image["loss"])
    assert "teacher" not in _arrays(packed) and _arrays(packed) >= {
        "directions",
        "quantized/blocks.5.attn.qkv.weight.scale",
    }


def test_a_packed_search_keeps_its_trajectories_and_not_the_states_of_its_optimizers(tmp_path):
    folder = stored(tmp_path / "searches", [search(), search("random")])
    packed = _unpacked(keep(folder, tmp_path / "searches.sqlite.xz"), tmp_path / "again")
    for before, after in zip(load_trajectories(folder), load_trajectories(packed), strict=True):
        np.testing.assert_array_equal(after.value, before.value)
        assert after.result == before.result
    with sqlite3.connect(packed / "run.sqlite") as database:
        assert database.execute("SELECT count(*) FROM trajectories WHERE state IS NOT NULL").fetchone() == (0,)


def test_a_packed_run_does_not_tell_where_the_images_lay(tmp_path, monkeypatch):
    monkeypatch.setenv("LANDSCAPE_SHARED_DATA", str(tmp_path))
    folder = stored_scan(tmp_path / "grid")
    with sqlite3.connect(folder / "run.sqlite") as database:
        database.execute("INSERT INTO meta VALUES ('images', ?)", (f'["{tmp_path}/imagenet-mini"]',))
    packed = _unpacked(keep(folder, tmp_path / "grid.sqlite.xz"), tmp_path / "again")
    with sqlite3.connect(packed / "run.sqlite") as database:
        (found,) = database.execute("SELECT value FROM meta WHERE key = 'images'").fetchone()
    assert found == '["../shared/data/imagenet-mini"]'


def test_the_gallery_page_says_what_the_figures_say():
    assert (HOME.root / "README.md").read_text(encoding="utf-8") == page(figures())


def test_the_methods_of_the_paths_are_those_of_the_study():
    from evolq.run import MethodOptions

    for name in METHODS.split(","):
        assert MethodOptions(method=name).kind()


def _unpacked(packed, folder):
    folder.mkdir()
    (folder / "run.sqlite").write_bytes(lzma.decompress(packed.read_bytes()))
    return folder


def _arrays(folder) -> set[str]:
    with sqlite3.connect(folder / "run.sqlite") as database:
        return {row[0] for row in database.execute("SELECT name FROM arrays")}

"""What is stored comes back bit for bit; what does not belong, and other settings, are refused; the state is told."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from landscape.errors import UserError
from landscape.store import RunStore
from tests.store.points import (
    IMAGES,
    SETTINGS,
    assert_points_are_whole,
    point_images,
    point_values,
    save,
)

# What is stored comes back


def test_points_come_back_sorted_and_bit_for_bit(store: RunStore) -> None:
    for index in (4, 0, 2):
        save(store, index)
    assert_points_are_whole(store, [0, 2, 4])
    table = store.values()
    assert list(table.columns) == ["index", "coordinate_0", "coordinate_1", "loss", "top1", "seconds"]
    assert table["index"].dtype == np.int64
    assert table["coordinate_0"].tolist() == [0.0, 0.2, 0.4]
    assert np.signbit(table["coordinate_1"]).all()
    assert table["seconds"].tolist() == [0.25] * 3


def test_awkward_aggregates_keep_sign_and_meaning(store: RunStore) -> None:
    values: dict[str, Any] = {
        "nan": np.nan,
        "zero": -0.0,
        "infinite": -np.inf,
        "tiny": 5e-324,
        "single": np.float32(0.1),
    }
    store.save_point(0, [], values, {}, 0.0)
    row = store.values().iloc[0]
    assert np.isnan(row["nan"])
    assert np.signbit(row["zero"])
    assert row["infinite"] == -np.inf
    assert row["tiny"] == 5e-324
    assert row["single"] == 13421773 / 2**27  # what float32 makes of 0.1


def test_a_run_without_points_has_empty_tables(store: RunStore) -> None:
    assert store.done() == set()
    assert list(store.values().columns) == ["index", "seconds"]
    assert len(store.values()) == 0
    indices, values = store.per_image("cross_entropy")
    assert indices.shape == (0,)
    assert values.shape == (0, 0)


def test_every_array_comes_back_bit_for_bit(store: RunStore) -> None:
    arrays = hnp.arrays(hnp.scalar_dtypes(), hnp.array_shapes(min_dims=0, min_side=0, max_side=3), fill=st.nothing())
    names = (f"array {number}" for number in range(10**6))

    @given(arrays)
    def check(array: npt.NDArray[Any]) -> None:
        name = next(names)
        store.save_array(name, array)
        loaded = store.load_array(name)
        assert loaded.dtype == array.dtype
        assert loaded.shape == array.shape
        assert loaded.tobytes() == array.tobytes()

    check()


def test_arrays_in_another_memory_order_keep_their_entries(store: RunStore) -> None:
    array = np.arange(12, dtype=">i2").reshape(3, 4).T[::2]
    store.save_array("view", array)
    loaded = store.load_array("view")
    np.testing.assert_array_equal(loaded, array)
    assert loaded.dtype.str == ">i2"
    loaded[0, 0] = 7  # the caller's own copy


def test_settings_arrays_and_meta_survive_closing(tmp_path: Path) -> None:
    with RunStore.create(tmp_path / "run", SETTINGS, {"axis": np.array([-1.0, 0.0, 1.0])}) as store:
        store.set_meta("host", "first")
        store.set_meta("host", {"cores": [0, 1]})
        save(store, 0)
    with RunStore.open(tmp_path / "run") as store:
        assert store.settings == SETTINGS
        assert store.array_names() == ["axis"]
        assert store.load_array("axis").tolist() == [-1.0, 0.0, 1.0]
        assert store.get_meta("host") == {"cores": [0, 1]}
        assert store.get_meta("nothing") is None
        assert_points_are_whole(store, [0])


# What does not belong is refused


def test_a_point_is_stored_once(store: RunStore) -> None:
    save(store, 3)
    with pytest.raises(ValueError, match="point 3 is stored already"):
        save(store, 3)
    assert_points_are_whole(store, [3])


@pytest.mark.parametrize(
    "changed",
    [
        {"coordinates": [0.1]},
        {"values": {"loss": 1.0}},
        {"values": {"loss": 1.0, "top1": 2.0, "more": 3.0}},
        {"per_image": point_images(1, IMAGES + 1)},
        {"per_image": {"cross_entropy": np.zeros(IMAGES)}},
        {"per_image": {"cross_entropy": np.zeros((2, 10)), "correct": np.zeros(IMAGES)}},
        {"index": -1},
    ],
)
def test_a_point_of_another_form_is_refused_and_leaves_nothing(store: RunStore, changed: dict[str, Any]) -> None:
    save(store, 0)
    point: dict[str, Any] = {
        "index": 1,
        "coordinates": [0.1, 0.2],
        "values": point_values(1),
        "per_image": point_images(1),
        "seconds": 0.1,
    }
    with pytest.raises(ValueError, match=r"expected|axis"):
        store.save_point(**(point | changed))
    assert_points_are_whole(store, [0])


def test_names_of_columns_and_numbers_that_float64_lacks_are_refused(store: RunStore) -> None:
    with pytest.raises(ValueError, match="may not be named"):
        store.save_point(0, [0.0], {"coordinate_0": 1.0}, {}, 0.0)
    with pytest.raises(TypeError):
        store.save_point(0, [0.0], {}, {"complex": np.array([1j])}, 0.0)
    assert store.done() == set()


def test_arrays_of_objects_and_names_in_use_are_refused(store: RunStore) -> None:
    store.save_array("axis", np.zeros(2))
    with pytest.raises(ValueError, match="'axis' is stored already"):
        store.save_array("axis", np.zeros(2))
    with pytest.raises(ValueError, match="dtype object"):
        store.save_array("names", np.array([None, "a"], dtype=object))
    with pytest.raises(ValueError, match=r"no array 'centre'.*axis"):
        store.load_array("centre")


def test_unknown_names_and_modes_tell_what_there_is(store: RunStore) -> None:
    save(store, 0)
    with pytest.raises(ValueError, match=r"no per-image quantity 'loss'.*\['correct', 'cross_entropy'\]"):
        store.per_image("loss")
    with pytest.raises(ValueError, match="expected 'read' or 'append'"):
        RunStore.open(store.folder, "write")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="kept by the store itself"):
        store.set_meta("settings", {})
    with pytest.raises(ValueError, match="JSON"):
        store.set_meta("total", float("nan"))


def test_a_reader_cannot_write(store: RunStore) -> None:
    with RunStore.open(store.folder) as reader, pytest.raises(ValueError, match="expected mode='append'"):
        save(reader, 0)


# Settings of a resumed run


def test_equal_settings_are_accepted_however_they_are_written(store: RunStore) -> None:
    reordered = {key: SETTINGS[key] for key in reversed(SETTINGS)}
    store.check_settings(reordered | {"images": ("a.png", "b.png")})


def test_other_settings_are_named_with_both_values(store: RunStore) -> None:
    asked = SETTINGS | {"block": 6, "grid": {"points": 3, "radius": 0.1}, "seed": 0}
    with pytest.raises(UserError) as caught:
        store.check_settings(asked)
    message = str(caught.value)
    assert "block: 5 in the run, 6 asked for" in message
    assert "grid.radius: 0.05 in the run, 0.1 asked for" in message
    assert "seed: not set in the run, 0 asked for" in message
    assert "choose another folder" in message
    assert "\n" not in message


def test_one_other_image_is_named_and_long_lists_are_not_printed(store: RunStore) -> None:
    with pytest.raises(UserError, match=r'images\[1\]: "b.png" in the run, "c.png" asked for'):
        store.check_settings(SETTINGS | {"images": ["a.png", "c.png"]})
    with pytest.raises(UserError, match="images: 2 entries in the run, 500 entries asked for"):
        store.check_settings(SETTINGS | {"images": ["x.png"] * 500})


def test_only_the_first_differences_are_named(store: RunStore) -> None:
    with pytest.raises(UserError, match=r"a: .*b: .*c: .*and 2 more\)"):
        store.check_settings(SETTINGS | dict.fromkeys("abcde", 1))


def test_what_a_user_chose_is_named_before_its_digests(store: RunStore) -> None:
    with pytest.raises(UserError, match=r"\(z: .*a_sha256: .*b_sha256"):
        store.check_settings(SETTINGS | dict.fromkeys(("a_sha256", "b_sha256", "z"), 1))


# State


def test_status_tells_running_interrupted_and_finished(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with RunStore.create(folder, SETTINGS) as store:
        assert store.status == "running"
        with RunStore.open(folder) as reader:
            assert reader.status == "running"
    with RunStore.open(folder) as reader:
        assert reader.status == "interrupted"
    with RunStore.open(folder, "append") as store:
        store.finish({"seconds": 1.5})
    with RunStore.open(folder) as reader:
        assert reader.status == "finished"
        assert reader.get_meta("totals") == {"seconds": 1.5}
        assert reader.get_meta("created") <= reader.get_meta("finished")


def test_a_second_writer_is_told_who_writes(store: RunStore) -> None:
    with pytest.raises(UserError, match=f"is being written by process {os.getpid()}"):
        RunStore.open(store.folder, "append")


def test_closing_twice_is_harmless_and_lets_the_next_writer_in(store: RunStore) -> None:
    store.close()
    store.close()
    with RunStore.open(store.folder, "append") as again:
        save(again, 0)
        assert_points_are_whole(again, [0])


def test_a_reader_sees_points_that_a_writer_adds(store: RunStore) -> None:
    with RunStore.open(store.folder) as reader:
        for index in range(3):
            save(store, index)
            assert_points_are_whole(reader, list(range(index + 1)))


def test_a_closed_run_is_one_file_that_can_be_copied(store: RunStore, tmp_path: Path) -> None:
    save(store, 0)
    store.close()
    assert sorted(path.name for path in store.folder.iterdir()) == [".lock", "run.sqlite"]
    (tmp_path / "copy").mkdir()
    shutil.copy(store.folder / "run.sqlite", tmp_path / "copy")
    with RunStore.open(tmp_path / "copy") as copy:
        assert_points_are_whole(copy, [0])


def test_the_file_is_complete_though_a_reader_stays_open(store: RunStore, tmp_path: Path) -> None:
    with RunStore.open(store.folder) as reader:
        save(store, 0)
        assert reader.done() == {0}
        store.close()
        (tmp_path / "copy").mkdir()
        shutil.copy(store.folder / "run.sqlite", tmp_path / "copy")
    with RunStore.open(tmp_path / "copy") as copy:
        assert_points_are_whole(copy, [0])

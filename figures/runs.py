"""The runs behind the figures: the commands that made them, and how they are kept in the repository.

A kept run is `figures/kept/NAME.sqlite.xz` (a scan or a comparison without the network's own parameters) or
`figures/kept/NAME.json` (the record of a study). `python figures/runs.py [NAME ...]` makes them anew.
"""

from __future__ import annotations

import json
import lzma
import shlex
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
KEPT = HERE / "kept"
CACHE = HERE.parent / "runs" / "figures"
DATA = "../shared/data"
"""Real networks and images, from the repository's folder; see CONTRIBUTING.md."""

_STUDY = (
    "--preset fq-vit++ --weight-observer omse --bias-correction weight --bits w4a8 --dims 1 --points 41 --radius 0.05 "
    "--images 1000"
)
_DEIT = (
    "--model deit_tiny_patch16_224 --weights {data}/weights/deit_tiny_patch16_224.safetensors "
    "--data {data}/imagenette-mini --calib-data {data}/imagenet-mini --resize none --crop 224"
)
_RESNET = (
    "--model {data}/cnn_models.py:resnet20 --weights {data}/weights/resnet20_cifar10.safetensors "
    "--data {data}/cifar10-mini --resize none --crop 32 --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225"
)

COMMANDS: dict[str, str] = {
    "deit_block5": f"scan {_DEIT} {_STUDY} --block 5",
    "deit_block10": f"scan {_DEIT} {_STUDY} --block 10",
    "resnet20": f"scan {_RESNET} {_STUDY} --layers 'layer2.1.*'",
    "digits_grid": "scan --bits w3a8 --block 1 --points 15 --radius 0.3 --images 100 --infonce-batch 10 --losses all",
    "digits_search": "compare --methods evolq/released,random,cmaes --seeds 2 --bits w3a8 --block 1 --images 100 "
    "--search-images 50 --budget 1500 --keep-points",
    "digits_reliability": "reliability --block 5 --images 60 --search-images 60 --infonce-batch 60 --points 1 "
    "--directions 12",
    "digits_curvature": "curvature --block 5 --images 20 --infonce-batch 20 --networks surrogate --steps 12 --probes 1 "
    "--trace-products 6 --dtype float32 --lines 2 --radii 6",
}
"""Name of a run -> the rest of `landscape ...`, without --out."""

_DROPPED = "name = 'teacher' OR name = 'search_teacher' OR name LIKE '%/search/%' OR name LIKE '%/test/%'"
"""Arrays that no figure needs: the float network's logits, and single images' losses of a search."""


def folder_of(name: str) -> Path:
    """The run unpacked, or the file of a study.

    Raises:
        FileNotFoundError: It is not kept; make it with `python figures/runs.py NAME`.
    """
    study = KEPT / f"{name}.json"
    if study.is_file():
        return study
    packed = KEPT / f"{name}.sqlite.xz"
    if not packed.is_file():
        raise FileNotFoundError(f"{packed} is not there; make it with: python figures/runs.py {name}")
    folder = CACHE / name
    folder.mkdir(parents=True, exist_ok=True)
    database = folder / "run.sqlite"
    if not database.is_file() or database.stat().st_mtime < packed.stat().st_mtime:
        database.write_bytes(lzma.decompress(packed.read_bytes()))
    return folder


def command_of(name: str) -> str:
    """The command line that makes a run, for a reader."""
    return "landscape " + COMMANDS[name].format(data=DATA)


def rerun(name: str) -> Path:
    """Make a run anew and keep it."""
    words = [str(Path(sys.executable).with_name("landscape")), *shlex.split(COMMANDS[name].format(data=DATA))]
    study = words[1] in ("reliability", "curvature")
    with tempfile.TemporaryDirectory() as place:
        out = Path(place) / (f"{name}.json" if study else name)
        subprocess.run([*words, "--out", str(out)], check=True, cwd=HERE.parent)
        if study:
            return Path(shutil.copy(out, KEPT / f"{name}.json"))
        return keep(out, name)


def keep(run: Path, name: str, images: int | None = None) -> Path:
    """Pack a run for the repository: its points and settings, no parameters of the network that do not move.

    Args:
        run: Folder of the run.
        name: Of the kept run.
        images: Only the first so many images of a scan (they are those of a scan of so many images: the sets are
            nested), whole batches of infoNCE; the means are taken anew. All by default.
    """
    target = KEPT / f"{name}.sqlite.xz"
    with tempfile.TemporaryDirectory() as place:
        database = Path(shutil.copy(run / "run.sqlite", place))
        connection = sqlite3.connect(database)
        moved = connection.execute("SELECT value FROM meta WHERE key = 'settings'").fetchone()[0]
        connection.execute(f"DELETE FROM arrays WHERE {_DROPPED}")
        names = [row[0] for row in connection.execute("SELECT name FROM arrays WHERE name LIKE 'quantized/%'")]
        for array in names:
            scale = array.removeprefix("quantized/").removesuffix(".scale")
            if not array.endswith(".scale") or f'"{scale}"' not in moved:
                connection.execute("DELETE FROM arrays WHERE name = ?", (array,))
        if images is not None:
            _only(connection, images)
        connection.commit()
        connection.execute("VACUUM")
        connection.close()
        target.write_bytes(lzma.compress(database.read_bytes(), preset=9))
    return target


def _only(connection: sqlite3.Connection, images: int) -> None:
    """Leave the first images of every point, and their means; the float network's means are then unknown."""
    settings = json.loads(connection.execute("SELECT value FROM meta WHERE key = 'settings'").fetchone()[0])
    connection.execute(
        "UPDATE meta SET value = ? WHERE key = 'settings'",
        (json.dumps({**settings, "images": images}, sort_keys=True),),
    )
    connection.execute("DELETE FROM meta WHERE key IN ('float_values', 'image_names')")
    for point, value, data in connection.execute("SELECT point, name, data FROM point_images").fetchall():
        kept = np.frombuffer(data, "<f8")[:images]
        where = (point, value)
        connection.execute("UPDATE point_images SET data = ? WHERE point = ? AND name = ?", (kept.tobytes(), *where))
        mean = float(kept.mean()) * (100.0 if value == "top1" else 1.0)
        connection.execute("UPDATE point_values SET value = ? WHERE point = ? AND name = ?", (mean, *where))


if __name__ == "__main__":
    KEPT.mkdir(exist_ok=True)
    for wanted in sys.argv[1:] or list(COMMANDS):
        made = rerun(wanted)
        print(f"{wanted}: {made.stat().st_size / 1e3:.0f} kB", flush=True)

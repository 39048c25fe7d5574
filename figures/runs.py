"""The runs behind the figures: the commands that made them, and how they are kept in the repository.

A kept run is `figures/kept/NAME.sqlite.xz` (a scan or a comparison without the network's own parameters) or
`figures/kept/NAME.json` (the record of a study). `python figures/runs.py [NAME ...]` makes them anew.
"""

from __future__ import annotations

import lzma
import shlex
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
KEPT = HERE / "kept"
CACHE = HERE.parent / "runs" / "figures"
DATA = "../shared/data"
"""Real networks and images, from the repository's folder; see CONTRIBUTING.md."""

_DEIT = (
    "--model deit_tiny_patch16_224 --weights {data}/weights/deit_tiny_patch16_224.safetensors "
    "--data {data}/imagenet-mini --resize none --crop 224"
)
_RESNET = (
    "--model {data}/cnn_models.py:resnet20 --weights {data}/weights/resnet20_cifar10.safetensors "
    "--data {data}/cifar10-mini --resize none --crop 32 --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225 --layers '*'"
)
_LINE = "--dims 1 --points 41 --radius 0.05 --images 500 --infonce-batch 50"

COMMANDS: dict[str, str] = {
    "deit_line": f"scan {_DEIT} --bits w4a8 --block 5 --dims 1 --points 41 --radius 0.05 --infonce-batch 50",
    "deit_grid": f"scan {_DEIT} --bits w3a8 --block 5 --points 21 --radius 0.3 --images 100 --infonce-batch 10",
    "resnet_grid": f"scan {_RESNET} --bits w3a8 --points 15 --radius 0.3 --images 200 --infonce-batch 10",
    **{
        f"deit_{bits}_block{block}": f"scan {_DEIT} --bits {bits} --block {block} {_LINE}"
        for bits in ("w4a8", "w3a8")
        for block in (0, 5, 10)
    },
    "resnet_line": f"scan {_RESNET} --bits w4a8 {_LINE}",
    "digits_grid": "scan --bits w3a8 --block 1 --points 21 --radius 0.3 --images 200 --infonce-batch 20 --losses all",
    "digits_search": "compare --methods evolq/released,random,cmaes,adam --seeds 3 --bits w3a8 --block 1 --images 200 "
    "--search-images 100 --budget 4000 --keep-points",
    "digits_reliability": "reliability --block 5 --images 100 --points 1",
    "digits_curvature": "curvature --block 5 --images 32 --infonce-batch 32 --networks surrogate,float-scales "
    "--steps 16 --probes 2 --trace-products 9 --dtype float32",
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


def keep(run: Path, name: str) -> Path:
    """Pack a run for the repository: its points and settings, no parameters of the network that do not move."""
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
        connection.commit()
        connection.execute("VACUUM")
        connection.close()
        target.write_bytes(lzma.compress(database.read_bytes(), preset=9))
    return target


if __name__ == "__main__":
    KEPT.mkdir(exist_ok=True)
    for wanted in sys.argv[1:] or list(COMMANDS):
        made = rerun(wanted)
        print(f"{wanted}: {made.stat().st_size / 1e3:.0f} kB", flush=True)

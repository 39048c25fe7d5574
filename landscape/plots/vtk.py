"""Surfaces for ParaView and other programs that read VTK: one XML file, nothing lost, no library needed.

The format is "StructuredGrid" of VTK's XML files, version 1.0, arrays inline as base64 of their bytes with an unsigned
64-bit length in front (VTK user's guide, "VTK XML formats").
"""

from __future__ import annotations

import base64
import struct
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

import numpy as np

from landscape.bootstrap import FloatArray
from landscape.errors import UserError
from landscape.plots.info import SurfaceInfo

_FILE = """<?xml version="1.0"?>
<!-- {about} -->
<VTKFile type="StructuredGrid" version="1.0" byte_order="LittleEndian" header_type="UInt64">
  <StructuredGrid WholeExtent="{extent}">
    <Piece Extent="{extent}">
      <PointData Scalars={scalars}>
{arrays}
      </PointData>
      <Points>
{points}
      </Points>
    </Piece>
  </StructuredGrid>
</VTKFile>
"""


def write_vtk(info: SurfaceInfo, path: str | Path, value: str = "loss") -> Path:
    """Write a surface as a VTK structured grid (``.vts``).

    A point lies at x, y = its coordinates in percent, and its height z is the value, scaled so that the whole range is
    half as high as the grid is wide (a point without a finite value lies at z = 0). The values themselves, in the units
    of the record and with their intervals (``loss_low``, ``loss_high``: of the difference to the centre), are arrays of
    the points, float64, unscaled, NaN where there is none.

    Args:
        info: The record of a line or a grid.
        path: Of the file.
        value: What the height shows.

    Raises:
        UserError: There is no such value, or the file cannot be written.
    """
    height = _height(info, info.chosen(value).z)
    y = np.zeros(1) if info.y is None else info.y
    shape = (len(info.x), len(y))
    places = [np.broadcast_to(100 * info.x[:, None], shape), np.broadcast_to(100 * y, shape), height.reshape(shape)]
    points = np.stack([_first_fastest(place) for place in places], axis=1)
    arrays = {}
    for name, shown in info.values.items():
        arrays[name] = shown.z
        if shown.low is not None and shown.high is not None:
            arrays[f"{name}_low"], arrays[f"{name}_high"] = shown.low, shown.high
    text = _FILE.format(
        about=escape(f"{info.title}; {info.subtitle}").replace("--", "- -"),
        extent=f"0 {shape[0] - 1} 0 {shape[1] - 1} 0 0",
        scalars=quoteattr(value),
        arrays="\n".join(_array(name, _first_fastest(z.reshape(shape))) for name, z in arrays.items()),
        points=_array("points", points),
    )
    try:
        Path(path).write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}; choose another --out") from error
    return Path(path)


def _height(info: SurfaceInfo, z: FloatArray) -> FloatArray:
    finite = z[np.isfinite(z)]
    if not finite.size or finite.max() == finite.min():
        return np.zeros(z.shape)
    scale = 100 * (info.x[-1] - info.x[0]) / 2 / (finite.max() - finite.min())
    return np.where(np.isfinite(z), (z - finite.min()) * scale, 0.0)


def _first_fastest(grid: FloatArray) -> FloatArray:
    """Values of shape (n, m) in VTK's order, in which the first index runs fastest."""
    return np.ascontiguousarray(grid.T).ravel()


def _array(name: str, values: FloatArray) -> str:
    data = np.ascontiguousarray(values, dtype="<f8").tobytes()
    text = base64.b64encode(struct.pack("<Q", len(data)) + data).decode()
    components = values.shape[1] if values.ndim == 2 else 1
    return (
        f'        <DataArray type="Float64" Name={quoteattr(name)} NumberOfComponents="{components}" format="binary">'
        f"{text}</DataArray>"
    )

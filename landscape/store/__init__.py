"""The store of a run: settings, fixed arrays, and every evaluated point with its per-image values (ours).

A run is one folder with one SQLite database. One process writes it, any number read it meanwhile. A point is there
whole or not at all. What was stored is read back bit for bit; NaN stays NaN.

When the writer is killed, every point whose ``save_point`` returned is kept. When the machine loses power, the last
few of them may be lost, and are then computed again on resume; what is left is whole all the same.
"""

from landscape.store.layout import JSON
from landscape.store.run_store import RunStore, Status
from landscape.store.trajectories import StepRow, TrajectoryTable

__all__ = ["JSON", "RunStore", "Status", "StepRow", "TrajectoryTable"]

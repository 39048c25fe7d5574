"""Networks: the bundled ones, timm's, and a user's own."""

from __future__ import annotations

from landscape.models.loading import LoadedModel, list_models, load_model
from landscape.models.preprocessing import Preprocessing

__all__ = ["LoadedModel", "Preprocessing", "list_models", "load_model"]

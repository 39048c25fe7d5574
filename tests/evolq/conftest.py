"""One small study for all tests of networks: the bundled network for digits, at three bits."""

from __future__ import annotations

import pytest

import evolq


@pytest.fixture(scope="session")
def study():
    return evolq.load_study(
        model="digits_vit", bits="w3a8", calib_images=20, search_images=40, images=30, infonce_batch=20, budget=400
    )

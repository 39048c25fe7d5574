"""A headless browser for the tests of pages, and how a test is skipped where there is none."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
_FLAGS = ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--enable-unsafe-swiftshader")
_PATIENCE = 20.0


@contextmanager
def browser(downloads: Path, width: int = 1200, height: int = 900) -> Iterator[Any]:
    """A headless Chromium that saves downloads in a folder; the test is skipped where there is none."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed: pip install '.[dev]'")
    binary = next(filter(None, map(shutil.which, _BROWSERS)), None)
    driver = os.environ.get("CHROMEDRIVER") or shutil.which("chromedriver")
    if binary is None or driver is None:
        pytest.skip("no headless browser: install chromium and chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for flag in (*_FLAGS, f"--window-size={width},{height}"):
        options.add_argument(flag)
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    opened = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    try:
        yield opened
    finally:
        opened.quit()


def wait_for(condition: Callable[[], Any], what: str) -> Any:
    """What a condition gives once it is true.

    Raises:
        AssertionError: It is not within 20 seconds.
    """
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"{what}: not within {_PATIENCE:g} seconds")


def complaints(opened: Any) -> list[str]:
    """Errors and warnings of the console so far; what graphics drivers say is no matter of the page."""
    entries = opened.get_log("browser")
    drivers = ("GPU stall", "WebGL", "swiftshader", "GroupMarkerNotSet", "Canvas2D")
    return [e["message"] for e in entries if e["level"] != "INFO" and not any(word in e["message"] for word in drivers)]

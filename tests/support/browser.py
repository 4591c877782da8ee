"""A browser for Dagster's UI: the system's Chromium, or Debian's without root. Playwright drives it."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, sync_playwright
from server_binaries import fetched_tool

_PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
_SUITES = (None, "bookworm")  # Ubuntu's releases have no package of it
WIDTH, HEIGHT = 1400, 900
TIMEOUT_S = 60  # on a machine that does much else

_FONTS = """<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "urn:fontconfig:fonts.dtd">
<fontconfig><dir>{fonts}</dir><cachedir>{cache}</cachedir></fontconfig>
"""
_START = """#!/bin/sh
export FONTCONFIG_FILE="{here}/fonts.conf"
exec "{here}/loader" --library-path "{libraries}" "{here}/chromium" --no-zygote --browser-subprocess-path="$0" "$@"
"""


@contextlib.contextmanager
def browser_page(directory: Path) -> Iterator[Page]:
    """A page of a browser of its own. `directory`: for what the browser needs; it is made."""
    directory.mkdir(parents=True)
    program = _program(directory)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program, args=["--disable-gpu", "--hide-scrollbars"], timeout=TIMEOUT_S * 1000
        )
        try:
            page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, reduced_motion="reduce")
            page.set_default_timeout(TIMEOUT_S * 1000)
            yield page
        finally:
            browser.close()


def _program(directory: Path) -> Path:
    for name in _PROGRAMS:
        if found := shutil.which(name):
            return Path(found)
    reasons = []
    for suite in _SUITES:
        try:
            return _unpacked(fetched_tool("chromium", ["chromium"], suite), directory)
        except (OSError, subprocess.SubprocessError) as error:
            reasons.append(str(error))
    pytest.skip(f"there is no Chromium (apt-get install chromium), and it can't be fetched: {'; '.join(reasons)}")


def _unpacked(root: Path, directory: Path) -> Path:
    """A program that starts what was fetched to `root`.

    The packages' own loader and C library are used, as for the servers. Chromium looks for its files beside the program
    that was started, which is the loader: so a copy of it lies among links to these files.
    """
    for file in (root / "usr/lib/chromium").iterdir():
        (directory / file.name).symlink_to(file)
    loader = next(path for lib in ("usr/lib", "lib") for path in root.glob(f"{lib}/*/ld-linux*.so.*"))
    shutil.copy(loader, directory / "loader")
    (directory / "fonts.conf").write_text(_FONTS.format(fonts=root / "usr/share/fonts", cache=directory / "fonts"))
    folders = [path for pattern in ("usr/lib/*-linux-gnu*", "lib/*-linux-gnu*") for path in root.glob(pattern)]
    libraries = ":".join(map(str, [directory, *folders, *(path / "pulseaudio" for path in folders)]))
    start = directory / "start"
    start.write_text(_START.format(here=directory, libraries=libraries))
    start.chmod(0o755)
    return start

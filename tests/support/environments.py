"""Virtual environments with another Dagster than the one that the tests run on, and the project's wheel in them."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
KEPT = ROOT / ".servers" / "environments"
UV = Path(sys.executable).parent / "uv"


def environment_with(dagster: str, *others: str) -> Path:
    """The Python of an environment with this version of Dagster, without the project. Made once, and kept.

    What both need has the version of requirements.lock.
    """
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    free = ("dagster", "gql")  # an older Dagster needs an older gql
    pins = [line for line in lines if re.match(r"[a-z0-9]", line) and not line.startswith(free)]
    wanted = [f"dagster=={dagster}", f"dagster-webserver=={dagster}", *others, *_dependencies()]
    digest = hashlib.sha256("\n".join([sys.version, *wanted, *pins]).encode()).hexdigest()[:8]
    made = KEPT / f"dagster-{dagster}-{digest}"
    KEPT.mkdir(parents=True, exist_ok=True)
    with (KEPT / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (made / "ready").exists():
            constraints = KEPT / "constraints.txt"
            constraints.write_text("\n".join(pins) + "\n")
            run([UV, "venv", "--quiet", "--clear", "--python", sys.executable, made])
            run([UV, "pip", "install", "--quiet", "--python", made, "--constraint", constraints, *wanted])
            (made / "ready").touch()
    return made / "bin" / "python"


def _dependencies() -> list[str]:
    """Those of pyproject.toml but Dagster."""
    text = (ROOT / "pyproject.toml").read_text()
    section = re.search(r"\ndependencies = \[\n(.*?)\n\]", text, re.DOTALL)
    assert section is not None
    return [found for found in re.findall(r'^ *"([^"]+)"', section[1], re.MULTILINE) if not found.startswith("dagster")]


def wheel(folder: Path) -> Path:
    """The project's wheel, built there from the work tree as it is."""
    run([UV, "build", "--quiet", "--wheel", "--no-build-isolation", "--python", sys.executable, "-o", folder, ROOT])
    (built,) = folder.glob("*.whl")
    return built


def run(command: Sequence[str | Path], **environment: str) -> str:
    """Run to the end, and give what was printed.

    Raises:
        AssertionError: the command failed; with what it printed.
    """
    done = subprocess.run(
        command, env=os.environ | environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300
    )
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}"
    return done.stdout

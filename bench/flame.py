"""Flame graphs of the two main paths: `docs/flame-snapshot.svg` and `docs/flame-catch-up.svg`.

    python bench/flame.py [--flavour mysql] [--rows 1000000] [--changes 300000] [--docs docs]

py-spy looks at the process from outside, 250 times a second, and counts the threads that are working, not those that
wait. It is installed into an environment of its own, beside the servers, the first time.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

from rig import Rig
from tools import ROOT, servers_dir

RATE_HZ = 250


def profiler() -> str:
    """The path of py-spy."""
    folder = servers_dir() / "tools" / "py-spy"
    program = folder / "bin" / "py-spy"
    if not program.exists():
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([folder / "bin" / "pip", "install", "--quiet", "py-spy==0.4.*"], check=True)
    return str(program)


def record(rig: Rig, out: Path) -> None:
    """Make a picture of what a run does."""
    command, env = rig.command("run")
    record = [profiler(), "record", "--format", "flamegraph", "--function", "--threads", "--rate", str(RATE_HZ)]
    done = subprocess.run([*record, "--output", str(out), "--", *command], capture_output=True, text=True, env=env)
    if done.returncode:
        raise RuntimeError((done.stdout + done.stderr)[-2000:])
    out.write_text(tidied(out.read_text()))


def tidied(svg: str) -> str:
    """Without what would differ each time or tells of this machine: thread numbers, folders."""
    svg = re.sub(r"\(0x[0-9A-F]+\)", "", svg)
    svg = re.sub(r"/[\w./-]*/(?:site-packages|python3\.\d+)/", "", svg)
    return svg.replace(f"{ROOT}/", "").replace(str(Path(sys.prefix)) + "/", "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flavour", default="mysql", choices=["mysql", "mariadb"])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--changes", type=int, default=300_000)
    parser.add_argument("--docs", type=Path, default=ROOT / "docs")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        rig = Rig(options.flavour, Path(folder))
        try:
            rig.create("users", options.rows)
            rig.map("users")
            record(rig, options.docs / "flame-snapshot.svg")
            rig.write_log(options.changes)
            record(rig, options.docs / "flame-catch-up.svg")
            rig.check()
        finally:
            rig.close()


if __name__ == "__main__":
    main()

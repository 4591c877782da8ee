"""The command-line tool, `myrepetl`."""

from .main import main

__all__ = ["main"]

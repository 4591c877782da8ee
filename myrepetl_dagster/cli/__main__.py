"""`python -m myrepetl_dagster.cli`: the same as `myrepetl`."""

import sys

from .main import main

sys.exit(main())

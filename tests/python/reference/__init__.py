"""What every stage should give, computed with OpenCV's own Python module.

One module for each group of stages holds a table CASES. Nothing here is used by the server: the test
`stages` runs both sides on the same pictures and compares them.
"""

import importlib
import importlib.util

from .case import Case, Expected

GROUPS = ("geometry", "color", "filter", "edges", "draw", "find", "time")


def cases(group):
    """The table of a group; empty where it has none."""
    if importlib.util.find_spec(f"{__name__}.{group}") is None:
        return []
    return importlib.import_module(f"{__name__}.{group}").CASES


__all__ = ["Case", "Expected", "GROUPS", "cases"]

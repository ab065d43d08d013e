# SPDX-License-Identifier: GPL-2.0-or-later
"""Where the judge and the player are that these tests share with tests/crash and tests/stateful."""
import pathlib
import sys

TESTS = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS / name) for name in ("faults", "stateful", "crash")]

# SPDX-License-Identifier: GPL-2.0-or-later
"""The short form of `make races`: its load for little more than a minute, on the stock kernel."""
import pytest

import load
from levels import cases

pytestmark = pytest.mark.vm(**load.VM)


@cases("level", 1, long=[10, 5, 6])
def test_everything_at_once_for_a_minute(boot_vm, level):
    done = load.play(boot_vm(**load.VM), load.Round(level, seed=level, seconds=75))
    assert load.left_out([done]) == [], done

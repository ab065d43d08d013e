# SPDX-License-Identifier: GPL-2.0-or-later
"""The short form of `make races`: its load for little more than a minute, on the stock kernel."""
import pytest

import load

pytestmark = [pytest.mark.long, pytest.mark.vm(**load.VM)]


@pytest.mark.parametrize("level", [10, 1, 5, 6])
def test_everything_at_once_for_a_minute(boot_vm, level):
    done = load.play(boot_vm(**load.VM), load.Round(level, seed=level, seconds=75))
    assert load.left_out([done]) == [], done

# SPDX-License-Identifier: GPL-2.0-or-later
"""A real array and the model side by side: the short form, and the scripts that were kept."""
import os

import pytest

from sidebyside.kept import KEPT
from sidebyside.rig import VM
from sidebyside.search import Search, Stage
from sidebyside.shape import DISKS
from vmtest.machine import VM as Machine
from vmtest.machine import VMOptions

EXAMPLES, SECONDS = 5, 10       # of each level: as many, or as long
# the same scripts each time: `make stateful` is there to find more
SEED = int(os.environ.get("STATEFUL_SEED", 1))


@pytest.fixture(scope="module")
def stage(vm_environment, vm_directories):
    machines = []

    def boot():
        for old in machines:
            old.stop()
        machines[:] = [Machine(vm_environment, vm_directories.take("stateful"), VMOptions(**VM))]
        return machines[0].boot()

    yield Stage(boot)
    for machine in machines:
        machine.stop()


@pytest.mark.parametrize("level", DISKS)
def test_side_by_side(stage, level):
    search = Search(stage, level, SEED)
    finding = search.run(EXAMPLES, SECONDS)
    print(search.summary())
    assert not finding, f"STATEFUL_SEED={SEED}: {finding}"
    assert not search.left_out(), f"RAID{level} did nothing of {search.left_out()}"


# they say more on kernels with the bug, in test_finds; short seconds are better spent on drawing
@pytest.mark.long
@pytest.mark.parametrize("name", KEPT)
def test_kept(stage, name):
    stage.play(KEPT[name])


def test_power_is_really_cut(stage):
    """What `cut` stands for in the others: killed, booted, assembled."""
    stage.play([("create", 10, 0), ("write", 3, 100, 200), ("flush",), ("write", 20, 0, 900),
                ("fail", 1), ("write", 5, 0, 8), ("kill",), ("back", 0), ("flush",)])

# SPDX-License-Identifier: GPL-2.0-or-later
"""Power cuts while the array grows and shrinks, under load on both sides of its end."""
import os
import random

import pytest

from powercut.crash import CrashTest
from powercut.resizes import resize
from powercut.scene import Scene, broken_modules, unit_of
from vmtest import DiskOptions

MOMENTS, EACH = 150, 4
ASSEMBLED = 3
DISKS = {1: [0, 1], 10: [0, 1, 2, 3], 4: [0, 1, 2], 5: [0, 1, 2], 6: [0, 1, 2, 3]}
KINDS = [DiskOptions(size="208M")] * 4
ORDERS = {0: "nothing is broken", 1: "new bytes are not written", 2: "old bytes are kept",
          3: "the bitmap shrinks first"}
SEED = int(os.environ.get("CRASH_SEED") or random.randrange(1 << 30))


@pytest.fixture(scope="module")
def scene(vm_environment, vm_directories):
    one = Scene(vm_environment, vm_directories.take("power-cut-resize"), KINDS, SEED)
    yield one
    one.close()


@pytest.mark.long
@pytest.mark.parametrize("level", DISKS)
def test_cuts_while_the_size_changes(scene, level):
    array, recording = resize(scene, level, DISKS[level], 6)
    test = CrashTest(recording, SEED).run(MOMENTS, EACH, ASSEMBLED)
    found = [*test.judge.violations, *test.violations]
    print(f"raid{level}: seed {SEED}, {recording.said}, {len(recording.log)} entries, "
          f"{len(test.seen)} distinct states, checks {test.judge.checked}")
    assert not found, f"CRASH_SEED={SEED}\n" + "\n".join(map(str, found[:30]))
    assert test.judge.checked["cover"] > 200 and test.judge.checked["order"] > 20

    for image in test.images:
        scene.assemble(array, image)
        chunks = array.metadata()["chunks"]
        assert chunks == array.size() // 512 // unit_of(level, DISKS[level])
        assert sum(array.bits().values()) == chunks
        array.stop()
        wrong = image.compare({disk.index: disk.path for disk in array.members})
        assert not wrong, f"CRASH_SEED={SEED}, entry {image.position}:\n" + "\n".join(wrong[:20])
    scene.vm.clean_up()
    scene.server.logging = True


@pytest.mark.long
def test_kernel_log(scene):
    assert not scene.trouble()


@pytest.fixture(scope="module")
def broken_scene(vm_environment, vm_directories):
    one = Scene(vm_environment, vm_directories.take("power-cut-resize-broken"), KINDS[:3], SEED,
                broken_modules("resize"))
    yield one
    one.close()


@pytest.mark.long
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("level", [1, 5])
def test_broken_order_is_found(broken_scene, level, order):
    broken_scene.breaks(order)
    _, recording = resize(broken_scene, level, DISKS[level], 1)
    test = CrashTest(recording, SEED).run(MOMENTS, EACH)
    found = [*test.judge.violations, *test.violations]
    print(f"raid{level}, {ORDERS[order]}: {recording.said}, {len(recording.log)} entries, found "
          f"{len(found)}:\n" + "\n".join(map(str, found[:3])))
    broken_scene.vm.clean_up()
    assert bool(found) == bool(order)
    if order:
        assert "cover" in {violation.rule for violation in found}

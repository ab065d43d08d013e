# SPDX-License-Identifier: GPL-2.0-or-later
"""Power cuts while the array grows and shrinks, under load on both sides of its end."""
import os
import random
import time

import pytest

from powercut.crash import CrashTest
from powercut.log import SHRINK
from powercut.scene import CHUNK, Scene, broken_modules
from vmtest import DiskOptions

MOMENTS, EACH = 150, 4
ASSEMBLED = 3
SMALL = 8 << 10                         # of a member, in KiB; the array has one bitmap page
LARGE = {1: 200 << 10, 10: 100 << 10}   # and two
DISKS = {1: [0, 1], 10: [0, 1, 2, 3]}
KINDS = [DiskOptions(size="208M")] * 2 + [DiskOptions(size="108M")] * 2
ORDERS = {0: "nothing is broken", 1: "new bytes are not written", 2: "old bytes are kept",
          3: "the bitmap shrinks first"}
SEED = int(os.environ.get("CRASH_SEED") or random.randrange(1 << 30))
FIRST_FILL = 1 << 40                    # generations of fill.py: beyond those of the load


class Resizes:
    """Grows and shrinks the array for a while, and leaves it large."""

    def __init__(self, level, seconds):
        self.large = LARGE[level]
        self.seconds = seconds
        self.done = 0
        self.generation = FIRST_FILL

    def __call__(self, scene, array):
        end = time.monotonic() + self.seconds * scene.vm.scale / 4
        while time.monotonic() < end or not self.done:
            self.grow(scene, array)
            self.fill(scene, array)
            self.shrink(scene, array)
            self.done += 1
        self.grow(scene, array)
        self.fill(scene, array)

    def grow(self, scene, array):
        self.before = array.size() // 512
        self.resize(scene, array, self.large)

    def shrink(self, scene, array):
        scene.server.note(SHRINK, sector=self.before)
        self.resize(scene, array, SMALL)

    @staticmethod
    def resize(scene, array, kib):
        """Resyncs come as they like, and md changes no size meanwhile."""
        scene.vm.run(f"for i in $(seq 50); do mdadm --grow {array} --size={kib} && exit; sleep 0.2;"
                     " done; exit 1")
        array.wait_sync()

    def fill(self, scene, array):
        """Around the old end, and at the new one."""
        first = self.before - 2 * CHUNK
        assert first >= 40 * CHUNK      # the load's window is below
        scene.vm.run(["python3", "/mnt/tests/crash/fill.py", array, first,
                      array.size() // 512 - first, self.generation])
        self.generation += 1000


def record(scene, level, seconds):
    resizes = Resizes(level, seconds)
    array, recording = scene.record(level, DISKS[level], seconds, resizes, size=SMALL,
                                    where=[f"0:{40 * CHUNK}"])
    print(f"\n{resizes.done} times larger and smaller")
    return array, recording


@pytest.fixture(scope="module")
def scene(vm_environment, vm_directories):
    one = Scene(vm_environment, vm_directories.take("power-cut-resize"), KINDS, SEED)
    yield one
    one.close()


@pytest.mark.long
@pytest.mark.parametrize("level", [1, 10])
def test_cuts_while_the_size_changes(scene, level):
    array, recording = record(scene, level, 6)
    test = CrashTest(recording, SEED).run(MOMENTS, EACH, ASSEMBLED)
    found = [*test.judge.violations, *test.violations]
    print(f"raid{level}: seed {SEED}, {recording.said}, {len(recording.log)} entries, "
          f"{len(test.seen)} distinct states, checks {test.judge.checked}")
    assert not found, f"CRASH_SEED={SEED}\n" + "\n".join(map(str, found[:30]))
    assert test.judge.checked["cover"] > 200 and test.judge.checked["order"] > 20

    for image in test.images:
        scene.assemble(array, image)
        chunks = array.metadata()["chunks"]
        assert chunks == array.size() // 512 // CHUNK
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
    one = Scene(vm_environment, vm_directories.take("power-cut-resize-broken"), KINDS[:2], SEED,
                broken_modules("resize"))
    yield one
    one.close()


@pytest.mark.long
@pytest.mark.parametrize("order", ORDERS)
def test_broken_order_is_found(broken_scene, order):
    broken_scene.breaks(order)
    _, recording = record(broken_scene, 1, 1)
    test = CrashTest(recording, SEED).run(MOMENTS, EACH)
    found = [*test.judge.violations, *test.violations]
    print(f"{ORDERS[order]}: {recording.said}, {len(recording.log)} entries, found "
          f"{len(found)}:\n" + "\n".join(map(str, found[:3])))
    broken_scene.vm.clean_up()
    assert bool(found) == bool(order)
    if order:
        assert "cover" in {violation.rule for violation in found}

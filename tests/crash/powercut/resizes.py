# SPDX-License-Identifier: GPL-2.0-or-later
"""A load on both sides of an array's end, while the array grows and shrinks."""
import time

from .log import SHRINK
from .scene import unit_of

# of a member, in KiB: the bitmap has one page with chunks, and two
SMALL = 8 << 10
LARGE = {1: 200 << 10, 10: 100 << 10, 4: 200 << 10, 5: 200 << 10, 6: 200 << 10}
WINDOW = 40                             # chunks from the array's begin on, where the load writes
FIRST_FILL = 1 << 40                    # generations of fill.py: beyond those of the load


class Resizes:
    """Grows and shrinks the array for a while, and leaves it large."""

    def __init__(self, level, disks, seconds):
        self.large = LARGE[level]
        self.unit = unit_of(level, disks)
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
        first = self.before - 2 * self.unit
        assert first >= WINDOW * self.unit
        scene.vm.run(["python3", "/mnt/tests/crash/fill.py", array, first,
                      array.size() // 512 - first, self.generation])
        self.generation += 1000


def resize(scene, level, disks, seconds):
    """As Scene.record()."""
    resizes = Resizes(level, disks, seconds)
    recorded = scene.record(level, disks, seconds, resizes, size=SMALL,
                            where=[range(WINDOW * resizes.unit)])
    print(f"\n{resizes.done} times larger and smaller")
    return recorded

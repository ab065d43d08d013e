# SPDX-License-Identifier: GPL-2.0-or-later
"""What happens to an array while the load runs: each is called with (scene, array)."""
import time

PAUSE = 2       # seconds of the load before and after


def leave(scene, array):
    """The last member fails and is removed: by hand on RAID1 and RAID5, else by errors."""
    member = array.members[-1]
    time.sleep(PAUSE)
    if array.get("level") in ("raid1", "raid5"):
        scene.fail(array, member)
    else:
        scene.break_disk(array, member)
    time.sleep(PAUSE)
    return member


def re_add(scene, array):
    """A member fails and comes back with what it has."""
    array.re_add(leave(scene, array))


def replace(scene, array):
    """A member fails, and another takes its place: the same disk, as if it were new."""
    member = leave(scene, array)
    scene.vm.run(["mdadm", "--zero-superblock", member])
    array.add(member)


def resync(scene, array):
    """Chunks are synced while they are written, all the time."""
    for _ in range(PAUSE * 3):
        array.set("llbitmap/mark", "0-60")
        time.sleep(PAUSE / 3)
        array.wait_sync()


ALL = (re_add, replace, resync)

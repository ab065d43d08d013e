# SPDX-License-Identifier: GPL-2.0-or-later
"""What happens to an array while the load runs: each is called with (scene, array)."""
import time

from .log import SECTOR
from .scene import CHUNK

PAUSE = 2               # seconds of the load before and after
OFTEN = 8
HALFWAY = 8 * CHUNK     # sectors of a member: within what the load writes
FAST = 100000           # KiB/s: does not wait for the load
NOBODYS = "18-22"       # chunks that the load does not write to; the members began with junk there
AMID = 20 * CHUNK + CHUNK // 2      # sectors: halfway in one of them


def lose(scene, array, member):
    """It fails and is removed: by hand on RAID1 and RAID5, else by errors."""
    scene.lose(array, member, by_hand=array.get("level") in ("raid1", "raid5"))
    scene.remove(array, member)


def leave(scene, array, number=-1):
    """The last member fails and is removed, under load before and after."""
    member = array.members[number]
    time.sleep(PAUSE)
    lose(scene, array, member)
    time.sleep(PAUSE)
    return member


def renew(scene, array, member):
    """A disk that was no member takes the place."""
    scene.litter(member)
    array.add(member)


def renew_halfway(scene, array, member):
    """... and is recovered up to there; Scene.remove() and sync_max let it go on."""
    array.set("sync_max", HALFWAY)
    renew(scene, array, member)
    wait_halfway(scene, array, "recover")


def wait_halfway(scene, array, action):
    """... and waits there."""
    deadline = time.monotonic() + 60 * scene.vm.scale
    while array.get("sync_action") != action:
        assert time.monotonic() < deadline, f"{action} does not begin"
        time.sleep(0.1)
    time.sleep(PAUSE)


def interrupt(array):
    """Ends a sync that has come halfway; nothing is in its way afterwards."""
    array.set("sync_action", "frozen")
    array.set("sync_max", "max")
    time.sleep(PAUSE)
    array.set("sync_action", "idle")


def re_add(scene, array):
    """A member fails and comes back with what it has."""
    array.re_add(leave(scene, array))


def come_and_go(scene, array):
    """As re_add(), many times: what is done between a failure and the superblocks that tell of it."""
    member = array.members[-1]
    for _ in range(OFTEN):
        lose(scene, array, member)
        array.re_add(member)
        array.wait_sync()


def replace(scene, array):
    """A member fails, and another takes its place."""
    renew(scene, array, leave(scene, array))


def resync(scene, array):
    """Chunks are synced while they are written, all the time. The first time, that is interrupted
    in the midst of a chunk, and goes on; on RAID4/5/6 parity is built then where nobody writes."""
    array.set("sync_speed_min", FAST)
    array.wait_sync()               # a new array looks for something to sync; its end does not move then
    unit = int(array.get("chunk_size")) // SECTOR or 1      # of what md stops at; large on RAID10
    array.set("sync_max", AMID - AMID % unit)
    array.set("bitmap_set_bits", NOBODYS)
    array.set("llbitmap/mark", "0-60")
    wait_halfway(scene, array, "resync")
    interrupt(array)
    for _ in range(PAUSE * 3):
        array.set("llbitmap/mark", "0-60")
        time.sleep(PAUSE / 3)
        array.wait_sync()


def unsynced(scene, array):
    """As replace(), and what the load wrote before that was not synced: on RAID4/5/6 there are chunks
    whose parity was never built."""
    array.set("sync_action", "frozen")
    member = leave(scene, array)
    array.set("sync_action", "idle")
    renew(scene, array, member)


def freeze(scene, array):
    """The recovery of a new member is interrupted where it has come halfway, and goes on."""
    renew_halfway(scene, array, leave(scene, array))
    interrupt(array)


def fail_again(scene, array):
    """A new member fails where its recovery has come halfway, and comes back."""
    member = leave(scene, array)
    renew_halfway(scene, array, member)
    scene.lose(array, member, by_hand=True)
    scene.remove(array, member)
    time.sleep(PAUSE)
    array.add(member)


def two_fail(scene, array):
    """A member fails while another is halfway recovered; both come back."""
    renew_halfway(scene, array, leave(scene, array))
    array.re_add(leave(scene, array, -2))


def all_for(level):
    """What may happen to an array of this level."""
    return [re_add, come_and_go, replace, resync, unsynced, freeze, fail_again,
            *([two_fail] if level in (1, 6) else [])]

# SPDX-License-Identifier: GPL-2.0-or-later
"""What tests of the array as a whole need to know of its level, and no more."""
import contextlib
import os
import random

import pytest

from vmtest.geometry import Layout
from vmtest.parity import ParityLayout


def cases(names, *usual, long=()):
    """parametrize(names, ...); what is in `long` is for `make check-long` only."""
    rare = [one if "," in names else (one,) for one in long]
    return pytest.mark.parametrize(
        names, [*usual, *(pytest.param(*one, marks=pytest.mark.long) for one in rare)])


EACH_LEVEL = cases("level, disks", (1, 2), long=[(10, 4), (5, 3), (6, 4)])
# of these a member has as many chunks as the array
EACH_LEVEL_WHOLE = cases("level, disks", (1, 2), long=[(10, 2), (5, 3), (6, 4)])
PARITY = {4: 1, 5: 1, 6: 2}


def width(level, disks):
    """Array sectors for each sector that the bitmap counts: on RAID4/5/6 it counts a member's."""
    return disks - PARITY[level] if level in PARITY else 1


def litter(vm, disks, seed=0, mib=40):
    """Members with something on them, up to there: parity that was never built is wrong."""
    draw = random.Random(seed)
    for disk in disks:
        with open(disk.path, "r+b") as file:
            for at in range(1, mib):
                file.seek(at << 20)
                file.write(draw.randbytes(1 << 20))
        vm.run(["blockdev", "--flushbufs", disk])


def first_sector(array, chunk):
    """The array sector where a chunk begins; on RAID4/5/6 one of its array sectors."""
    image = array.member_images()[0]
    start = chunk * image.bitmap().chunksize
    if image.level not in PARITY:
        return start
    stripe, within = divmod(start, image.chunk_sectors)
    return stripe * image.chunk_sectors * width(image.level, image.raid_disks) + within


def make_unequal(array, chunk):
    """A sector of the chunk on one member no longer fits the others; the array is stopped."""
    images = {image.role: image for image in array.member_images()}
    start = chunk * images[0].bitmap().chunksize + 1
    if images[0].level in PARITY:
        role, sector = images[0].raid_disks - 1, start
    else:
        role, sector = array.layout().copies(start)[-1]
    with open(images[role].path, "r+b") as file:
        os.pwrite(file.fileno(), b"unequal!" * 64, (images[role].data_offset + sector) * 512)


def wrong_on(images):
    """What is wrong seen from outside: array sectors whose copies differ, or member sectors whose
    parity is not that of the data; [(first, last), ...]"""
    if images[0].level in PARITY:
        return ParityLayout.of_member(images[0]).wrong_parity(images)
    return Layout.of_member(images[0]).unequal(images)


def wrong_sectors(array):
    """The same of an array that runs."""
    array.settle()
    return wrong_on(array.member_images())


def holds(array, pattern, first=0, sectors=8):
    """All copies do, or whatever member is lost, seen from outside."""
    array.settle()
    images = array.member_images()
    wanted = bytes([pattern]) * sectors * 512
    if images[0].level not in PARITY:
        copies = [array.layout().copies(sector) for sector in range(first, first + sectors)]
        assert len({len(places) for places in copies}) == 1 < len(copies[0])
        assert {images[role].data(at, 1) for places in copies for role, at in places} == \
            {wanted[:512]}
        return
    layout = ParityLayout.of_member(images[0])
    for lost in [(), *((role,) for role in range(layout.disks))]:
        assert layout.read(images, first, sectors, lost) == wanted, f"without {lost}"


@contextlib.contextmanager
def discards_allowed(vm, level):
    """Arrays made meanwhile take discards: raid456 has to be told that its members give zeroes."""
    parameter = "/sys/module/raid456/parameters/devices_handle_discard_safely"
    if level in PARITY:
        vm.run("modprobe raid456")
        vm.write(parameter, "Y")
    yield
    if level in PARITY:
        vm.write(parameter, "N")


def mismatches(array):
    """Sectors that `check` finds wrong; the array runs and is not degraded."""
    array.wait_sync()
    array.set("sync_action", "check")
    array.wait_sync()
    return int(array.get("mismatch_cnt"))

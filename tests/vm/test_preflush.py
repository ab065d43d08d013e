# SPDX-License-Identifier: GPL-2.0-or-later
"""A write with REQ_PREFLUSH, a journal's commit record for example, says that what was written before
is durable. It must not reach a disk before that is true."""
import contextlib

import pytest

from levels import cases
from support import HOLD, Trace, keep_active, mapped_members, wait_until
from vmtest import DiskOptions

pytestmark = pytest.mark.vm(disks=4, cpus=1, disk=DiskOptions(size="96M"))


@contextlib.contextmanager
def mounted(vm, array):
    """A file in the file system on the array."""
    vm.run(f"mkdir -p /run/on-array && mount {array} /run/on-array")
    yield "/run/on-array/file"
    vm.run("umount /run/on-array")


@cases("level, disks, bitmap", (1, 2, "lockless"),
       long=[(10, 2, "lockless"), (5, 3, "lockless"), (6, 4, "lockless"), (1, 2, "none"), (0, 2, "none")])
def test_commit_comes_after_its_flush(vm, level, disks, bitmap):
    members = mapped_members(vm, disks)
    array = vm.create_array(level=level, disks=disks, members=members, bitmap=bitmap, size=16384)
    data = array.member_images()[0].data_offset
    if bitmap == "lockless":
        keep_active(vm, array)
    elif level:
        array.set("safe_mode_delay", 0)     # no superblock is written, with a flush of its own
    vm.run(["mke2fs", "-q", "-t", "ext4", "-J", "size=1", array])

    def commits(trace):
        """What came to a member with FUA where the file system is."""
        return [event for event in trace.recorded("block_bio_queue") if event.sector >= data and
                event.dev in numbers and "F" in event.rwbs.partition("W")[2]]

    def flushes(trace, name):
        """Of the member whose flushes are held; with data they are md's own."""
        return [event for event in trace.recorded(name, dev=members[0].number)
                if event.rwbs.startswith("F") and not event.sectors]

    numbers = [member.number for member in members]
    with mounted(vm, array) as file, Trace(vm, "block/block_bio_queue",
                                          "block/block_bio_complete") as trace:
        write = f"dd if=/dev/urandom of={file} bs=64K count=1 conv=fsync status=none"
        vm.run(write)                       # all that the bitmap has to store is stored
        members[0].load(members[0].slow_flush(HOLD, members[0].sectors - 8))
        before, done = len(commits(trace)), len(flushes(trace, "block_bio_queue"))
        writer = vm.spawn(write)
        wait_until(vm, lambda: len(flushes(trace, "block_bio_queue")) > done)
        vm.run("sleep 3")                    # RAID6 reads first, and takes its time
        early = commits(trace)[before:]
        members[0].plain()                  # the flush goes on
        writer.wait()
        assert len(flushes(trace, "block_bio_complete")) > done
        assert commits(trace)[before:]
    assert early == [], "the commit record is on its way before the flush is done"

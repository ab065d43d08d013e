# SPDX-License-Identifier: GPL-2.0-or-later
"""Members that may lag behind: write-mostly, with write-behind.

A write-behind write is complete for its submitter while a slow member still lacks it. The chunk
must not become Clean before that member has it, whatever happens meanwhile.
"""
import struct

import pytest

from levels import cases
from support import (AREA_BEGIN, HOLD, Content, Trace, begin_flush, begin_write, held, is_in, mapped_members,
                     nothing_works, on_disk, states, wait_until, wait_until_in, write)
from test_bad_blocks import give_log
from test_write import BLOCK
from vmtest import DiskOptions

CHUNK = 128
pytestmark = pytest.mark.vm(disks=3, cpus=1, disk=DiskOptions(size="96M"))


def behind_array(vm, backlog=100, count=2, words=(), **options):
    """RAID1 whose last member is write-mostly, as mdadm makes it; the members are mapped ones. `words` are
    for all of them."""
    members = mapped_members(vm, count)
    array = vm.create_array(level=1, disks=count, size=65536,
                            members=[*words, *members[:-1], "--write-mostly", members[-1]],
                            extra=(f"--write-behind={backlog}",), **options)
    assert "write_mostly" in array.member_state(members[-1])
    array.set("safe_mode_delay", 0)
    write(vm, array, 4096)
    return array, members


def lagging(member):
    """held(): writes of data, and not those of superblocks and bitmap."""
    return held([member], 2048, member.sectors - 2048)


def behind_on_disk(array):
    return [image.bitmap().write_behind for image in array.member_images()]


def test_backlog_is_kept(vm):
    """As said to mdadm, kept in the bitmap's superblock, changed in sysfs."""
    array, members = behind_array(vm, 100)
    assert array.get("bitmap/backlog") == "100"
    assert behind_on_disk(array) == [100, 100]
    array.stop()
    assert behind_on_disk(array) == [100, 100]
    array.assemble()
    assert array.get("bitmap/backlog") == "100"
    write(vm, array)
    array.set("bitmap/backlog", 7)
    assert behind_on_disk(array) == [7, 7]
    array.stop()
    array.assemble()
    assert array.get("bitmap/backlog") == "7"
    write(vm, array)

    # and it is used
    with lagging(members[1]) as gate, Trace(vm, "block/block_bio_complete") as trace:
        write(vm, array, 8192)              # or it would not come back
        flush = begin_flush(vm, trace, array)
        gate.open()
        flush.wait()
    told = max(event.time for event in trace.events("block_bio_complete", dev="9,0"))
    done = max(event.time for event in trace.events("block_bio_complete", dev=members[1].number)
               if event.sector >= 8192 and "W" in event.rwbs and event.sectors)
    assert done > told, "it was no write-behind"
    array.stop()

    # nonsense on disk
    for image in array.member_images():
        with open(image.path, "r+b") as file:
            file.seek(AREA_BEGIN * 512 + 60)
            file.write(struct.pack("<I", 20000))
    devices = " ".join(map(str, [*members, *vm.disks]))
    vm.run(f"for d in {devices}; do blockdev --flushbufs $d; done")
    mark = vm.log.size()
    array.assemble()
    assert "write_behind 20000 on disk is out of range" in vm.dmesg(mark)
    assert array.get("bitmap/backlog") == "0"
    write(vm, array)
    array.flush()
    assert behind_on_disk(array) == [0, 0]


def test_power_cut_with_a_write_behind(vm):
    """The daemon and a flush leave the chunk alone; the next assembly syncs it."""
    array, members = behind_array(vm)
    array.set("llbitmap/daemon_sleep", 1)
    array.set("llbitmap/barrier_idle", 0)
    array.flush()
    with lagging(members[1]) as gate:
        with Trace(vm) as trace:
            write(vm, array, 20 * CHUNK, pattern=0x61)
            flush = begin_flush(vm, trace, array)
            wait_until(vm, lambda: trace.recorded("barrier", op="timeout"))
        assert trace.chunks("Startwrite") == [20] and trace.chunks("Daemon") == []
        assert states(array, 20, 1) == ["Dirty"]
        vm.power_cut()
        gate.closed = False
    del flush
    first, second = array.member_images()
    assert first.data(20 * CHUNK, 8) == b"\x61" * 4096
    assert second.data(20 * CHUNK, 8) == bytes(4096), "the member was not slow"
    assert [content[20] for content in on_disk(array)] == [2, 2]

    vm.boot()
    array.members = vm.disks[:2]
    vm._arrays.append(array)
    with Trace(vm) as trace:
        array.bring_up()
    assert 20 in trace.chunks("Startsync") and len(trace.chunks("Startsync")) <= 2
    assert "write_mostly" in array.member_state(vm.disks[1])
    array.flush()
    assert array.unequal() == []
    assert array.member_images()[1].data(20 * CHUNK, 8) == b"\x61" * 4096


def test_reader_does_not_wait_for_ever(vm):
    """A read that only the slow member can serve waits for what is behind; nothing gets behind
    meanwhile, or the read would wait as long as somebody writes."""
    array, members = behind_array(vm)
    give_log(vm, array)
    array.set("safe_mode_delay", 0)
    write(vm, array, 4096)
    array.flush()
    data = array.member_images()[0].data_offset
    array.set(f"dev-{members[0].device[5:]}/bad_blocks", f"{data + 10 * CHUNK} 8")
    with lagging(members[1]) as gate, Trace(vm, *BLOCK) as trace:
        write(vm, array, 20 * CHUNK)
        reader = vm.spawn(f"dd if={array} of=/dev/null bs=4096 count=1 skip={10 * CHUNK * 512} "
                          "iflag=direct,skip_bytes status=none")
        wait_until_in(vm, "dd", "llbitmap_wait_behind_writes")
        writer = begin_write(vm, array, 40 * CHUNK)
        wait_until(vm, lambda: [event for event in trace.recorded("block_bio_queue",
                                                                  dev=members[1].number)
                                if event.sector == data + 40 * CHUNK])
        gate.open()
        writer.wait()
        reader.wait()
    told, = [event.time for event in trace.events("block_bio_complete", dev="9,0")
             if event.sector == 40 * CHUNK]
    done, = [event.time for event in trace.events("block_bio_complete", dev=members[1].number)
             if event.sector == data + 40 * CHUNK]
    assert done < told, "it went behind"


def test_read_again_while_a_write_behind_fails(vm):
    """Where the first member failed for it, and the second has a bad block, only the slow one can serve a
    read. md's thread does that, and must not wait for what is behind, as it ends that, too; but nothing
    gets behind meanwhile."""
    array, (first, second, slow) = behind_array(vm, count=3, words=["--failfast"])
    nothing = nothing_works(vm)
    give_log(vm, array)
    array.set("safe_mode_delay", 0)
    content = Content(array)
    content.write(10 * CHUNK, pattern=0x65)
    array.flush()
    data = array.member_images()[0].data_offset
    array.set(f"dev-{second.device[5:]}/bad_blocks", f"{data + 10 * CHUNK} 8")
    array.set("sync_action", "frozen")      # or md suspends the array for the member that failed
    first.fail(data + 10 * CHUNK, 8)
    slow.load(slow.refused_late(nothing, 2048, slow.sectors - 2048))

    def thread_waits():
        return is_in(vm, f"{array.device[5:]}_raid1", "llbitmap_wait_behind_writes")

    with Trace(vm, *BLOCK) as trace:
        content.write(20 * CHUNK, pattern=0x66)
        reader = vm.spawn(f"dd if={array} of=/dev/null bs=4096 count=1 skip={10 * CHUNK * 512} "
                          "iflag=direct,skip_bytes status=none", timeout=15)
        wait_until(vm, lambda: "faulty" in array.member_state(first))
        # md's thread has chosen the slow one: it goes on with superblocks, or waits
        wait_until(vm, lambda: "blocked" not in array.member_state(first) or thread_waits())
        writer = begin_write(vm, array, 40 * CHUNK)
        wait_until(vm, lambda: thread_waits() or
                   [event for event in trace.recorded("block_bio_queue", dev=slow.number)
                    if event.sector == data + 40 * CHUNK])
        slow.plain()                            # what is held fails, and the second try does not
        reader.wait()
        writer.wait()
    told, = [event.time for event in trace.events("block_bio_complete", dev="9,0")
             if event.sector == 40 * CHUNK]
    done, = [event.time for event in trace.events("block_bio_complete", dev=slow.number)
             if event.sector == data + 40 * CHUNK][-1:]
    assert done < told, "it went behind"
    assert content.wrong() == []


def test_stop_waits_for_a_write_behind(vm):
    """As a whole: the last state on disk is Clean, and true."""
    array, members = behind_array(vm)
    array.flush()
    with lagging(members[1]) as gate, Trace(vm, "block/block_bio_complete") as trace:
        write(vm, array, 30 * CHUNK, pattern=0x62)
        stop = vm.spawn(["mdadm", "--stop", array])
        wait_until_in(vm, "mdadm", "do_md_stop")
        gate.open()
        stop.wait()
    done = [event.time for event in trace.events("block_bio_complete", dev=members[1].number)
            if event.sector >= 2048 and "W" in event.rwbs and event.sectors]
    assert done, "it was no write-behind"
    cleaned = [event.time for event in trace.events("transition", action="Daemon")]
    assert cleaned and min(cleaned) > max(done)
    assert trace.events("unload")[0].time > max(done)
    vm.run("sync")
    assert array.member_images()[1].data(30 * CHUNK, 8) == b"\x62" * 4096
    assert [set(content) for content in on_disk(array)] == [{1}, {1}]
    array.assemble()


def test_write_behind_fails_late(vm):
    """The submitter was told that it is complete; the member that fails then is failed, the chunk
    stays to be synced."""
    array, members = behind_array(vm)
    array.flush()
    slow = members[1]
    slow.load(slow.refused_late(nothing_works(vm), 2048, slow.sectors - 2048))
    with Trace(vm) as trace:
        write(vm, array, 40 * CHUNK, pattern=0x63)
        assert array.degraded() == 0
        flush = begin_flush(vm, trace, array)
        slow.plain()                        # what is held fails
        wait_until(vm, lambda: "faulty" in array.member_state(slow))
        flush.wait()
    assert trace.chunks("Daemon") == []
    assert states(array, 40, 1)[0] in ("Dirty", "NeedSync")
    array.remove(slow)
    array.re_add(slow)
    array.wait_sync()
    array.wait_in_sync()
    array.flush()
    assert array.degraded() == 0
    assert "write_mostly" in array.member_state(slow)
    assert array.unequal() == []
    assert array.member_images()[1].data(40 * CHUNK, 8) == b"\x63" * 4096


def test_write_behind_fails_as_the_array_stops(vm):
    """Whoever stops it has the lock, and is faster than md's thread (it has the CPU as soon as nothing is
    in flight); the end of the write waits for a superblock that tells of the failure."""
    array, (_, slow) = behind_array(vm)
    array.flush()
    nothing = nothing_works(vm)
    slow.load(slow.refused_late(nothing, 2048, slow.sectors - 2048))
    write(vm, array, 30 * CHUNK, pattern=0x62)
    stop = vm.spawn(["chrt", "-f", "99", "mdadm", "--stop", array], timeout=60)
    wait_until_in(vm, "mdadm", "do_md_stop")
    slow.plain()                        # what is held fails
    stop.wait()
    images = {image.path: image for image in array.member_images()}
    assert images[slow.path].events < images[array.members[0].path].events


def fails_as_somebody_waits(vm, array, slow, name, command):
    """A write-behind write to the slow member, while the command waits for it with the array's lock."""
    array.stop()
    array.assemble(extra=["--update=no-bbl"])       # a classic bitmap leaves the logs of bad blocks on
    array.set("safe_mode_delay", 0)
    write(vm, array, 4096)
    slow.load(slow.refused_late(nothing_works(vm), 2048, slow.sectors - 2048))
    write(vm, array, 30 * CHUNK, pattern=0x62)
    process = vm.spawn(command, timeout=15)
    wait_until(vm, lambda: any(is_in(vm, name, f"{kind}bitmap_{what}") for kind in ("", "ll")
                               for what in ("wait_behind_writes", "destroy")))
    slow.plain()                        # what is held fails
    process.wait()
    assert "faulty" in array.member_state(slow)
    images = {image.path: image for image in array.member_images()}
    assert images[slow.path].events < images[array.members[0].path].events


@cases("bitmap", "lockless", long=["internal"])
def test_write_behind_fails_as_the_bitmap_goes(vm, bitmap):
    """Whoever takes it away has the lock, too."""
    array, (_, slow) = behind_array(vm, bitmap=bitmap)
    fails_as_somebody_waits(vm, array, slow, "mdadm", ["mdadm", "--grow", "--bitmap=none", array])
    assert "[none]" in array.get("bitmap_type")


def test_write_behind_fails_as_the_level_changes(vm):
    """As it does here, with a bitmap of the kind that another level can go on with."""
    array, (_, slow) = behind_array(vm, bitmap="internal")
    vm.run("modprobe raid456")
    fails_as_somebody_waits(vm, array, slow, "tee", f"echo raid5 | tee {array.sysfs}/level")
    assert array.get("level") == "raid5"
    assert array.degraded() == 1


def test_write_behind_is_tried_again_as_the_array_stops(vm):
    """With a log of bad blocks md's thread tries blocks again before it notes them, for as long as that takes;
    the stop, which is faster again, waits for it before it writes superblocks, and they tell."""
    array, (_, slow) = behind_array(vm)
    give_log(vm, array)
    array.set("safe_mode_delay", 0)
    write(vm, array, 4096)
    array.flush()
    nothing = nothing_works(vm)
    refusing_late = slow.refused_late(nothing, 2048, slow.sectors - 2048)
    slow.load(refusing_late)
    write(vm, array, 30 * CHUNK, pattern=0x62)
    stop = vm.spawn(["chrt", "-f", "99", "mdadm", "--stop", array], timeout=60)
    wait_until_in(vm, "mdadm", "do_md_stop")
    slow.load(refusing_late)            # what is held fails, and the second try is held
    wait_until_in(vm, f"{array.device[5:]}_raid1", "submit_bio_wait")
    wait_until_in(vm, "mdadm", "llbitmap_wait_behind_writes")
    slow.plain()
    stop.wait()
    array.assemble()
    assert array.get(f"dev-{slow.device[5:]}/bad_blocks") != ""


def test_write_fails_and_the_one_behind_does_not(vm):
    """Then the slow member alone has it, from which nobody reads: the submitter is told when md has
    settled that with the other one."""
    array, (first, slow) = behind_array(vm)
    give_log(vm, array)
    array.set("safe_mode_delay", 0)
    write(vm, array, 4096)
    nothing = nothing_works(vm)
    where = array.member_images()[0].data_offset + 20 * CHUNK

    def writes(member, name="block_bio_queue"):
        return [event for event in trace.recorded(name, dev=member.number)
                if event.sector == where and "W" in event.rwbs]

    first.load(first.refused_late(nothing, where, 8))
    with lagging(slow) as gate, Trace(vm, *BLOCK) as trace:
        writer = begin_write(vm, array, 20 * CHUNK)
        wait_until(vm, lambda: writes(first) and writes(slow))
        first.delay_writes(HOLD, where, 8)          # what is held fails
        wait_until(vm, lambda: writes(first, "block_bio_complete"))
        gate.open()
        wait_until(vm, lambda: len(writes(first)) > 1)      # md's second try; it waits
        told = [event for event in trace.recorded("block_bio_complete", dev="9,0")
                if event.sector == 20 * CHUNK]
        first.plain()
        writer.wait()
    assert told == [], "acknowledged, and reads give what was there before"
    array.flush()
    assert array.unequal() == []
    assert array.member_images()[0].data(20 * CHUNK, 8) == b"A" * 4096


def test_discard_behind_a_write_behind(vm):
    """A whole discard ends in Unwritten only when the member that lags has done it, and not where
    a write that nobody waits for was still on its way."""
    array, members = behind_array(vm)
    array.flush()

    def completed(events, member, kinds):
        return [event.time for event in events if event.name == "block_bio_complete"
                and event.dev == member.number and event.sector >= 2048 and event.sectors
                and set(event.rwbs) & set(kinds)]

    with lagging(members[1]) as write_gate, Trace(vm, "block/block_bio_complete") as trace:
        write(vm, array, 50 * CHUNK, pattern=0x64)
        # the discard has begun, but waits for its bitmap write until the write is over: md lets it
        # overtake one, and what the member has then is anybody's guess
        with held(members[:1]) as bitmap_gate:
            discard = vm.spawn(f"blkdiscard -f -o {50 * CHUNK * 512} -l {2 * CHUNK * 512} {array}")
            wait_until(vm, lambda: trace.recorded("transition", chunk=51))
            assert completed(trace.now(), members[1], "W") == []
            write_gate.open()
            wait_until(vm, lambda: completed(trace.now(), members[1], "W"))
            with lagging(members[1]) as discard_gate:
                bitmap_gate.open()
                wait_until(vm, lambda: completed(trace.now(), members[0], "D"))
                discard_gate.open()
                discard.wait()
        array.flush()
    done = completed(trace.all(), members[1], "WD")
    assert len(done) >= 2
    discarded = trace.events("transition", action="Discard")
    assert trace.chunks("Discard") == [51]
    assert states(array, 50, 2) == ["Clean", "Unwritten"]
    assert all(event.time > max(done) for event in discarded)
    array.settle()
    assert array.unequal() == []

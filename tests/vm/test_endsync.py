# SPDX-License-Identifier: GPL-2.0-or-later
"""What a sync leaves behind: promise 2 where it ends beside the daemon, promise 4 where some of it
failed."""
import pytest

from order import data_writes
from levels import PARITY, cases
from support import (HOLD, Content, Trace, held, hot_add, keep_active, mapped_members,
                     nothing_works, states, wait_until)
from test_bad_blocks import give_log
from test_write import BLOCK
from vmtest import DiskOptions

pytestmark = pytest.mark.vm(disks=4, cpus=1, disk=DiskOptions(size="128M"))

CHUNK = 128

# Where a sync stops, md has to record how far it is as soon as its thread wakes, which would then
# wait for the flush: so it is woken, and the member is quiet, first.
HELD = ["bash", "-ec", """
cd $0
echo $3 > sync_max
while ! grep -q "^$3 " sync_completed; do sleep 0.1; done
echo 9 > llbitmap/mark
before=
while now=$(cat /sys/block/$1/stat); [ "$now" != "$before" ]; do before=$now; sleep 2; done
dmsetup load /dev/$1 --table "$4"
dmsetup resume --noflush /dev/$1
echo 1 > llbitmap/flush &
while ! grep -q "block_bio_queue: $2 F.* 0 + 0" /sys/kernel/tracing/trace; do sleep 0.1; done
echo max > sync_max
wait
"""]


def make_unequal(vm, array, chunk):
    """The last member that has the chunk has something else there, behind md's back."""
    images = array.member_images()
    role, where = len(images) - 1, chunk * CHUNK
    if images[0].level == 10:
        role, where = array.layout().copies(where)[-1]
    with open(images[role].path, "r+b") as file:
        file.seek((images[role].data_offset + where) * 512)
        file.write(b"\x99" * (CHUNK * 512))
    for member in array.members:
        vm.run(["blockdev", "--flushbufs", member])


def flushes(events, member):
    return [event for event in events if event.name == "block_bio_queue" and
            event.dev == member.number and event.rwbs.startswith("F") and event.sectors == 0]


@cases("level, disks", (1, 2), (5, 3), long=[(10, 4), (6, 4)])
def test_sync_that_ends_while_the_members_are_flushed(vm, level, disks):
    """Its writes are newer than the flush, so the flush does not make them Clean."""
    members = mapped_members(vm, disks)
    array = vm.create_array(level=level, disks=disks, members=members, size=65536,
                            **({} if level == 1 else {"chunk": CHUNK // 2}))
    make_unequal(vm, array, 9)
    keep_active(vm, array, 16384)           # Dirty: the daemon has something to do in the page
    array.set("sync_max", 4 * CHUNK)
    array.set("llbitmap/mark", "2-9")
    wait_until(vm, lambda: array.get("sync_completed").startswith(f"{4 * CHUNK} "))
    with Trace(vm, *BLOCK) as trace:
        flush = vm.spawn([*HELD, array.sysfs, members[1].device[5:], members[1].number, str(8 * CHUNK),
                          members[1].table(members[1].slow_flush(120000))], timeout=60)
        wait_until(vm, lambda: [event for event in trace.recorded("transition", action="Endsync")
                                if 9 in event.chunks()], timeout=25)
        members[1].plain()                  # lets the flush go
        flush.wait()
    ended, = [event for event in trace.events("transition", action="Endsync")
              if {8, 9} & set(event.chunks())]
    synced = [event for event in trace.events("block_bio_complete")
              if event.dev in {member.number for member in members} and event.sectors
              and event.sector >= array.member_images()[0].data_offset and "W" in event.rwbs]
    assert synced and len(synced) == len(data_writes(trace, members, array)), "nothing was mended"
    done = max(event.time for event in synced)
    cleaned = [event for event in trace.events("transition", action="Daemon")
               if {8, 9} & set(event.chunks())]
    assert cleaned and done < ended.time < cleaned[0].time
    for member in members:
        assert any(done < event.time < cleaned[0].time
                   for event in flushes(trace.all(), member)), "not flushed since"
    assert states(array, 8, 2) == ["Clean", "Clean"]
    array.wait_sync()


def with_bad_blocks(vm, level, disks):
    """RAID5: two members are known to lack the same block of chunk 8, so nobody can compute it;
    RAID6: three."""
    array = vm.create_array(level=level, disks=disks, bitmap="none", size=65536, chunk=CHUNK // 2)
    for image, member in zip(array.member_images()[:PARITY[level] + 1], array.members):
        array.set(f"dev-{str(member)[5:]}/bad_blocks", f"{image.data_offset + 8 * CHUNK + 40} 8")
    hot_add(vm, array)
    return array


def with_unreadable_copies(vm, level, disks):
    members = mapped_members(vm, disks)
    array = vm.create_array(level=level, disks=disks, members=members, size=65536,
                            chunk=None if level == 1 else CHUNK // 2)
    images = array.member_images()
    for role, where in array.layout().copies(8 * CHUNK):
        members[role].fail(images[role].data_offset + where, CHUNK)
    return array


def with_a_bad_block_behind_them(vm, level, disks):
    """It takes a while to see that the copies are unreadable; meanwhile raid10 comes to a place in
    chunk 9 of which there is one copy only."""
    nothing = nothing_works(vm)
    array = with_unreadable_copies(vm, level, disks)
    give_log(vm, array)
    images = array.member_images()
    for role, where in array.layout().copies(8 * CHUNK):
        array.members[role].load((images[role].data_offset + where, CHUNK, "delay",
                                  f"{nothing} 0 3000"))
    role, where = array.layout().copies(9 * CHUNK + 40)[0]
    array.set(f"dev-{array.members[role].device[5:]}/bad_blocks",
              f"{images[role].data_offset + where} 8")
    return array


@cases("level, disks, make", (5, 3, with_bad_blocks), (1, 2, with_unreadable_copies),
       (10, 4, with_unreadable_copies), (10, 4, with_a_bad_block_behind_them),
       long=[(6, 4, with_bad_blocks)])
def test_what_cannot_be_synced_is_left_alone(vm, level, disks, make):
    """The other chunks of that sync end as ever, and the one that is left asks for no other."""
    array = make(vm, level, disks)
    array.set("llbitmap/daemon_sleep", 1)
    array.set("llbitmap/barrier_idle", 0)
    mark = vm.log.size()
    with Trace(vm) as trace:
        array.set("llbitmap/mark", "4-12")
        wait_until(vm, lambda: trace.recorded("transition", action="Abortsync"))
        array.wait_bits(lambda bits: bits["need sync"] == 1 and bits["syncing"] == bits["dirty"] == 0)
        vm.run("sleep 8")
        array.wait_sync()
    assert trace.chunks("Startsync") == list(range(4, 13))
    assert states(array, 4, 9) == ["Clean"] * 4 + ["NeedSync"] + ["Clean"] * 4
    assert vm.dmesg(mark).count("resync of RAID array") in (1, 2)
    assert trace.chunks("Abortsync") == [8]
    assert array.get("sync_action") == "idle" and array.degraded() == 0

    # what comes later is synced, and that one is tried again
    array.set("llbitmap/mark", "20")
    wait_until(vm, lambda: states(array, 20, 1) == ["Clean"])
    array.wait_sync()
    assert states(array, 8, 1) == ["NeedSync"]


def test_what_lies_beside_an_unreadable_block_is_synced(vm):
    """Of what RAID1 reads at once; RAID10 and RAID5 go by pages anyway. Nobody makes up for the block:
    each member keeps what it may give another time."""
    members = mapped_members(vm, 2)
    array = vm.create_array(level=1, disks=2, members=members, size=65536)
    content = Content(array, mib=1)
    array.flush()
    make_unequal(vm, array, 8)
    first, lost = 8 * CHUNK, 8 * CHUNK + 40
    where = array.member_images()[0].data_offset + lost
    nothing = nothing_works(vm)
    for member in members:          # only reads fail
        disk = f"{member.disk} {where} 0"
        member.load((where, 8, "delay", f"{nothing} {where} 0 {disk} {disk}"))
    array.set("llbitmap/mark", "8")
    array.wait_bits(lambda bits: bits["need sync"] == 1 and bits["syncing"] == 0)
    array.wait_sync()
    assert states(array, 8, 1) == ["NeedSync"]
    for member in members:
        member.plain()
    vm.run("sync")
    good, other = array.member_images()
    assert other.data(lost, 8) == b"\x99" * 4096 != good.data(lost, 8)
    assert array.unequal() == [(lost, lost + 7)]
    array.set("llbitmap/mark", "20")
    wait_until(vm, lambda: states(array, 8, 1)[0] in ("Dirty", "Clean"))
    array.wait_sync()
    assert array.unequal() == [] and content.wrong() == []


def test_write_of_a_sync_fails_and_is_not_looked_at_yet(vm):
    """raid10's thread writes superblocks when the sync ends and the daemon cleans: the member that
    fails for it afterwards would be taken back by the bitmap, without the chunk. raid1 does not call
    a sync done before its thread has looked."""
    nothing = nothing_works(vm)
    members = mapped_members(vm, 4)
    array = vm.create_array(level=10, disks=4, members=members, size=65536)
    content = Content(array, mib=4)
    array.stop()
    array.assemble(extra=["--update=no-bbl"])
    array.readwrite()
    array.set("llbitmap/barrier_idle", 0)
    keep_active(vm, array, 16384)
    array.flush()
    make_unequal(vm, array, 9)
    role, where = array.layout().copies(9 * CHUNK)[-1]
    last = members[role]
    where += array.member_images()[role].data_offset
    last.load((where, CHUNK, "delay", f"{last.disk} {where} 0 {nothing} 0 {HOLD}"))
    with Trace(vm, *BLOCK) as trace:
        def written(member, sector):
            return [event for event in trace.recorded("block_bio_queue", dev=member.number)
                    if event.sector == sector and "W" in event.rwbs]

        array.set("llbitmap/daemon_sleep", 1)
        array.set("llbitmap/mark", 9)
        wait_until(vm, lambda: written(last, where))
        before = len(written(members[0], 8))
        with held(members[:1], 8, 8):
            array.set("safe_mode_delay", 0.2)       # was 0: md takes the array for clean now
            wait_until(vm, lambda: len(written(members[0], 8)) > before)
            last.plain()
            wait_until(vm, lambda: [event for event in trace.recorded("transition")
                                    if event.action in ("Endsync", "Abortsync")])
            passes = len(trace.recorded("daemon", op="begin"))
            wait_until(vm, lambda: len(trace.recorded("daemon", op="end")) > passes)
        wait_until(vm, lambda: "faulty" in array.member_state(last))
        array.wait_sync()
    array.remove(last)
    array.re_add(last)
    wait_until(vm, lambda: array.degraded() == 0)
    array.wait_in_sync()
    array.wait_sync()
    array.flush()
    assert array.unequal() == []
    assert content.wrong() == []
    assert trace.chunks("Abortsync") == [9] and trace.chunks("Endsync") == []


@pytest.mark.parametrize("bitmap", [pytest.param("none", marks=pytest.mark.long), "lockless"])
def test_resync_without_a_member(vm, bitmap):
    """What lies behind a place that has one copy only is resynced, too."""
    array = vm.create_array(level=10, disks=4, chunk=512, size=65536, bitmap=bitmap)
    vm.run(f"dd if=/dev/urandom of={array} bs=1M oflag=direct status=none", check=False)
    array.fail(array.members[0])
    array.remove(array.members[0])
    last = array.size() // 512 // CHUNK - 1
    copies = array.layout().copies(last * CHUNK)
    assert {role for role, _ in copies} == {2, 3}
    make_unequal(vm, array, last)
    if bitmap == "none":
        array.set("sync_action", "repair")
    else:
        array.set("llbitmap/mark", f"0-{array.metadata()['chunks'] - 1}")
        array.wait_bits(lambda bits: bits["syncing"] == 0 and bits["dirty"] > 0)
    array.wait_sync()
    images = array.member_images()
    one, other = (images[role].data(where, CHUNK) for role, where in copies)
    assert one == other != b"\x99" * (CHUNK * 512)
    if bitmap != "none":
        bits = array.bits()
        assert bits["dirty"] == bits["need sync"], "half of the chunks have one copy only"

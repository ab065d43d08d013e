# SPDX-License-Identifier: GPL-2.0-or-later
"""Members fail, leave, come back, are added: what is copied, and that nothing is lost."""
import re

import pytest

from levels import (EACH_LEVEL, PARITY, cases, first_sector, holds, width, wrong_on,
                    wrong_sectors)
from oracle import wrong
from support import (HOLD, Content, Trace, errno_of, keep_active, mapped_members,
                     member_writes, on_disk, reboot, states, superblock_is_first, wait_until, write)
from test_parity_members import Load
from vmtest import DiskOptions

CHUNK = 128
pytestmark = pytest.mark.vm(disks=5, cpus=1, disk=DiskOptions(size="96M"))
LEVELS = cases("level, disks", (10, 4), long=[(1, 2)])
# what md writes to a member besides data in a fail and re-add: superblocks and bitmap pages
OVERHEAD = 600


def kick(array, member):
    array.fail(member)
    array.remove(member)


def overwrite(image, sector, data):
    """Changes member data behind the guest's back."""
    with open(image.path, "r+b") as file:
        file.seek((image.data_offset + sector) * 512)
        file.write(data)


def chunks_on(layout, role):
    """Chunks that have a copy on a member."""
    return {sector // CHUNK for sector in range(0, layout.sectors, min(layout.piece, CHUNK))
            for disk, _ in layout.copies(sector) if disk == role}


def assert_ends_once(vm, trace):
    """Each sync ended after all that it did, and not at each place that it left out too, while
    what it copied was still on its way. The kernel's log was cleared before."""
    done = re.findall(r"md: md\d+: (?:recover|resync) done", vm.run("dmesg").stdout)
    assert done and len(trace.events("sync", op="end")) == len(done)


@LEVELS
def test_re_add_copies_what_was_written(vm, level, disks):
    array = vm.create_array(level=level, disks=disks)
    first = vm.disks[0]
    array.set("llbitmap/daemon_sleep", 3600)
    content = Content(array, mib=8)
    array.flush()
    content.write(300 * CHUNK)                  # Dirty when the member leaves
    with Trace(vm) as trace:
        kick(array, first)
        for chunk in (0, 1, 5, 200, 400):
            content.write(chunk * CHUNK + 16, pattern=0x71)
        array.flush()
    # degraded-write, durable; degraded-keep
    assert trace.changes() == {"Clean->NeedSync Startwrite": 5}
    assert all("DEGRADED" in event.flags for event in trace.events("transition"))
    assert states(array, 300, 1) == ["Dirty"]
    bits = array.bits()
    assert (bits["need sync"], bits["dirty"]) == (5, 1)

    before = member_writes(vm, first)
    vm.run("dmesg --clear")
    with Trace(vm) as trace:
        array.re_add(first)
        array.wait_sync()
    assert array.degraded() == 0
    assert_ends_once(vm, trace)
    wanted = {0, 1, 5, 200, 300, 400} & chunks_on(array.layout(), 0)
    assert 3 <= len(wanted) <= 6
    copied = member_writes(vm, first) - before
    assert len(wanted) * CHUNK <= copied <= len(wanted) * CHUNK + OVERHEAD
    assert wanted <= set(trace.chunks("Startsync")) <= {0, 1, 5, 200, 300, 400}
    assert set(trace.chunks("Endsync")) >= wanted
    array.flush()
    assert array.bits()["need sync"] == array.bits()["dirty"] == array.bits()["syncing"] == 0
    assert array.unequal() == []
    assert content.wrong() == []
    # the new member has the whole bitmap
    bitmaps = on_disk(array)
    assert all(bitmap == bitmaps[0] for bitmap in bitmaps)


@cases("level, disks, layout, raid_chunk, size", (1, 2, None, None, None), (10, 3, "n2", 4, 16384),
       long=[(10, 4, None, None, None), (10, 4, "f2", None, 65536), (10, 3, "o2", 64, 65536)])
def test_spare_gets_everything(vm, level, disks, layout, raid_chunk, size):
    """RAID10 counts in member sectors: the pitfall lost half of the data."""
    array = vm.create_array(level=level, disks=disks, layout=layout, chunk=raid_chunk,
                            size=size, assume_clean=False)
    array.wait_sync()
    vm.run(f"fio --name=w --filename={array} --rw=randwrite --bs=64k --io_size={array.size() // 4} --direct=1 "
           f"--randseed=5 --refill_buffers")
    array.flush()
    written = array.bits()["clean"]
    assert 50 < written < array.metadata()["chunks"] * 3 // 4
    layout = array.layout()
    clean = {chunk for chunk, state in enumerate(states(array)) if state == "Clean"}
    spare = vm.disks[disks]
    # a spare with other contents: what is not copied shows
    vm.run(f"tr '\\0' '\\377' < /dev/zero | dd of={spare} bs=1M oflag=direct iflag=fullblock status=none",
           check=False)
    kick(array, vm.disks[0])
    before = member_writes(vm, spare)
    vm.run("dmesg --clear")
    with Trace(vm) as trace:
        array.add(spare)
        array.wait_sync()
    assert array.degraded() == 0
    assert_ends_once(vm, trace)
    copied = member_writes(vm, spare) - before
    mine = clean & chunks_on(layout, 0)
    array.stop()
    # the one that left still says that it is a member
    images = [image for image in array.member_images()
              if image.active() and image.path != vm.disks[0].path]
    assert len(images) == disks
    unequal = {sector // CHUNK for first, last in layout.unequal(images)
               for sector in range(first, last + 1)}
    assert unequal & clean == set(), "written data are not on the new member"
    # what was never written was not copied: the spare still has its own bytes there
    assert unequal
    assert copied <= len(mine) * CHUNK + OVERHEAD + 4096
    skipped = sum(event.sectors for event in trace.events("sync", op="skip"))
    assert skipped > 0


@pytest.mark.parametrize("level", [1, 10])
def test_replacement(vm, level):
    """mdadm --replace fills another member while the old one is in use."""
    array = vm.create_array(level=level, disks=2, size=65536)
    content = Content(array, mib=8)
    content.write(70000)
    array.flush()
    array.add(vm.disks[2])
    vm.run(f"mdadm {array} --replace {vm.disks[0]} --with {vm.disks[2]}")
    array.wait_sync()
    wait_until(vm, lambda: "in_sync" in array.member_state(vm.disks[2]))
    array.remove(vm.disks[0])
    array.flush()
    array.stop()
    images = [image for image in array.member_images()
              if image.active() and image.path != vm.disks[0].path]
    assert [image.path for image in images] == [vm.disks[2].path, vm.disks[1].path]
    assert images[0].data(0, 81920) == images[1].data(0, 81920)
    array.members = [vm.disks[2], vm.disks[1]]
    array.assemble()
    assert content.wrong() == []
    array.members.append(vm.disks[0])


@pytest.mark.long
@pytest.mark.parametrize("level, disks", [(1, 2), (10, 4), (5, 3), (6, 4)])
def test_cut_as_a_replacement_becomes_active(vm, level, disks):
    """The replaced member gets no writes any more, and the superblocks, which take their time, do not
    tell yet: nothing that it misses is called written, or Clean."""
    members = mapped_members(vm, disks + 1)
    old, new = members[0], members[-1]
    array = vm.create_array(level=level, disks=disks, members=members[:-1], size=16384,
                            chunk=None if level == 1 else 64)
    if level in PARITY:     # else nothing is done while the array's own thread writes the superblocks
        array.set("group_thread_cnt", 1)
    keep_active(vm, array)
    sector = first_sector(array, 18)        # the old one has a copy, or data
    size = CHUNK * width(level, disks) * 512    # whole stripes, for which nothing is read
    write(vm, array, sector, size // 512)
    array.add(new)
    array.wait_sync()
    array.set("sync_max", 30720)            # not quite all of it
    vm.run(f"mdadm {array} --replace {old} --with {new}")
    wait_until(vm, lambda: array.get("sync_completed").startswith("30720 "))
    for member in members:
        member.delay_writes(25000, 8, 8)
    with Trace(vm, "block/block_bio_queue") as trace:
        array.set("sync_max", "max")
        wait_until(vm, lambda: "faulty" in array.member_state(old), 120)
        writer = vm.spawn(f"head -c {size} /dev/zero | tr '\\0' f | dd of={array} bs={size} count=1 "
                          f"oflag=direct,seek_bytes seek={sector * 512} iflag=fullblock conv=notrunc "
                          "status=none && echo done")
        wait_until(vm, lambda: [event for event in trace.recorded("block_bio_queue", dev="9,0")
                                if "W" in event.rwbs and event.sector == sector])
    vm.run(f"timeout 6 sh -c 'while sleep 0.5; do echo 1 > {array.sysfs}/llbitmap/flush; done'",
           check=False)
    done = writer.output()[0] == "done\n"
    assert "faulty" in array.member_state(old), "too late"
    vm.power_cut()
    array.members = vm.disks[:disks]
    reboot(vm, array)
    array.assemble(extra=["--run"])     # the new one is not there
    try:
        assert array.degraded() == 0
        array.readwrite()
        array.wait_in_sync()
        array.wait_sync()
        assert wrong_sectors(array) == []
        lost = vm.run(f"dd if={array} bs={size} count=1 iflag=direct,skip_bytes skip={sector * 512} "
                      "status=none | tr -d f | wc -c").stdout
        assert not done or int(lost) == 0, "it was written"
    finally:
        array.members.append(vm.disks[disks])   # to be emptied


@cases("level, disks", (1, 3), (10, 3), long=[(6, 4)])
def test_recovery_leaves_unequal_copies_to_a_resync(vm, level, disks):
    """resync-first: filling a third copy does not make the other two equal, nor one of four members
    the parity of the others."""
    array = vm.create_array(level=level, disks=disks, layout="n3" if level == 10 else None,
                            chunk=64 if level == 6 else None, size=32768)
    vm.run(f"dd if=/dev/urandom of={array} bs=1M count=16 oflag=direct status=none")
    array.wait_in_sync()
    array.wait_sync()
    array.flush()
    kick(array, vm.disks[2])
    array.wait_sync()
    array.set("sync_action", "frozen")
    images = array.member_images()[:2]
    for chunk in (7, 100):
        array.set("llbitmap/mark", chunk)
        overwrite(images[1], chunk * CHUNK + 40, b"different" * 50)
    write(vm, array, first_sector(array, 50), pattern=0x12)     # a Dirty... NeedSync one as well
    vm.run(f"blockdev --flushbufs {vm.disks[1]}")
    with Trace(vm) as trace:
        array.add(vm.disks[disks])
        array.set("sync_action", "idle")
        wait_until(vm, lambda: array.degraded() == 0, 60)
        array.wait_in_sync()
        array.wait_sync()
    for event in trace.events("transition"):
        if "RECOVERING" in event.flags and event.action == "Startsync":
            assert not {7, 50, 100} & set(event.chunks()), event
    synced = {chunk for event in trace.events("transition", action="Startsync")
              if "RECOVERING" not in event.flags for chunk in event.chunks()}
    assert synced >= {7, 50, 100}
    array.flush()
    array.stop()
    images = [image for image in array.member_images()
              if image.active() and image.path != vm.disks[2].path]
    assert len(images) == disks
    assert [one for one in wrong_on(images) if one[0] < 32768 // width(level, disks)] == []


@EACH_LEVEL
def test_member_that_left_while_others_joined(vm, level, disks):
    """Pitfall: taken back by bitmap alone, it brings stale data."""
    array = vm.create_array(level=level, disks=disks, chunk=None if level == 1 else 64)
    second, third = vm.disks[1], vm.disks[disks]
    write(vm, array, 0, 1024, pattern=0x10)
    array.flush()
    kick(array, second)
    write(vm, array, 0, 512, pattern=0x20)
    array.add(third)
    array.wait_in_sync()
    array.wait_sync()
    assert array.degraded() == 0
    array.flush()
    assert array.bits()["dirty"] == array.bits()["need sync"] == 0      # the bitmap went clean
    kick(array, third)
    write(vm, array, first_sector(array, 5), pattern=0x30)
    with Trace(vm) as trace:
        if not array.re_add(second, check=False):
            vm.run(f"mdadm --zero-superblock {second}")
            array.add(second)
        wait_until(vm, lambda: array.degraded() == 0, 60)
        array.wait_in_sync()
        array.wait_sync()
    assert trace.events("sync", op="end")
    array.members.remove(third)
    try:
        holds(array, 0x20, 0, 512)
        holds(array, 0x10, 512, 128)
        holds(array, 0x30, first_sector(array, 5))
        assert wrong_sectors(array) == []
        array.stop()
        array.assemble(array.members)
        assert array.degraded() == 0
    finally:
        array.members.append(third)


@cases("level, disks, how", (1, 2, "added when complete"),
       long=[(1, 2, "complete with fewer"),
             *((level, disks, "added when complete") for level, disks in ((10, 4), (5, 3), (6, 4)))])
def test_spare_that_was_a_member(vm, level, disks, how):
    """It waits while chunks become Clean, so the bitmap no longer says what it missed."""
    array = vm.create_array(level=level, disks=disks, chunk=None if level == 1 else 64)
    array.set("llbitmap/daemon_sleep", 3600)
    second, third = vm.disks[1], vm.disks[disks]
    write(vm, array, 0, 1024, pattern=0x10)
    array.flush()
    kick(array, second)
    write(vm, array, first_sector(array, 5), pattern=0x11)
    if how == "added when complete":
        array.add(third)
        array.wait_sync()
        array.re_add(second)
    else:
        array.set("sync_action", "frozen")
        array.re_add(second)
        vm.run(f"mdadm --grow {array} --raid-devices=1 --force")
    assert array.degraded() == 0 and "spare" in array.member_state(second)
    write(vm, array, 0, 512, pattern=0x20)
    array.flush()
    assert set(states(array, 0, 4)) == {"Clean"}
    if how == "added when complete":
        kick(array, third)
    else:
        vm.run(f"mdadm --grow {array} --raid-devices=2")
        array.set("sync_action", "idle")
    wait_until(vm, lambda: array.degraded() == 0, 60)
    array.wait_in_sync()
    array.wait_sync()
    array.members = vm.disks[:disks]
    try:
        holds(array, 0x20, 0, 512)
        holds(array, 0x11, first_sector(array, 5))
        assert wrong_sectors(array) == []
    finally:
        array.members.append(third)     # to be emptied


def test_events_cleared_is_durable_before_clean(vm):
    """Promise 8, as seen on the members: never below what the Clean bytes rely on."""
    array = vm.create_array(level=1, disks=2)
    keep_active(vm, array)      # when an array goes clean, md lowers its count, and ours follows
    array.flush()
    for image in array.member_images():
        bitmap = image.bitmap()
        assert 0 < bitmap.events_cleared <= image.events
        assert bitmap.states()[0] == 1
    cleared = array.member_images()[0].bitmap().events_cleared
    kick(array, vm.disks[1])
    write(vm, array, CHUNK)
    array.flush()
    assert array.member_images()[0].bitmap().events_cleared == cleared, "raised while degraded"
    assert array.member_images()[0].bitmap().events_cleared <= array.member_images()[1].events


def on_mapped_members(vm, level, disks):
    members = mapped_members(vm, disks)
    options = {"chunk": 64, "size": 24576} if level in PARITY else {}
    array = vm.create_array(level=level, disks=disks, members=members, **options)
    keep_active(vm, array, 4096)
    return array, members


@cases("level, disks", (10, 4), (5, 3), long=[(1, 2), (6, 4)])
def test_member_that_fails_bitmap_writes(vm, level, disks):
    """It is failed by md; the writer sees nothing of it."""
    array, members = on_mapped_members(vm, level, disks)
    content = Content(array)
    members[0].fail()
    with Trace(vm, "block/block_bio_queue") as trace:
        content.write(first_sector(array, 5), pattern=0x3c)
    assert "faulty" in array.member_state(members[0])
    assert array.degraded() == 1
    # a power cut must not find that member trusted, without what was written
    assert superblock_is_first(trace, members[1:], trace.events("error")[0].time)
    members[0].plain()
    assert states(array, 5, 1)[0] in ("Dirty", "NeedSync")
    for image in array.member_images()[1:]:
        assert image.bitmap().states()[5] in (2, 3)
    array.remove(members[0])
    array.re_add(members[0])
    array.wait_sync()
    array.wait_in_sync()
    array.wait_sync()
    array.flush()
    assert array.degraded() == 0
    assert wrong_sectors(array) == []
    assert content.wrong() == []


def test_member_that_fails_bitmap_set_bits(vm):
    """Who asked for it hears nothing before the superblocks tell of the failure."""
    members = mapped_members(vm)
    array = vm.create_array(level=1, disks=2, members=members)
    keep_active(vm, array, 4096)
    members[0].fail()
    with Trace(vm, "block/block_bio_queue") as trace:
        assert errno_of(vm, f"{array.sysfs}/bitmap_set_bits", "5") is None
    assert "faulty" in array.member_state(members[0])
    assert array.member_images()[1].bitmap().states()[5] in (2, 3)
    # md's thread does it soon in any case: it must be the writer himself
    assert [event for event in trace.events("block_bio_queue", dev=members[1].number)
            if event.sector == 8 and "W" in event.rwbs and event.task == "python3"]
    members[0].plain()


@cases("level, disks", (1, 2), (5, 3), long=[(10, 4), (6, 4)])
def test_no_member_takes_bitmap_writes(vm, level, disks):
    """Promise 9: the array goes on, its superblocks say so first, everything is synced later."""
    # a page that md wrote between the two failures would be taken by the second member alone
    array, members = on_mapped_members(vm, level, disks)
    array.flush()
    mark = vm.log.size()
    for member in members:
        member.fail()
    with Trace(vm, "block/block_bio_queue") as trace:
        write(vm, array, first_sector(array, 5), pattern=0x3d)
    assert [array.member_state(member) for member in members] == [["in_sync"]] * disks
    assert "going on without the bitmap" in vm.dmesg(mark)
    failed = max(event.time for event in trace.events("error") if "no member" in event.text)
    assert superblock_is_first(trace, members, failed)
    write(vm, array, first_sector(array, 6))        # and goes on
    for image in array.member_images():
        assert image.events > image.bitmap().events
    array.stop()
    for member in members:
        member.plain()
    with Trace(vm) as trace:
        array.assemble()
    assert trace.events("load")[0].decision == "stale"
    vm.run(f"mdadm --readwrite {array}")
    array.wait_in_sync()
    array.wait_sync()
    array.flush()
    assert wrong_sectors(array) == []


@EACH_LEVEL
def test_recovery_is_interrupted(vm, level, disks):
    """Abortsync: what was begun is NeedSync again, and done by the next one. RAID6 has to lack all
    that it can: what the others could still settle among them is left to a resync."""
    array = vm.create_array(level=level, disks=disks, size=49152)
    gone = vm.disks[1:1 + PARITY.get(level, 1)]
    for member in gone:
        kick(array, member)
    vm.run(f"dd if=/dev/urandom of={array} bs=1M count={(array.size() >> 20) - 2} oflag=direct "
           "status=none")
    array.set("sync_speed_max", 4000)
    array.set("sync_speed_min", 1000)
    array.set("sync_max", 80 * 1024)        # it does not end, however late we come
    with Trace(vm) as trace:
        array.re_add(vm.disks[1])
        wait_until(vm, lambda: array.bits()["syncing"] > 20)
        array.fail(vm.disks[1])
        array.set("sync_max", "max")        # and wakes it, if it waits there
        array.remove(vm.disks[1])
    changes = trace.changes()
    assert changes["Syncing->NeedSync Abortsync"] > 0
    assert "Syncing->Dirty Endsync" not in changes
    assert array.bits()["syncing"] == 0
    array.set("sync_speed_max", "system")
    array.set("sync_speed_min", "system")
    for member in gone:
        array.re_add(member)
    wait_until(vm, lambda: array.degraded() == 0, 60)
    array.wait_in_sync()
    array.wait_sync()
    array.flush()
    assert wrong_sectors(array) == []


@cases("level, disks", (1, 2), long=[(10, 2)])
def test_member_that_is_to_be_filled_is_not_read(vm, level, disks):
    """Nor when the array starts with a resync, as it does for what was written without it, and
    copies are read from one member only: the first that has them, not the one in the first slot."""
    array = vm.create_array(level=level, disks=disks)
    first = vm.disks[0]
    content = Content(array)
    content.write(0, pattern=0x31)
    array.flush()
    kick(array, first)
    content.write(0, pattern=0x71)
    array.set("sync_max", 0)
    array.re_add(first)
    wait_until(vm, lambda: array.get("sync_action") == "recover")
    array.stop()
    array.assemble(extra=("--readonly",))
    assert (array.get(f"dev-{str(first)[5:]}/slot"), array.degraded()) == ("0", 1)
    assert content.wrong() == []
    array.readwrite()
    array.wait_sync()
    assert content.wrong() == [] and array.degraded() == 0
    array.flush()
    assert array.unequal() == []


def test_what_is_read_before_a_resync_is_read_behind_it(vm):
    """Copies are read from the member that it will copy: a write-mostly one only if there is no
    other, though it be the first."""
    array = vm.create_array(level=1, disks=2)
    content = Content(array)
    content.write(5 * CHUNK, pattern=0x71)
    array.set(f"dev-{str(vm.disks[0])[5:]}/state", "writemostly")
    array.set("sync_action", "frozen")
    array.set("llbitmap/mark", 5)
    array.stop()
    first, second = array.member_images()
    overwrite(second, 5 * CHUNK, bytes(8 * 512))
    vm.run(["blockdev", "--flushbufs", vm.disks[1]])
    array.assemble(extra=("--readonly",))
    assert "write_mostly" in array.member_state(vm.disks[0])
    before = content.wrong()
    array.readwrite()
    array.wait_in_sync()
    array.wait_sync()
    array.flush()
    assert array.unequal() == [] and first.data(5 * CHUNK, 8) == bytes(8 * 512)
    assert content.wrong() == before


def test_degraded_no_more_without_a_recovery(vm):
    """Nobody comes back: what was written meanwhile is still to be resynced."""
    array = vm.create_array(level=1, disks=3, size=40960)
    array.set("llbitmap/daemon_sleep", 1)
    write(vm, array, 0)
    array.flush()
    kick(array, vm.disks[2])
    write(vm, array, 5 * CHUNK)
    vm.run("sleep 3")                               # the daemon has nothing more to do
    assert array.bits()["need sync"] == 1
    with Trace(vm) as trace:
        vm.run(f"mdadm --grow {array} --raid-devices=2")
        assert array.degraded() == 0
        array.wait_in_sync(15)
        array.wait_sync()
    assert trace.chunks("Endsync") == [5]
    array.flush()
    assert array.bits()["dirty"] == 0


@pytest.mark.long
def test_more_and_fewer_mirrors_under_load(vm):
    """Each new one has in the end what is written before, while and after it is filled, and the
    bitmap; and one that goes for good leaves the others so."""
    array = vm.create_array(level=1, disks=2, size=40960)
    content = Content(array, mib=8, first=2048 * 16)
    array.set("sync_speed_min", 100000)         # a sync does not wait for the writes to end
    array.set("llbitmap/daemon_sleep", 1)
    array.set("llbitmap/barrier_idle", 0)
    with Trace(vm) as trace:
        load = Load(array, 91)
        for disks in (3, 4):
            array.add(vm.disks[disks - 1])
            vm.run(f"mdadm --grow {array} --raid-devices={disks}")
            load.more()
            wait_until(vm, lambda disk=vm.disks[disks - 1]: array.degraded() == 0 and
                       array.member_state(disk) == ["in_sync"], 120, "it is not filled")
            load.more()
        kick(array, vm.disks[0])
        load.more()
        vm.run(f"until mdadm --grow {array} --raid-devices=3; do sleep 0.3; done")
        load.more()
        written = load.end()
    array.members.remove(vm.disks[0])
    changes = trace.changes()
    assert changes["Clean->Dirty Startwrite"] > 10 and changes["Dirty->Clean Daemon"] > 10
    array.wait_in_sync()
    array.wait_sync()
    array.flush()
    assert (array.get("raid_disks"), array.degraded()) == ("3", 0)
    array.settle()
    images = array.member_images()
    for image in images:
        assert wrong(written, image.data) == [], image.path
    bitmaps = on_disk(array)
    assert len(bitmaps) == 3 and bitmaps[0] == bitmaps[1] == bitmaps[2]
    assert array.unequal() == []
    assert content.wrong() == []
    array.members.append(vm.disks[0])           # to be emptied


@cases("level, disks", (1, 3), long=[(10, 4), (5, 3), (6, 4)])
def test_member_that_goes_while_it_is_flushed(vm, level, disks):
    """Who walks over the members holds the one at hand: it is not taken away under them."""
    members = mapped_members(vm, disks)
    array = vm.create_array(level=level, disks=disks, members=members, size=65536)
    keep_active(vm, array)
    members[0].load(members[0].slow_flush(HOLD))
    with Trace(vm, "block/block_bio_queue") as trace:
        flush = vm.spawn(f"echo 1 > {array.sysfs}/llbitmap/flush")
        wait_until(vm, lambda: [event for event in trace.recorded("block_bio_queue",
                                                                  dev=members[0].number)
                                if event.rwbs.startswith("F")])
        array.fail(members[0])
        taken = vm.run(f"for n in 1 2 3 4 5; do mdadm {array} --remove {members[0]} && exit; "
                       "sleep 0.3; done; exit 1", check=False)
        assert not taken, "it is gone, and the flush goes on from it"
        members[0].plain()
        flush.wait(check=False)
    assert trace.chunks("Daemon") == [], "a member misses it"
    vm.run(f"until mdadm {array} --remove {members[0]}; do sleep 0.3; done")
    array.re_add(members[0])
    wait_until(vm, lambda: array.degraded() == 0)
    array.wait_in_sync()
    array.wait_sync()
    array.flush()
    assert array.bits()["dirty"] == array.bits()["need sync"] == 0
    assert wrong_sectors(array) == []

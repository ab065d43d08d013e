# SPDX-License-Identifier: GPL-2.0-or-later
"""Members that join while the array is written to: the whole bitmap is there before they count.

The joining disk's writes are logged by QEMU in the order in which they were done. Played again up
to the superblock that first says "in sync", it shows what a power cut at that moment leaves.
"""
import struct
import uuid

import pytest

from levels import PARITY, cases, first_sector
from support import AREA_BEGIN, AREA_SECTORS, HEADER, Content, on_disk, states, wait_until
from test_parity import resync
from vmtest import DiskOptions
from vmtest.geometry import Layout
from vmtest.logwrites import LogWrites
from vmtest.member import MD_MAGIC, SPARE_ROLES, BitmapImage
from vmtest.parity import ParityLayout

CHUNK = 128
GARBAGE = 0x55
SUPER = 8                   # sector of md's superblock
RECOVERY_OFFSET = 2         # feature: the member is being filled
PLAIN, LOGGED = DiskOptions(size="1G"), DiskOptions(size="1G", log_writes=True)
pytestmark = pytest.mark.vm(cpus=1, each_disk=(PLAIN,) * 4 + (LOGGED,))



def in_sync(superblock, array_uuid):
    """Whether a superblock says of its own disk that it has all data."""
    magic, _, features = struct.unpack_from("<III", superblock)
    if magic != MD_MAGIC or uuid.UUID(bytes=bytes(superblock[16:32])) != array_uuid:
        return False
    number, = struct.unpack_from("<I", superblock, 160)
    most, = struct.unpack_from("<I", superblock, 220)
    if number >= most or features & RECOVERY_OFFSET:
        return False
    return struct.unpack_from("<H", superblock, 256 + 2 * number)[0] < SPARE_ROLES


def area_when_in_sync(disk, array_uuid, begin=0):
    """The bitmap area when the log, from entry `begin` on, first has the disk in sync."""
    end = AREA_BEGIN + AREA_SECTORS
    head = bytearray(end * 512)
    joined = False
    with LogWrites(disk.log_path) as log:
        for entry in log:
            if not entry.is_write() or entry.sector >= end:
                continue
            data = log.data(entry)[:(end - entry.sector) * 512]
            head[entry.sector * 512:entry.sector * 512 + len(data)] = data
            covers = entry.sector <= SUPER < entry.sector + entry.sectors
            now = covers and in_sync(head[SUPER * 512:SUPER * 512 + 4096], array_uuid)
            if entry.index < begin:
                continue
            if now and not joined:
                return BitmapImage(bytes(head[AREA_BEGIN * 512:]))
    raise AssertionError("the log does not have it in sync")


def log_length(disk):
    with LogWrites(disk.log_path) as log:
        return log.count


def garbage(vm, disk):
    """What is in the area of a disk that was used for something else."""
    vm.run(f"tr '\\0' '\\{GARBAGE:o}' < /dev/zero | dd of={disk} bs=4096 seek=2 count=32 "
           f"oflag=direct iflag=fullblock status=none")


def pattern_of(chunk):
    return chunk % 200 + 20


def write_chunks(content, chunks):
    for chunk in chunks:
        content.write(first_sector(content.array, chunk), pattern=pattern_of(chunk))


def wrong_chunks(images, chunks):
    """Of chunks that were written to, those whose copies differ, or whose parity is wrong."""
    layout = ParityLayout if images[0].level in PARITY else Layout
    layout = layout.of_member(images[0])
    differ = layout.wrong_parity if images[0].level in PARITY else layout.unequal
    return [chunk for chunk in chunks if differ(images, chunk * CHUNK, chunk * CHUNK + CHUNK - 1)]


def what_parity_gives(images, chunks, lost=()):
    """Those of the chunks that do not have what write_chunks() wrote."""
    layout = ParityLayout.of_member(images[0])
    stripes = {chunk: divmod(chunk * CHUNK, layout.chunk) for chunk in chunks}
    return [chunk for chunk, (stripe, within) in stripes.items() if
            layout.read(images, stripe * layout.chunk * layout.data_disks + within, 8, lost)
            != bytes([pattern_of(chunk)]) * 4096]


@cases("level, disks, how", (1, 2, "add"), (1, 2, "re-add"), (1, 2, "replace"), (5, 3, "add"),
       long=[(10, 4, "replace"), (10, 4, "add"), (10, 4, "re-add"), (5, 3, "re-add"),
             (5, 3, "replace"), (6, 4, "add")])
def test_bitmap_is_there_first(vm, level, disks, how):
    joining = vm.disks[4]
    members = [*vm.disks[:disks - 1], joining] if how == "re-add" else vm.disks[:disks]
    parity = level in PARITY
    array = vm.create_array(level=level, disks=disks, members=members, assume_clean=False,
                            size=(1000 << 10) // (1 if parity else disks // 2),
                            chunk=64 if parity else None)
    array.wait_sync()
    chunks = array.metadata()["chunks"]
    pages = -(-(HEADER + chunks) // 4096)
    assert pages >= 5
    array.set("llbitmap/daemon_sleep", 3600)
    clean = [100, 3500, 7000, 7001, 11200, chunks - 1]
    content = Content(array)
    content.write(0)    # from now on the members know how large a chunk is
    write_chunks(content, clean)
    resync(array)       # of what parity is built for
    array.flush()
    dirty = [101, 3501, 7003, chunks - 2]
    write_chunks(content, dirty)
    needsync = []
    leaving = members[-1]
    if how != "replace":
        array.fail(leaving)
        array.remove(leaving)
        needsync = [102, 7005, 11300]
        write_chunks(content, needsync)
    if how != "re-add":
        garbage(vm, joining)
    else:
        # what it missed, and more than that, is no longer on it
        vm.run(f"tr '\\0' '\\{GARBAGE:o}' < /dev/zero | dd of={joining} bs=4096 seek=3 count=31 "
               f"oflag=direct iflag=fullblock status=none")
    begin = log_length(joining)

    # data go to pages 0 and 1 meanwhile, and a whole new chunk now and then
    writer = vm.spawn(f"fio --name=w --filename={array} --rw=randwrite --bs=4k --direct=1 "
                      f"--time_based --runtime=600 --offset=20M --size=185M --thinktime=20ms --randseed=9")
    if how == "replace":
        array.add(joining)
        vm.run(f"mdadm {array} --replace {leaving} --with {joining}")
    else:
        array.manage(how, joining)
        if joining not in array.members:
            array.members.append(joining)
    wait_until(vm, lambda: "in_sync" in array.member_state(joining), 120)
    vm.run("sleep 0.5")
    writer.signal(2)
    writer.wait(check=False)
    array.wait_sync()
    array.settle()

    found = area_when_in_sync(joining, array.member_images()[0].array_uuid, begin)
    other = array.member_images()[0].bitmap()
    for field in ("magic", "version", "uuid", "sync_size", "chunksize", "sectors_reserved",
                  "state"):
        assert getattr(found, field) == getattr(other, field), field
    joined = found.states()
    assert len(joined) == chunks
    wrong = {chunk: joined[chunk] for chunk in clean if joined[chunk] != 1}
    assert wrong == {}, "Clean chunks"
    wrong = {chunk: joined[chunk] for chunk in dirty + needsync if joined[chunk] not in (2, 3, 4)}
    assert wrong == {}, "chunks to be synced"
    idle = set(range(4000, chunks)) - {*clean, *dirty, *needsync}
    wrong = {chunk: joined[chunk] for chunk in idle if joined[chunk] != 0}
    assert wrong == {}, f"{len(wrong)} Unwritten chunks"

    resync(array)
    if how == "replace":
        array.remove(leaving)
    array.flush()
    assert array.degraded() == 0
    left = {str(leaving)} if how != "re-add" else set()
    stay = [disk for disk in array.members if str(disk) not in left]
    gone = [disk for disk in array.members if str(disk) in left]
    array.members = stay
    bitmaps = on_disk(array)
    assert len(bitmaps) == disks
    assert all(one == bitmaps[0] for one in bitmaps)
    written = [chunk for chunk, state in enumerate(states(array)) if state == "Clean"]
    assert set(written) >= {*clean, *dirty, *needsync}
    images = array.member_images()
    # copies are alike, and what one of them gives is right
    assert wrong_chunks(images, written) == []
    assert content.wrong() == []
    if parity:
        for lost in [(), *((role,) for role in range(disks))]:
            assert what_parity_gives(images, clean + dirty + needsync, lost) == [], lost
    array.members = stay + gone


@cases("level, disks, what", (1, 2, "superblock"), (1, 2, "everything"),
       long=[(10, 2, "superblock"), (5, 3, "superblock"), (6, 4, "superblock")])
def test_in_sync_member_without_the_bitmap(vm, level, disks, what):
    """Its data are good, its bitmap is not: it gets the whole one, not only what changes."""
    array = vm.create_array(level=level, disks=disks, assume_clean=False)
    array.wait_sync()
    chunks = array.metadata()["chunks"]
    written = [100, 3500, 7000, 11200, chunks - 1]
    content = Content(array)
    write_chunks(content, written)
    resync(array)       # of what parity is built for
    array.stop()
    wanted = on_disk(array)
    again = first_sector(array, 100)
    first, second, *others = array.members
    with open(first.path, "r+b") as file:
        file.seek(AREA_BEGIN * 512)
        file.write(bytes([GARBAGE if what == "superblock" else 0])
                   * (256 if what == "superblock" else AREA_SECTORS * 512))
        if what == "superblock":
            file.seek(AREA_BEGIN * 512 + HEADER)
            file.write(bytes(chunks))
    vm.run(f"blockdev --flushbufs {first}")
    mark = vm.log.size()
    array.assemble([second, first, *others])
    content.write(again, pattern=pattern_of(100))
    array.flush()
    assert "bitmap superblock has magic" in vm.dmesg(mark)
    array.stop()
    assert on_disk(array) == wanted

    # for the others may be gone next time
    array.assemble([first, *others], extra=("--run",))
    array.readwrite()
    assert [chunk for chunk, state in enumerate(states(array)) if state == "Clean"] == written
    array.add(vm.disks[disks])
    array.wait_sync()
    array.flush()
    assert content.wrong() == []
    array.stop()
    array.members.remove(second)
    assert wrong_chunks(array.member_images(), written) == []
    array.members.append(second)

# SPDX-License-Identifier: GPL-2.0-or-later
"""Members that another kernel left behind (images/README.md): their data, their states."""
import pathlib
import re
import subprocess

import pytest

from levels import cases
from support import HEADER, Trace, on_disk, states, write
from vmtest import Array, DiskOptions
from vmtest.member import STATES

IMAGES = pathlib.Path(__file__).parent / "images"
CHUNK = 128
KIB = 1024
MIB = 1024 * KIB
SMALL, LARGE = DiskOptions(size="24M"), DiskOptions(size="24M", logical=4096)
pytestmark = pytest.mark.vm(cpus=1, each_disk=(SMALL, SMALL, SMALL, SMALL, LARGE, LARGE))

# name: the letter of the pattern, where it was written, what was discarded
WRITTEN = {
    "raid1-clean": ("a", 0, 3 * MIB),
    "raid1-assume-clean": ("b", 1280 * KIB, MIB),
    "raid1-unclean": ("c", 448 * KIB, 640 * KIB),
    "raid1-discarded": ("f", 0, 4 * MIB),
    "raid10-clean": ("g", 0, 6 * MIB),
    "raid5-clean": ("m", 6400 * KIB, 64 * KIB),
    "raid5-needsync": ("h", 0, 2 * MIB),
    "raid5-newer-states": ("j", 19200 * KIB, 64 * KIB),
    "raid1-4k-broken": ("l", 0, 2 * MIB),
}
DISCARDED = {"raid1-discarded": range(16, 32)}


class Image(Array):
    """An array whose members are a set of images, on the first disks of the VM that fit."""

    def __init__(self, vm, name, disks):
        super().__init__(vm, f"md{len(vm._arrays)}")
        files = sorted(IMAGES.glob(f"{name}.*.img.zst"))
        assert files, f"no image {name}"
        self.image = name
        self.members = disks[:len(files)]
        vm._arrays.append(self)
        for file, disk in zip(files, self.members, strict=True):
            raw = subprocess.run(["zstd", "-dqc", file], check=True, capture_output=True).stdout
            assert len(raw) == disk.size
            disk.path.write_bytes(raw)
        self.forget()

    def forget(self):
        """What the guest has of the disks in its page cache."""
        devices = " ".join(map(str, self.members))
        self.vm.run(f"for d in {devices}; do blockdev --flushbufs $d; done")

    def said(self, name):
        """The numbers of NAME.bits or NAME.metadata."""
        text = (IMAGES / f"{self.image}.{name}").read_text(encoding="ascii")
        pairs = re.findall(r"^(\D+?)\s+(\d+)$", text, re.MULTILINE)
        return {key: int(value) for key, value in pairs}

    def has_its_data(self):
        """What was written and not discarded, read through the array."""
        letter, start, length = WRITTEN[self.image]
        line = f"llbitmap pattern {letter}\n".encode()
        wanted = (line * (length // len(line) + 1))[:length]
        self.vm.run(f"dd if={self} of=/mnt/out/data bs=64k skip={start} count={length} "
                    f"iflag=direct,skip_bytes,count_bytes status=none")
        found = (self.vm.out / "data").read_bytes()
        (self.vm.out / "data").unlink()
        assert len(found) == length
        for offset in range(0, length, 64 * KIB):
            if (start + offset) // (64 * KIB) in DISCARDED.get(self.image, ()):
                continue
            piece = slice(offset, offset + 64 * KIB)
            assert found[piece] == wanted[piece], f"{start + offset} bytes into the array"

    def forge(self, first, bytes_):
        """State bytes on all members."""
        for image in self.member_images():
            with open(image.path, "r+b") as file:
                file.seek((image.super_offset + image.bitmap_offset) * 512 + HEADER + first)
                file.write(bytes_)
        self.forget()


def runs(names):
    """["Clean", "Clean", "Dirty"] -> [("Clean", 0, 1), ("Dirty", 2, 2)]"""
    found = []
    for chunk, name in enumerate(names):
        if found and found[-1][0] == name:
            found[-1] = (name, found[-1][1], chunk)
        else:
            found.append((name, chunk, chunk))
    return found


@cases("name, level, expected",
       ("raid1-discarded", 1, [("Clean", 0, 15), ("Unwritten", 16, 31), ("Clean", 32, 367)]),
       ("raid10-clean", 10, [("Clean", 0, 511), ("Unwritten", 512, 703)]),
       long=[("raid1-clean", 1, [("Clean", 0, 367)]), ("raid1-assume-clean", 1, [("Clean", 0, 367)])])
def test_clean(vm, name, level, expected):
    """Taken as it is: no transition, no sync, no byte changed on a member."""
    array = Image(vm, name, vm.disks)
    before = [disk.path.read_bytes() for disk in array.members]
    with Trace(vm) as trace:
        array.assemble()
        array.has_its_data()
        array.wait_sync()
    assert "[llbitmap]" in array.get("bitmap_type")
    load, = trace.events("load")
    assert (load.decision, load.level, load.chunks) == ("reload", level, expected[-1][2] + 1)
    assert trace.events("transition") == [] and trace.events("error") == []
    assert trace.events("sync", op="start") == []
    assert runs(states(array)) == expected
    metadata, said = array.metadata(), array.said("metadata")
    assert {key: metadata[key] for key in said} == said
    # the last that was seen of this one there was before the stop, which cleaned it
    if name != "raid1-assume-clean":
        assert {state: array.said("bits")[state] for state in STATES} == array.bits()
    # read-auto
    assert [disk.path.read_bytes() for disk in array.members] == before

    # and used: only what is written changes
    write(vm, array, 20 * CHUNK, pattern=0x6b)
    vm.run("sync")
    changed = [chunk for chunk, state in enumerate(states(array)) if state == "Dirty"]
    assert changed == [20]
    array.stop()
    for image, content in zip(array.member_images(), on_disk(array), strict=True):
        assert runs(STATES[byte].capitalize() for byte in content) == runs(
            "Clean" if chunk == 20 else name for name, first, last in expected
            for chunk in range(first, last + 1))
        assert image.bitmap().daemon_sleep == said["daemon_sleep"]
    array.assemble()
    assert array.unequal() == []


@pytest.mark.parametrize("kept_clean", [range(0), range(40, 300)])
def test_unclean(vm, kept_clean):
    """Dirty is synced, and nothing else. Other kernels leave hardly anything Clean, so in one
    case some of the chunks are made so here."""
    array = Image(vm, "raid1-unclean", vm.disks)
    array.forge(kept_clean.start, b"\x01" * len(kept_clean))
    assert array.said("bits")["dirty"] == 368
    second = array.member_images()[1]
    for chunk in (2, 39, 40, 299, 300, 367):
        with open(second.path, "r+b") as file:
            file.seek((second.data_offset + chunk * CHUNK) * 512)
            file.write(b"unequal!" * 64)
    array.forget()
    dirty = sorted(set(range(368)) - set(kept_clean))
    with Trace(vm) as trace:
        array.assemble()
        assert array.bits()["need sync"] == len(dirty)
        array.readwrite()
        array.wait_sync()
        array.wait_in_sync()
    assert trace.events("load")[0].decision == "reload"
    assert trace.changes()["Dirty->NeedSync Reload"] == len(dirty)
    assert trace.chunks("Reload") == trace.chunks("Startsync") == trace.chunks("Endsync") == dirty
    array.has_its_data()
    array.flush()
    assert set(states(array)) == {"Clean"}
    left = {first // CHUNK for first, _ in array.unequal()}
    assert left == {40, 299} & set(kept_clean), "not what had to be synced"


def parity_is_right(array):
    """Every sector of the members: RAID5's parity is the sum of the others."""
    array.settle()
    images = array.member_images()
    for sector in range(0, images[0].size, 2048):
        first, *others = [int.from_bytes(image.data(sector, 2048), "little") for image in images]
        total = first
        for other in others:
            total ^= other
        assert total == 0, f"parity is wrong in the 2048 sectors from {sector} on"


def test_raid5_clean(vm):
    array = Image(vm, "raid5-clean", vm.disks)
    with Trace(vm) as trace:
        array.assemble()
        array.has_its_data()
        array.wait_sync()
    assert trace.events("load")[0].decision == "reload"
    assert trace.events("transition") == [] and trace.events("sync", op="start") == []
    assert {state: array.said("bits")[state] for state in STATES} == array.bits()
    assert set(states(array)) == {"Clean"}
    parity_is_right(array)
    array.fail(array.members[0])
    array.has_its_data()


@pytest.mark.parametrize("name", ["raid5-needsync", "raid5-newer-states"])
def test_raid5_needs_sync(vm, name):
    """Parity is built where it is needed; states that we do not know need it as well."""
    array = Image(vm, name, vm.disks)
    unknown = sorted(chunk for chunk, byte in enumerate(on_disk(array)[0]) if byte > 4)
    said = array.said("bits")
    assert len(unknown) == said["need sync unwritten"] == (344 if name.endswith("states") else 0)
    broken = array.member_images()[2]
    with open(broken.path, "r+b") as file:
        file.seek(broken.data_offset * 512 + 5 * MIB)       # a stripe whose parity is on this one
        file.write(b"no parity" * 1000)
    array.forget()
    mark = vm.log.size()
    with Trace(vm) as trace:
        array.bring_up()
    assert trace.events("load")[0].decision == "reload"
    loaded = [event for event in trace.events("transition") if "BAD_BYTE" in event.flags]
    assert sorted(chunk for event in loaded for chunk in event.chunks()) == unknown
    assert all(event.to == "NeedSync" for event in loaded)
    assert bool(unknown) == any("bad byte" in event.text for event in trace.events("error"))
    assert bool(unknown) == ("are no known states" in vm.dmesg(mark))
    assert trace.chunks("Startsync") == trace.chunks("Endsync") == list(range(352))
    array.has_its_data()
    array.flush()
    assert set(states(array)) == {"Clean"}
    parity_is_right(array)
    array.fail(array.members[1])
    array.has_its_data()


def test_newer_states(vm):
    """Bytes 5 to 7 on RAID1, where that kernel does not leave them: the bytes of one image."""
    array = Image(vm, "raid1-clean", vm.disks)
    array.forge(100, bytes([5] * 20 + [6] * 10 + [7] * 5))
    mark = vm.log.size()
    with Trace(vm) as trace:
        array.bring_up()
    assert all("BAD_BYTE" in event.flags for event in trace.events("transition", action="Reload"))
    assert trace.chunks("Reload") == trace.chunks("Endsync") == list(range(100, 135))
    assert any("bad byte" in event.text and "chunk=100" in event.text.replace("info", "chunk")
               for event in trace.events("error")), trace.events("error")
    assert "35 bytes of bitmap page 0 are no known states" in vm.dmesg(mark)
    array.has_its_data()


def test_overwritten_superblock(vm):
    """Refused, with the reason; --update=no-bitmap gives the data back. README says so."""
    array = Image(vm, "raid1-4k-broken", vm.disks[4:])
    before = [disk.path.read_bytes() for disk in array.members]
    mark = vm.log.size()
    assert array.assemble(check=False).rc != 0
    assert re.search("bitmap.*unrecognized superblock version", vm.dmesg(mark))
    assert not vm.exists(array.sysfs) or array.get("array_state") in ("inactive", "clear")
    assert [disk.path.read_bytes() for disk in array.members] == before, "something was written"

    array.assemble(extra=("--update=no-bitmap",))
    assert "[none]" in array.get("bitmap_type")
    assert vm.read(f"/sys/block/{array.name}/queue/logical_block_size") == "4096"
    array.has_its_data()
    first, second = array.member_images()
    assert first.data(0, first.size) == second.data(0, second.size)
    # for good, and as an array like any other
    array.stop()
    array.assemble()
    vm.run(f"mdadm --readwrite {array}")
    array.wait_sync()
    write(vm, array, 40 * CHUNK)
    array.has_its_data()
    assert array.unequal() == []


@pytest.mark.parametrize("name, size", [("raid1-clean", 512), ("raid1-4k-broken", 4096)])
def test_block_size_in_the_superblock(vm, name, size):
    """Newer kernels record an array's logical block size. We keep to it, and leave it there."""
    array = Image(vm, name, vm.disks)       # 4096 on disks with blocks of 512
    extra = ("--update=no-bitmap",) if name.endswith("broken") else ()
    array.assemble(extra=extra)
    queue = f"/sys/block/{array.name}/queue/logical_block_size"
    assert vm.read(queue) == str(size)
    write(vm, array, 300 * CHUNK)
    array.stop()
    assert [recorded(disk) for disk in array.members] == [size, size]
    array.assemble()
    array.readwrite()
    assert vm.read(queue) == str(size)
    # a member with larger blocks would change it
    mark = vm.log.size()
    array.fail(vm.disks[1])
    array.remove(vm.disks[1])
    spare = vm.disks[4]
    result = array.manage("add", spare, check=False)
    array.members.append(spare)
    array.wait_sync()
    assert array.degraded() == (1 if size == 512 else 0), result
    if size == 512:
        assert "has blocks of 4096 bytes, the array keeps to 512" in vm.dmesg(mark)
    else:
        assert recorded(spare) == size
    array.has_its_data()


def recorded(disk):
    return int.from_bytes(disk.read(8, 1)[224:228], "little")


@cases("content", b"\x00\x03\x00\x00", b"\x00\x02\x00\x00\x01",
       long=[b"\x00\x01\x00\x00", b"\x00\x00\x01\x00"])
def test_padding_in_the_superblock(vm, content):
    """What is no block size, and what is behind it, is still a new feature that we lack."""
    array = Image(vm, "raid1-clean", vm.disks)
    for disk in array.members:
        with open(disk.path, "r+b") as file:
            file.seek(4096)
            raw = bytearray(file.read(4096))
            raw[224:224 + len(content)] = content
            raw[216:220] = bytes(4)
            raw[216:220] = checksum(raw)
            file.seek(4096)
            file.write(raw)
    array.forget()
    mark = vm.log.size()
    assert array.assemble(check=False).rc != 0
    assert "holds what this kernel does not know" in vm.dmesg(mark)
    vm.run(f"mdadm --stop {array}", check=False)


def checksum(raw):
    """Of a version 1 superblock, whose own bytes for it are zero."""
    size = 256 + 2 * int.from_bytes(raw[220:224], "little")
    total = sum(int.from_bytes(raw[at:at + 4], "little") for at in range(0, size, 4))
    return ((total & 0xffffffff) + (total >> 32)).to_bytes(4, "little")

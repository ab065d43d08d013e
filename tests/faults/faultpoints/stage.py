# SPDX-License-Identifier: GPL-2.0-or-later
"""The array that faults happen to, made, used and seen through the player of tests/stateful."""
import dataclasses
import json
import os
import zlib

from levels import PARITY, width
from sidebyside.contents import content
from sidebyside.rig import ANSWERS, REQUESTS, SETTLE, Rig, packed
from support import new_bitmap
from vmtest import DiskOptions
from vmtest.geometry import Layout
from vmtest.member import Member
from vmtest.parity import ParityLayout

CHUNK = 128                         # sectors of a chunk of the bitmap
PAGE_0 = 4096 - 1024                # chunks in its first page
DISKS = {1: 2, 10: 4, 5: 3, 6: 4}
SIZES = {1: 200, 10: 100, 5: 200, 6: 200}   # MiB of each member: bitmaps of two pages; half: of one
ALL_DISKS = 5
VM = {"disks": ALL_DISKS, "disk": DiskOptions(size="208M"), "memory": "512M", "cpus": 1}
HEAD = 1 << 20                      # bytes of a member before its data
HANG = 40                           # seconds of real hardware
PARAMETERS = "/sys/module/md_mod/parameters"


@dataclasses.dataclass(frozen=True)
class Fault:
    """From hit `nth` of a point on, `times` fail. Without point: none, it only counts."""
    point: str = ""
    nth: int = 1
    times: int = 1
    kind: str = "error"

    def __str__(self):
        more = f" x{self.times}" if self.times > 1 else ""
        return f"{self.point} {self.nth}{more} {self.kind}" if self.point else "no fault"

    def armed(self):
        return f"{self.point},{self.nth},{self.times},{self.kind}" if self.point else "\n"


def of_one_size(disks, images):
    """Those of `disks` that mdadm assembles together: it gives up where a superblock tells of
    another size, which is what a member has that failed before the size was changed."""
    newest = max(images.values(), key=lambda image: image.events, default=None)
    return [disk for disk in disks
            if disk not in images or images[disk].size == newest.size]


class Stage(Rig):
    """`written` has for each 4 KiB block what was written there: {array sector: write number};
    `hot` are the chunks written or discarded since the daemon could have made them Clean, `touched`
    those that ever were."""

    def __init__(self, vm, level):
        self.vm = vm
        self.array = None
        self.start = vm.log.size()
        self.number = 0             # of the last write
        self.fault = Fault()        # that waits
        self.failed = None          # what an operation said, or None
        self.hole = False           # a cut left an array with parity and without a member
        self.disks, self.written, self.hot, self.touched = [], {}, set(), set()
        self.take(level)
        self.begin()

    def take(self, level):
        """There is no array; the next one is of this level."""
        self.level = level
        self.full = SIZES[level] << 10

    @property
    def unit(self):
        """Array sectors that belong to a chunk of the bitmap."""
        return CHUNK * width(self.level, DISKS[self.level])

    # -- faults --------------------------------------------------------------------------------

    def arm(self, fault):
        self.vm.write(f"{PARAMETERS}/faults", fault.armed())

    def hits(self):
        """{point: (times reached, times failed)} since it was armed."""
        lines = self.vm.read(f"{PARAMETERS}/faults").splitlines()
        return {name: (int(hits), int(failed)) for name, hits, failed in map(str.split, lines)}

    def unbalanced(self):
        """What was taken and not given back; for when there is no bitmap."""
        lines = self.vm.read(f"{PARAMETERS}/faults_balance").splitlines()
        return [line for line in lines if not line.endswith(" 0")]

    # -- life ----------------------------------------------------------------------------------

    def ask(self, *requests, timeout=HANG):
        """As the others do it, without starting anything at all."""
        self.vm.write(REQUESTS, json.dumps(requests) + "\n")
        return json.loads(self.vm.read(ANSWERS, timeout))

    def get(self, attribute):
        return self.ask(["get", attribute])[0]

    def set(self, attribute, value):
        """None, or the error's name."""
        return self.ask(["set", attribute, str(value)])[0]

    def wipe(self):
        """The disks are empty."""
        self.hole = False
        self.disks = list(range(DISKS[self.level]))
        self.written, self.hot, self.touched = {}, set(), set()
        for disk in self.vm.disks:
            with open(disk.path, "r+b") as file:
                file.truncate(0)
                file.truncate(disk.size)
        self.forget_cached()

    def forget_cached(self):
        """The guest's page cache of the disks."""
        self.ask(*(["run", 0, "blockdev", "--flushbufs", str(disk)] for disk in self.vm.disks))

    def create(self, clean=False, bitmap="lockless"):
        """mdadm's answer: (status, what it said)."""
        chunk = [f"--chunk={CHUNK // 2}"] if self.level in PARITY else []
        answer = self.mdadm(
            "--create", "/dev/md0", "--run", "--metadata=1.2", f"--level={self.level}", *chunk,
            f"--raid-devices={len(self.disks)}", f"--bitmap={bitmap}", f"--size={self.full}",
            *(["--assume-clean"] if clean or bitmap == "none" else []),
            *map(self.device, self.disks))
        self.at_rest()
        return answer

    def assemble(self, *how):
        answer = self.mdadm("--assemble", "/dev/md0", "--run", *how,
                            *map(self.device, of_one_size(self.disks, self.images())))
        if answer[0] == 0:
            self.mdadm("--readwrite", "/dev/md0")
        self.at_rest()
        return answer

    def assemble_any(self):
        """As assemble(). What was being written without a member at a cut may be lost, so md must
        not start that array unless it is told to."""
        hole, self.hole = self.hole, False
        answer = self.assemble()
        if not hole:
            return answer
        if answer[0] == 0:
            return [1, "it has started without a member, though it was not clean"]
        self.mdadm("--stop", "/dev/md0")        # what mdadm left in pieces
        return self.assemble("--force")

    def at_rest(self):
        """Nothing happens that nobody asked for."""
        self.ask(["set", "safe_mode_delay", "0"], ["set", "llbitmap/daemon_sleep", "3600"])

    def stop(self):
        return self.mdadm("--stop", "/dev/md0", seconds=SETTLE)

    def remove(self):
        """Whatever there is of an array."""
        if self.vm.exists("/sys/block/md0/md/array_state"):
            self.stop()

    def resize(self, kib, seconds=0):
        """mdadm's answer; forgets what is gone."""
        answer = self.mdadm("--grow", "/dev/md0", f"--size={kib}", seconds=seconds)
        self.settle()
        if kib < self.full:
            self.forget_behind(PAGE_0 // 2)
        return answer

    def leave(self, disk):
        self.mdadm("/dev/md0", "--fail", self.device(disk))
        self.mdadm("/dev/md0", "--remove", self.device(disk), seconds=5)

    def complete(self):
        """Members that failed come back, and everything is synced; what is wrong if not."""
        members = self.members()
        for disk in self.disks:
            if members.get(disk):
                continue
            if disk in members:
                self.mdadm("/dev/md0", "--remove", self.device(disk), seconds=5)
            if self.mdadm("/dev/md0", "--re-add", self.device(disk), seconds=2)[0]:
                self.mdadm("--zero-superblock", self.device(disk))
                self.mdadm("/dev/md0", "--add", self.device(disk), seconds=5)
        if self.level in PARITY:
            self.set("llbitmap/mark", 3)    # the daemon, which sleeps, would ask for a resync
        if self.settle(len(self.disks), True):
            return []
        return [f"it does not come to rest: {self.members()}, {self.get('sync_action')}, "
                f"{self.bits()}"]

    def bits(self):
        text = self.get("llbitmap/bits")
        return {name: int(count) for name, count in
                (line.rsplit(" ", 1) for line in text.splitlines())}

    def running(self):
        return self.get("array_state") in ("active", "clean", "active-idle", "write-pending")

    def has_bitmap(self):
        """Whatever can be seen of it otherwise."""
        return self.get("bitmap/location").startswith("+")

    def settle(self, members=0, synced=False):
        return self.ask(["settle", SETTLE * self.vm.scale, members, synced])[0]

    def add_bitmap(self):
        """To a running array: the superblock from outside, as mdadm has no word for it; the kernel
        finds out itself which kind of bitmap it is. The name of the error, or None."""
        for image in self.images().values():
            new_bitmap(image)
        self.forget_cached()
        self.settle()
        for _ in range(100):
            error = self.set("bitmap/location", "+8")
            if error != "EBUSY":        # md is, for a moment after each change
                break
        self.at_rest()
        return error

    def members(self):
        """{disk: in-sync} of what the array has now."""
        found = self.ask(["members"])[0]
        return {ord(name[-1]) - ord("a"): in_sync for name, (_, in_sync) in found.items()}

    # -- data ----------------------------------------------------------------------------------

    def sector(self, chunk, block=0):
        return chunk * self.unit + 8 * block

    def use(self, first, last):
        self.hot.update(range(first, last + 1))
        self.touched.update(range(first, last + 1))

    def write(self, *wanted):
        """Writes (chunk, block, sectors) each; gives what is wrong with the answers."""
        requests, done = [], []
        for chunk, block, sectors in wanted:
            self.number += 1
            first = self.sector(chunk, block)
            requests.append(["write", first, packed(content(self.number, first, sectors))])
            done.append((first, sectors, self.number))
        wrong = []
        for answer, (first, sectors, number) in zip(self.ask(*requests), done):
            if answer != sectors * 512:
                wrong.append(f"a write to sector {first} gave {answer}")
            self.use(first // self.unit, (first + sectors - 1) // self.unit)
            self.written.update((sector, number) for sector in range(first, first + sectors, 8))
        return wrong

    def discard(self, chunk, chunks):
        first, sectors = self.sector(chunk), chunks * self.unit
        answer = self.ask(["discard", first, sectors])[0]
        self.use(chunk, chunk + chunks - 1)
        for sector in [one for one in self.written if first <= one < first + sectors]:
            del self.written[sector]
        return [f"a discard gave {answer}"] if answer else []

    def whole(self):
        """No member is missing; otherwise nothing is cleaned."""
        members = self.members()
        return all(members.get(disk) for disk in self.disks)

    def flush(self):
        """The error's name, or None: then nothing is Dirty, if the array is whole."""
        whole = self.whole()
        error = self.set("llbitmap/flush", 1)
        if not error and whole:
            self.passed()
        return error

    def passed(self):
        """The daemon has been there: what was written may be Clean."""
        begin = self.never_flushed()
        self.hot = set() if begin is None else {chunk for chunk in self.hot if chunk >= begin}

    def never_flushed(self):
        """The first chunk of the page for which some member could not be flushed, or None. Neither
        it nor what is behind it is cleaned: the array is without that member from then on. All
        members are flushed for each page in turn."""
        point = self.fault.point
        if not point.endswith("blkdev_issue_flush") or not self.hits().get(point, (0, 0))[1]:
            return None
        return PAGE_0 if self.fault.nth > DISKS[self.level] else 0

    def forget_behind(self, chunk):
        for sector in [one for one in self.written if one >= self.sector(chunk)]:
            del self.written[sector]
        self.hot = {one for one in self.hot if one < chunk}
        self.touched = {one for one in self.touched if one < chunk}

    def misread(self):
        """What the array gives other than what was written."""
        sectors = sorted(self.written)
        sums = self.ask(["checksums", [[sector, 8] for sector in sectors]])[0]
        if isinstance(sums, str):
            return [f"reading: {sums}"]
        wrong = [sector for sector, found in zip(sectors, sums)
                 if found != zlib.crc32(content(self.written[sector], sector, 8))]
        return [f"array sectors {wrong[:8]} are not what was written"] if wrong else []

    # -- the members' files ---------------------------------------------------------------------

    def images(self):
        """{disk: Member} of disks that have a superblock."""
        found = {}
        for disk in self.disks:
            try:
                found[disk] = Member(self.vm.disks[disk].path)
            except ValueError:
                pass
        return found

    def layout(self):
        image = next(iter(self.images().values()))
        return (ParityLayout if self.level in PARITY else Layout).of_member(image)

    def heads(self):
        """Superblocks and bitmaps as they are now."""
        found = {}
        for disk in range(ALL_DISKS):
            with open(self.vm.disks[disk].path, "rb") as file:
                found[disk] = file.read(HEAD)
        return found

    def cut(self):
        """As if the power was cut: the array goes, and superblocks and bitmaps are put back to what
        they were before it went. Data stay: all of it was written directly."""
        kept = self.heads()
        self.hole = self.level in PARITY and sum(self.members().values()) < len(self.disks)
        answer = self.stop()
        for disk, head in kept.items():
            with open(self.vm.disks[disk].path, "r+b") as file:
                file.write(head)
        self.forget_cached()
        return answer

    def tear(self, chunk):
        """What a cut in the middle of a write leaves: one copy, or parity, differs in a place that
        nobody wrote to and was told of."""
        role, where = DISKS[self.level] - 1, chunk * CHUNK + CHUNK - 8
        if self.level not in PARITY:
            role, where = self.layout().copies(self.sector(chunk) + CHUNK - 8)[-1]
        self.touched.add(chunk)
        image = next(image for image in self.images().values() if image.role == role)
        with open(image.path, "r+b") as file:
            os.pwrite(file.fileno(), b"torn write" * 50, (image.data_offset + where) * 512)

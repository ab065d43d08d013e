# SPDX-License-Identifier: GPL-2.0-or-later
"""A VM whose disks are logged, and the load in it."""
import dataclasses
import pathlib
import pickle
import random
import tempfile
import time

from vmtest import planted
from vmtest.disks import DiskOptions
from vmtest.environment import build_helper
from vmtest.judge import Watch
from vmtest.machine import VM, VMOptions

from levels import PARITY, width

from .array import SUPER_SECTORS, LoggedArray, of_images
from .log import FLUSH
from .server import LoggedDisk, Server

HERE = pathlib.Path(__file__).resolve().parents[1]
CHUNK = 128                     # sectors, at the sizes used here
PAGE_0_CHUNKS = 4096 - 1024     # in the first page of the bitmap
DATA_BEGIN = 2048               # at least: bitmap and superblocks are below
DATA_BEGIN_MAX = 4096
STRIPE = 1024                   # sectors of a member at most, as mdadm likes them

LOSING = 0.3            # seconds

ENOUGH = "/run/crash-load.enough"       # as load.c has it

# A VM with disks for an array of each level, large enough for two pages of the bitmap. With fewer
# of them, raid5 would not read old parity to write a block: what it reads instead are all the others.
DISKS = {1: range(3), 10: range(3, 7), 5: range(7, 11), 6: range(11, 17)}
KINDS = [DiskOptions(size="108M" if i in DISKS[10] else "208M") for i in range(17)]
# raid5 discards nothing but whole stripes: a chunk of the bitmap stands for two of them
STRIPES_KIB = CHUNK // 4
PREFER_RMW = 2                  # if that is as many blocks to read


def build_load():
    """The load's program, where the VM finds it in PATH."""
    return build_helper("crash-load", HERE / "load.c", "-pthread")


def broken_modules(name):
    """Modules with mutations/NAME.patch in them; their parameter llb_broken chooses what is broken."""
    return planted.bug(HERE / "mutations" / f"{name}.patch")


def unit_of(level, disks):
    """Array sectors that a chunk of the bitmap stands for, in an array that record() makes: also
    with parity they are one stretch of the array."""
    return CHUNK * width(level, len(disks))


def windows(unit):
    """Where the load writes: the array's begin, and around the bitmap's second page."""
    return [range(16 * unit), range((PAGE_0_CHUNKS - 6) * unit, (PAGE_0_CHUNKS + 6) * unit)]


def on_members(window, level, disks):
    """Where on the members such a range of the array is, and a little more. (RAID10 has two
    copies.)"""
    share = {1: 1, 10: disks // 2}.get(level) or width(level, disks)
    return range(window.start // share, window.stop // share + STRIPE + DATA_BEGIN_MAX)


def first_and_count(window):
    """As load.c takes it."""
    return f"{window.start}:{len(window)}"


def slow(rng, mark_disk, superblocks_late):
    """Seconds that an answer waits: bitmap writes and flushes now and then long, data a little,
    superblocks and flushes long, if superblocks_late() says so. Without FUA, blk-flush.c begins no
    flush while a superblock is being written; an fsync that waits for another flush is over by then,
    and gets ahead of it."""
    def delay(disk, kind, sector):
        if disk == mark_disk:
            return 0
        if superblocks_late() and (kind == FLUSH or sector in SUPER_SECTORS):
            return 0.1 if kind == FLUSH else 0.3
        if kind == FLUSH or sector < DATA_BEGIN:
            return rng.choice((0, 0.002, 0.01))
        return rng.choice((0, 0, 0.001, 0.004))
    return delay


@dataclasses.dataclass
class Recording:
    """What was logged of one array, from before its creation until it was stopped."""
    array: LoggedArray
    log: list
    start: int              # the load began
    mark_disk: int
    said: str               # by the load
    content: dict           # array sector -> generation or "?", read through the array at the end
    before: object = None   # Image that it was assembled from, if it was not created
    assembled: dict = dataclasses.field(default_factory=dict)   # ... content after that, as above

    def keep(self, path, seed):
        """For tools and people: unpickle it to judge it again."""
        path.write_bytes(pickle.dumps((self, seed)))


class Scene:
    """Boots the VM: `disks` DiskOptions each get a logged disk, and one more takes the marks."""

    def __init__(self, environment, directory, disks, seed, modules=""):
        self.seed = seed
        self.noise = random.Random(seed)
        self.littered = []      # ranges of each member
        self.losing = False     # a member: what is done before the superblocks tell is looked for
        self._sockets = tempfile.TemporaryDirectory(prefix="llb-")
        self.server = Server(f"{self._sockets.name}/s", seed)
        kinds = (*disks, DiskOptions(size="1M"))
        self.vm = VM(environment, directory, VMOptions(each_disk=kinds, modules=modules, cpus=2))
        self.vm.disks = self.server.disks = [
            LoggedDisk(i, directory, kind, self.server.socket_path)
            for i, kind in enumerate(kinds)]
        self.server.delay = slow(self.server.random, len(disks), lambda: self.losing)
        self.server.start()
        try:
            self.vm.boot()
            self.watch = Watch(self.vm)
        except BaseException:
            self.close()
            raise
        self.load = build_load()
        # the disks do read zeroes where they were discarded
        self.vm.run("modprobe raid456 devices_handle_discard_safely=Y")

    def trouble(self):
        """Takes the arrays away; what the kernel log says against the kernel, or ""."""
        self.server.logging = False
        return self.watch.finish(())

    def close(self):
        self.vm.stop()
        self.server.stop()
        self._sockets.cleanup()

    def record(self, level, disks, seconds, meanwhile=None, size=None, where=None):
        """Runs the load on a new array of these disks (numbers), until it is stopped cleanly.
        meanwhile(scene, array) happens at the same time; if it changes the array's size, it leaves
        it with the largest. size: of each member, in KiB. where: ranges of the array, of the load.
        Gives the Array and a Recording."""
        self.server.take_log()
        unit = unit_of(level, disks)
        where = where or windows(unit)
        self.littered = [on_members(window, level, len(disks)) for window in where]
        for number in disks:
            self.litter(self.vm.disks[number])
        array = self.vm.create_array(level=level, members=[self.vm.disks[i] for i in disks],
                                     disks=len(disks), assume_clean=False, size=size,
                                     chunk=STRIPES_KIB if level in PARITY else None)
        assert where[-1].stop <= array.size() // 512
        self.prepare(array, level)
        start = len(self.server.log)
        said, content = self.run_load(array, unit, where, seconds, meanwhile)
        logged = of_images([disk.path for disk in array.members],
                                       [disk.index for disk in array.members])
        assert logged.data_start <= DATA_BEGIN_MAX
        return array, Recording(logged, self.server.take_log(), start, self.vm.disks[-1].index,
                                said, content)

    @staticmethod
    def prepare(array, level):
        """Clean soon, and parity by all the ways that raid5 has."""
        array.set("llbitmap/barrier_idle", 0)
        array.set("llbitmap/daemon_sleep", 1)
        if level in PARITY:
            array.set("rmw_level", PREFER_RMW)

    def run_load(self, array, unit, where, seconds, meanwhile=None, generation=0):
        """... until the array is stopped; gives what the load said, and the content in the end.
        The load goes on as long as something happens to the array."""
        self.vm.run(["rm", "-f", ENOUGH])
        process = self.vm.spawn(
            [self.load, array, self.vm.disks[-1], f"{array.sysfs}/llbitmap/flush", self.seed,
             seconds, unit, generation, *map(first_and_count, where)])
        try:
            if meanwhile:
                meanwhile(self, array)
        except BaseException:
            process.signal()            # its marks are not for the next recording
            process.wait(check=False)
            raise
        self.vm.run(["touch", ENOUGH])
        said = process.wait().stdout.strip()
        array.wait_sync()
        content = self.read_back(array, where)
        array.stop()
        return said, content

    def record_again(self, array, image, level, seconds, where=None):
        """As record(), of an array as a power cut left it: it is assembled, synced and written to."""
        self.server.take_log()
        self.server.logging = True
        unit = unit_of(level, image.array.members)
        where = where or windows(unit)
        self.bring_up(array, image)
        self.prepare(array, level)
        assembled = self.read_back(array, where)
        said, content = self.run_load(array, unit, where, seconds,
                                      generation=max(image.live.values(), default=0))
        return Recording(image.array, self.server.take_log(), 0, self.vm.disks[-1].index, said,
                         content, image, assembled)

    def read_back(self, array, where):
        """{array sector: generation, or "?"} of these windows."""
        lines = self.vm.run([self.load, "read", array, *map(first_and_count, where)]).stdout
        content = {}
        for window, line in zip(where, lines.splitlines(), strict=True):
            numbers = [int(one) if one != "?" else one for one in line.split()]
            content |= zip(window, numbers, strict=True)
        return content

    def litter(self, disk):
        """A disk that had other things on it, and no array: what nobody copied, computed or
        initialised is wrong. What said that it was a member goes first."""
        for sectors in (range(SUPER_SECTORS.stop), *self.littered):
            self.server.scribble(disk, sectors, self.noise)
        self.vm.run(["blockdev", "--flushbufs", disk])

    def assemble(self, array, image):
        """Lets the kernel take a crash state, sync it, and make Clean what it may. The array is up;
        nothing is logged. Gives its bits()."""
        self.server.logging = False
        self.bring_up(array, image)
        array.flush()
        bits = array.bits()
        if not array.degraded():
            assert not bits["need sync"] + bits["syncing"] + bits["dirty"], bits
        return bits

    def bring_up(self, array, image):
        for disk in array.members:
            image.write(disk.index, disk.path, disk.size)
        self.vm.run(["blockdev", "--flushbufs", *array.members])
        array.assemble([disk for disk in array.members if disk.index in image.named],
                       extra=["--run"])
        self.vm.run(["mdadm", "--readwrite", array])
        if not array.degraded():
            array.wait_in_sync()        # between two resyncs it looks idle, too
        array.wait_sync()

    def breaks(self, order):
        """What broken_modules() broke; before the first array."""
        self.vm.run("modprobe md-mod")
        self.vm.write("/sys/module/md_mod/parameters/llb_broken", str(order))

    def lose(self, array, member, by_hand):
        """The member fails by hand, and its disk is fine; or the disk refuses everything, until it
        is removed from the array."""
        self.losing = True
        time.sleep(LOSING)      # something is not flushed when it fails
        if by_hand:
            array.fail(member)
        else:
            self.server.broken.add(member)
        deadline = time.monotonic() + 60 * self.vm.scale
        while {"faulty", "blocked"}.intersection(array.member_state(member)) != {"faulty"}:
            assert time.monotonic() < deadline, "nobody writes to it any more"
            time.sleep(0.05)
        self.losing = False

    def remove(self, array, member):
        array.set("sync_max", "max")        # a sync that waits there is not told of the failure
        array.remove(member)
        self.server.broken.discard(member)

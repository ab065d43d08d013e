# SPDX-License-Identifier: GPL-2.0-or-later
"""What the tests of the kernel's promises share: trace events, device-mapper members, patterns."""
import contextlib
import random
import re
import struct
import time

TRACING = "/sys/kernel/tracing"
AREA_BEGIN = 16             # sector of the bitmap area on a member that mdadm made
AREA_SECTORS = 256
HEADER = 1024               # bytes of the area before the first state byte


# -- trace events -------------------------------------------------------------------------------

LINE = re.compile(r"^\s*(?P<task>.+)-\d+\s+\[\d+\]\s+\S+\s+(?P<time>[\d.]+): (?P<name>\w+): "
                  r"(?P<text>.*)$")
TRANSITION = re.compile(r"(?P<change>\w+->\w+) (?P<action>\w+) flags=(?P<flags>\S*)$")
BLOCK = re.compile(r"(?P<dev>\d+,\d+) (?P<rwbs>\w+)(?: \d+ \(.*?\))? (?P<sector>\d+) \+ (?P<sectors>\d+)")
LOAD = re.compile(r"(?P<decision>first use|reload|stale)$")


class Event:
    """One line of the trace; its numbers are attributes: seq, chunk, count, page, sector, ..."""

    def __init__(self, match):
        self.task = match["task"].strip()
        self.time = float(match["time"])
        self.name = match["name"].removeprefix("llbitmap_")
        self.text = match["text"]
        for key, value in re.findall(r"(\w+)=(-?\d+)\b", self.text):
            setattr(self, key, int(value))
        if self.name.startswith("block_"):
            block = BLOCK.match(self.text)
            self.dev, self.rwbs = block["dev"], block["rwbs"]
            self.sector, self.sectors = int(block["sector"]), int(block["sectors"])
        elif self.name == "transition":
            change = TRANSITION.search(self.text)
            self.source, self.to = change["change"].split("->")
            self.action = change["action"]
            self.flags = set(change["flags"].split("|")) - {""}
        elif self.name == "load":
            self.decision = LOAD.search(self.text)[0]
        elif self.name in ("writeback", "barrier", "daemon", "sync"):
            self.op = re.search(r" (begin|end|wait|suspend|resume|timeout|start|skip|abort) ",
                                self.text)[1]
        elif self.name == "snapshot":
            self.state = re.search(r"count=\d+ (\w+)", self.text)[1]

    def chunks(self):
        return range(self.chunk, self.chunk + self.count)

    def __repr__(self):
        return f"<{self.time:.6f} {self.task} {self.name} {self.text}>"


def disk_prefix(vm):
    """How `dev` of events of the VM's disks begins; each kernel numbers block drivers anew."""
    return vm.read("/sys/block/vda/dev").partition(":")[0] + ","


class Trace:
    """with Trace(vm, "block/block_bio_queue") as trace: ...; trace.events("transition")

    The events of llbitmap and the ones named are recorded while the block runs. They stay enabled
    afterwards: less code of the running kernel is patched.
    """

    def __init__(self, vm, *events):
        self.vm = vm
        self.wanted = ("llbitmap", *events)
        self._events = None

    def __enter__(self):
        enable = "".join(f"[ $(cat events/{name}/enable) = 1 ] || echo 1 > events/{name}/enable\n"
                         for name in self.wanted)
        self.vm.run(f"modprobe md-mod; cd {TRACING} && echo 0 > tracing_on && echo mono > trace_clock"
                    f" && echo 16384 > buffer_size_kb\n{enable} : > trace && echo 1 > tracing_on")
        return self

    def __exit__(self, *_):
        if self._events is None:
            self.stop()

    def stop(self):
        """Ends the recording before the block does."""
        text = self.vm.run(f"cd {TRACING} && echo 0 > tracing_on && cat trace").stdout
        assert "LOST" not in text, "the trace buffer is too small"
        matches = (LINE.match(line) for line in text.splitlines() if not line.startswith("#"))
        self._events = [Event(match) for match in matches if match]
        return self

    def now(self):
        """What was recorded so far; goes on recording."""
        text = self.vm.read(f"{TRACING}/trace")
        matches = (LINE.match(line) for line in text.splitlines() if not line.startswith("#"))
        return [Event(match) for match in matches if match]

    def all(self):
        """Every event, in order."""
        return self._events

    def recorded(self, name, **wanted):
        """As events(), while it goes on recording."""
        return self._choose(self.now(), name, wanted)

    def events(self, name, **wanted):
        """Those of one name whose attributes are as wanted."""
        return self._choose(self._events, name, wanted)

    @staticmethod
    def _choose(events, name, wanted):
        return [event for event in events if event.name == name and
                all(getattr(event, key) == value for key, value in wanted.items())]

    def changes(self):
        """{"Clean->Dirty Startwrite": chunks, ...}"""
        counts = {}
        for event in self.events("transition"):
            key = f"{event.source}->{event.to} {event.action}"
            counts[key] = counts.get(key, 0) + event.count
        return counts

    def chunks(self, action):
        """The chunks that had a transition by this action."""
        return sorted({chunk for event in self.events("transition", action=action)
                       for chunk in event.chunks()})


# -- device mapper ----------------------------------------------------------------------------------

HOLD = 3_600_000        # ms. A new table has dm-delay let go at once what it holds


class Mapped:
    """A device-mapper device over a whole disk, as a member whose behaviour can change.

    Looked at from outside it is the disk: nothing is moved, ranges only behave differently.
    """

    def __init__(self, vm, name, disk):
        self.vm = vm
        self.name = name
        self.disk = disk
        self.path = disk.path
        self.sectors = disk.size // 512
        self.read = disk.read
        vm.run("modprobe dm-delay")
        vm.run(["dmsetup", "create", name, "--table", self.table()])
        minor = vm.run(["dmsetup", "info", "-c", "--noheadings", "-o", "minor", name]).stdout.strip()
        self.device = f"/dev/dm-{minor}"
        self.number = f"{vm.run(['dmsetup', 'info', '-c', '--noheadings', '-o', 'major', name]).stdout.strip()},{minor}"
        vm.borrow(self)

    def __str__(self):
        return self.device

    def table(self, *ranges):
        """All linear, but for ranges (first sector, sectors, target, more arguments)."""
        lines, at = [], 0
        for first, count, target, tail in [*sorted(ranges), (self.sectors, 0, "", "")]:
            if first > at:
                lines.append(f"{at} {first - at} linear {self.disk} {at}")
            if count:
                lines.append(f"{first} {count} {target} {tail}".rstrip())
            at = first + count
        return "\n".join(lines)

    def prepare(self, *ranges):
        """As load(), but it counts only when the device is resumed."""
        self.vm.run(["dmsetup", "load", self.name], stdin=self.table(*ranges) + "\n")

    def load(self, *ranges):
        self.vm.run(f"dmsetup load {self.name} && dmsetup resume --noflush {self.name}",
                    stdin=self.table(*ranges) + "\n")

    def slow_range(self, milliseconds, first=AREA_BEGIN, count=AREA_SECTORS):
        """For load(): writes (reads and flushes not) to a range take their time."""
        where = f"{self.disk} {first}"
        return first, count, "delay", f"{where} 0 {where} {milliseconds} {where} 0"

    def slow_read(self, first, count):
        """For load(): reads of a range, and nothing else, wait until the next load()."""
        where = f"{self.disk} {first}"
        return first, count, "delay", f"{where} {HOLD} {where} 0 {where} 0"

    def slow_flush(self, milliseconds, first=AREA_BEGIN):
        """For load(): only flushes of the member take their time, or until the next load()."""
        where = f"{self.disk} {first}"
        return first, 8, "delay", f"{where} 0 {where} 0 {where} {milliseconds}"

    def refused_late(self, nothing, first, count):
        """For load(): writes to a range wait until the next load(), and fail then, as `nothing`, from
        nothing_works(), has them."""
        where = f"{self.disk} {first}"
        return first, count, "delay", f"{where} 0 {nothing} {first} {HOLD} {where} 0"

    def bad_flush(self):
        """For load(): all flushes of the member fail, and so would writes to its last sectors, which no
        array should have."""
        first = self.sectors - 8
        return first, 8, "flakey", f"{self.disk} {first} 0 3600 1 error_writes"

    @staticmethod
    def bad_range(first=AREA_BEGIN, count=AREA_SECTORS):
        """For load(): all I/O to a range fails. Flushes of the member do not, unlike with
        dm-flakey."""
        return first, count, "error", ""

    def plain(self):
        self.load()

    def delay_writes(self, milliseconds, *where):
        self.load(self.slow_range(milliseconds, *where))

    def fail(self, *where):
        self.load(self.bad_range(*where))

    def remove(self):
        self.vm.run(f"for i in 1 2 3 4 5; do dmsetup remove {self.name} && exit; sleep 1; done; exit 1")


def nothing_works(vm):
    """A device on which all I/O fails."""
    device = Mapped(vm, "nothing", vm.disks[0])
    device.fail(0, device.sectors)
    return device


def mapped_members(vm, count=2):
    """Mapped devices over the VM's first disks, taken away when the test is over."""
    return [Mapped(vm, f"m{disk.index}", disk) for disk in vm.disks[:count]]


@contextlib.contextmanager
def delayed(members, milliseconds, *where):
    """Their writes to the bitmap's area, or to `where`, take that long."""
    for member in members:
        member.delay_writes(milliseconds, *where)
    yield
    for member in members:
        member.plain()


class Gate:
    """What held() gives."""

    def __init__(self, members, where):
        self.vm = members[0].vm
        self.names = [member.name for member in members]
        for member in members:
            member.delay_writes(HOLD, *where)
            member.prepare()
        self.closed = True

    def open(self):
        """What waits at the members goes on, and nothing is held any more. One command, as there
        may not be much time."""
        self.vm.run("\n".join(f"dmsetup resume --noflush {name} || exit" for name in self.names))
        self.closed = False


@contextlib.contextmanager
def held(members, *where):
    """with held(members) as gate: ...; gate.open()

    Their writes to the bitmap's area, or to `where`, do not get there before gate.open(): a window
    that stays open until everybody is seen to be in it, and that no slow machine can miss. Only a
    drain does not wait for ever: it gives up 5 s after it began.
    """
    gate = Gate(members, where)
    try:
        yield gate
    finally:
        if gate.closed:
            gate.open()


# -- small things -------------------------------------------------------------------------------------

def errno_of(vm, path, text):
    """The name of the error that writing text to a file gives, or None."""
    code = ("import errno, os, sys\n"
            "try: os.write(os.open(sys.argv[1], os.O_WRONLY), sys.argv[2].encode())\n"
            "except OSError as e: print(errno.errorcode[e.errno])\n")
    return vm.run(["python3", "-c", code, str(path), text]).stdout.strip() or None


def write(vm, array, first=0, sectors=8, pattern=0x5a):
    """One direct write of `sectors` sectors of a byte to sector `first`."""
    vm.run(f"head -c {sectors * 512} /dev/zero | tr '\\0' '\\{pattern:o}' | "
           f"dd of={array} bs={sectors * 512} seek={first * 512} oflag=direct,seek_bytes "
           f"iflag=fullblock count=1 conv=notrunc status=none")


class Content:
    """What must be on an array, whatever becomes of its members: random bytes in `mib` MiB from
    sector `first` on, and what write() puts anywhere. wrong() reads that through the array; where
    unequal() == [] as well, each copy has it, and is not only like the others.
    """

    def __init__(self, array, mib=0, first=0):
        self.array = array
        self.file = array.vm.out / "content"        # the guest's /mnt/out/content
        self.sectors = {}                           # what is known: sector -> its bytes
        if mib:
            data = random.Random(first).randbytes(mib << 20)
            self._know(first, data)
            self.file.write_bytes(data)
            array.vm.run(f"dd if=/mnt/out/content of={array} bs=1M seek={first * 512} "
                         "oflag=direct,seek_bytes iflag=fullblock conv=notrunc status=none")
            self.file.unlink()

    def _know(self, first, data):
        for at in range(0, len(data), 512):
            self.sectors[first + at // 512] = data[at:at + 512]

    def write(self, first, sectors=8, pattern=0x5a):
        write(self.array.vm, self.array, first, sectors, pattern)
        self._know(first, bytes([pattern]) * (512 * sectors))

    def forget(self, first, sectors=None):
        """They are discarded or, without a number, cut off."""
        self.sectors = {sector: data for sector, data in self.sectors.items()
                        if sector < first or sectors is not None and sector >= first + sectors}

    def wrong(self):
        """The sectors that are read otherwise."""
        known = sorted(self.sectors)
        begins = [sector for sector in known if sector - 1 not in self.sectors]
        ends = [sector + 1 for sector in known if sector + 1 not in self.sectors]
        reads = [f"dd if={self.array} bs=1M iflag=direct,skip_bytes,count_bytes status=none "
                 f"skip={begin * 512} count={(end - begin) * 512} || exit"
                 for begin, end in zip(begins, ends, strict=True)]
        self.array.vm.run("{\n" + "\n".join(reads) + "\n} > /mnt/out/content")
        found = self.file.read_bytes()
        self.file.unlink()
        assert known and len(found) == len(known) * 512
        return [sector for number, sector in enumerate(known)
                if found[number * 512:number * 512 + 512] != self.sectors[sector]]


def begin_write(vm, array, sector, pattern=0x41):
    """A writer in the background, of 4 KiB."""
    return vm.spawn(f"head -c 4096 /dev/zero | tr '\\0' '\\{pattern:o}' | "
                    f"dd of={array} bs=4096 seek={sector * 512} oflag=direct,seek_bytes "
                    f"iflag=fullblock count=1 conv=notrunc status=none", timeout=30)


def begin_flush(vm, trace, array):
    """A flush in the background; the daemon has begun its pass, and drains what it finds.

    That a drain comes to the end of its patience says nothing here, and is no error of it."""
    before = len(trace.recorded("daemon", op="begin"))
    process = vm.spawn(f'error=$({{ echo 1 > {array.sysfs}/llbitmap/flush; }} 2>&1) && exit; '
                       'echo "$error" >&2; case $error in *"timed out"*) exit 0; esac; exit 1')
    wait_until(vm, lambda: len(trace.recorded("daemon", op="begin")) > before)
    return process


SUBMIT = """
import ctypes, mmap, os, struct, sys
# io_submit() of several 4 KiB writes at once: below a plug, so that they go out together
path, first, count, start = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
fd = os.open(path, os.O_WRONLY | os.O_DIRECT)
data = mmap.mmap(-1, 4096)
data.write(b"B" * 4096)
where = ctypes.addressof(ctypes.c_char.from_buffer(data))
context = ctypes.c_ulong(0)
assert libc.syscall(206, 64, ctypes.byref(context)) == 0
blocks = [ctypes.create_string_buffer(struct.pack("<QIIHhIQQqQII", i, 0, 0, 1, 0, fd, where, 4096,
                                                  (first + 8 * i) * 512, 0, 0, 0), 64)
          for i in range(count)]
pointers = (ctypes.c_void_p * count)(*[ctypes.addressof(block) for block in blocks])
events = ctypes.create_string_buffer(32 * count)
print("ready", flush=True)
with open(start) as gate:
    gate.read()
assert libc.syscall(209, context, count, pointers) == count
assert libc.syscall(208, context, count, count, events, None) == count
for i in range(count):
    assert struct.unpack_from("<q", events, 32 * i + 16)[0] == 4096
"""


class ReadyWriter:
    """`count` writes of 4 KiB one after the other, handed over at once when it is told to go().

    The program runs already, with the array open, and waits at a FIFO: under emulation one takes
    seconds to start. An open reads from the array, which may have to wait as well.
    """

    def __init__(self, vm, array, sector, count=1):
        self.vm = vm
        self.count = count
        self.start = vm.run("f=$(mktemp -u) && mkfifo $f && echo $f").stdout.strip()
        self.process = vm.spawn(["python3", "-c", SUBMIT, array, sector, count, self.start],
                                timeout=30)
        wait_until(vm, lambda: self.process.output()[0] == "ready\n")

    def go(self):
        self.vm.run(f"echo > {self.start}; rm {self.start}")

    def arrived(self, trace):
        """Its writes that have got as far as the array; of block_bio_queue."""
        return [event for event in trace.recorded("block_bio_queue", dev="9,0")
                if event.task.startswith("python3") and "W" in event.rwbs]

    def go_and_arrive(self, trace):
        """go(), until all its writes have got as far as the array."""
        self.go()
        wait_until(self.vm, lambda: len(self.arrived(trace)) == self.count)

    def wait(self):
        return self.process.wait()


def outcome_is_stored(array):
    """Waits for md's thread, which stores what the first load decided; maybe after mdadm is done.

    For who looks at the disks of an array that nobody wrote to yet, or stops it: if the stop is
    faster, the next assembly is the first use again. md may have written its superblocks just
    before the load, and has no reason then to write them again before the first write: it is
    given one."""
    def stored():
        found = [image.bitmap().events for image in array.member_images()]
        # md's own superblock, which tells of as many events, comes last
        return all(found) and all(events <= image.events for events, image in
                                  zip(found, array.member_images(), strict=True))

    try:
        wait_until(array.vm, stored, timeout=2)
    except AssertionError:
        member = str(array.members[0]).rpartition("/")[2]
        array.set(f"dev-{member}/state", "-writemostly")    # it is not: only superblocks change
        array.set("sync_action", "idle")                    # wakes md's thread
        wait_until(array.vm, stored)


def reboot(vm, array):
    """After a power cut the array is not assembled, but will be taken away."""
    vm.boot()
    vm._arrays.append(array)


def keep_active(vm, array, sector=0):
    """Writes once, and from then on no bitmap page is written that the test did not ask for: md
    does not take the array for clean between writes, which would cost a superblock, and with it a
    page, and the daemon sleeps."""
    array.set("safe_mode_delay", 0)
    array.set("llbitmap/daemon_sleep", 3600)
    write(vm, array, sector)


def discard(vm, array, first, sectors):
    vm.run(f"blkdiscard -f -o {first * 512} -l {sectors * 512} {array}")


def states(array, first=0, count=None):
    """State bytes of chunks in memory, through the snapshot events."""
    with Trace(array.vm) as trace:
        array.set("llbitmap/snapshot", 1)
    found = {}
    for event in trace.events("snapshot"):
        found.update(dict.fromkeys(event.chunks(), event.state))
    chunks = array.metadata()["chunks"]
    assert sorted(found) == list(range(chunks))
    last = chunks if count is None else first + count
    return [found[chunk] for chunk in range(first, last)]


def on_disk(array):
    """The state bytes of each member, read from outside; the guest wrote them without cache."""
    return [image.bitmap().states() for image in array.member_images()]


def new_bitmap(image):
    """Writes the superblock of a new lockless bitmap to a member, as mdadm --create does."""
    with open(image.path, "r+b") as file:
        file.seek(AREA_BEGIN * 512)
        file.write(struct.pack("<II16sQQQIIIII", 0x6d746962, 6, image.array_uuid.bytes, 0, 0,
                               image.size, 1 << 3, 65536, 5, 0, AREA_SECTORS))


def hot_add(vm, array):
    """Gives a running array without bitmap a lockless one. mdadm --grow 4.6 takes the word and
    makes a classic one, so here the superblock of a new bitmap is written from outside."""
    for image in array.member_images():
        new_bitmap(image)
    for member in array.members:
        vm.run(["blockdev", "--flushbufs", member])
    array.set("bitmap_type", "llbitmap")
    # md is busy for a moment after each change
    wait_until(vm, lambda: errno_of(vm, f"{array.sysfs}/bitmap/location", "+8") != "EBUSY")
    assert "[llbitmap]" in array.get("bitmap_type")


def member_writes(vm, member):
    """Sectors written to a member since boot."""
    return int(vm.read(f"/sys/block/{str(member).rpartition('/')[2]}/stat").split()[6])


def superblock_is_first(trace, members, after):
    """Each of the members has it before any of them has data or parity."""
    queued = [event for event in trace.events("block_bio_queue")
              if "W" in event.rwbs and event.time > after]
    data = min(event.time for event in queued if event.sector >= AREA_BEGIN + AREA_SECTORS and
               event.dev in {member.number for member in members})
    return all(any(event.dev == member.number and event.sector == 8 and event.time < data
                   for event in queued) for member in members)


def is_in(vm, command, function):
    """Whether the only process of that name is in a function of the kernel, and waits there."""
    return f" {function}+" in vm.run(f"cat /proc/$(pgrep -x {command})/stack", check=False).stdout


def somebody_is_in(vm, function):
    """As is_in(), whoever it is, a worker of the kernel for example."""
    return f" {function}+" in vm.run("cat /proc/[0-9]*/stack", check=False).stdout


def wait_until_in(vm, command, function):
    wait_until(vm, lambda: is_in(vm, command, function))


def wait_until(vm, condition, timeout=30, what="it does not happen"):
    deadline = time.monotonic() + timeout * vm.scale
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)

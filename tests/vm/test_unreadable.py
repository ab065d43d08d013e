# SPDX-License-Identifier: GPL-2.0-or-later
"""A member is filled, and there is a block that nobody can read for it and no bad-block log takes.

md gives the recovery up, and takes the member away as soon as nobody uses the array. What the
superblock says of it until then is what a power cut makes of it.
"""
import pytest

from levels import PARITY, cases, width, wrong_sectors
from support import HOLD, Content, Mapped, Trace, is_in, mapped_members, nothing_works, reboot, wait_until
from test_bad_blocks import give_log, move_log
from vmtest import DiskOptions
from vmtest.geometry import Layout
from vmtest.member import Member
from vmtest.parity import ParityLayout

pytestmark = pytest.mark.vm(disks=4, disk=DiskOptions(size="128M"))

CHUNK = 128
HOLE = 16 * CHUNK + 40      # member sector; 8 sectors
FIRST, STOP = 8 * CHUNK, 32 * CHUNK     # where the recovery waits
LOOK = 24 * CHUNK           # half way from the middle on to STOP; that is where it looks how far it is
BUSY = 1098 * CHUNK         # data on each level; raid1 does not sync within 64 MiB of I/O


def array_sector(array, sector):
    """The array sector that member 0 has there."""
    image = array.member_images()[0]
    if image.level in PARITY:
        layout = ParityLayout.of_member(image)
        return next(at for at in range(0, array.size() // 512, CHUNK)
                    if layout.place(at) == (0, sector))
    layout = Layout.of_member(image)
    return next(at for at in range(0, layout.sectors, CHUNK) if (0, sector) in layout.copies(at))


class Recovery:
    """Of a new member 1, which has something else everywhere; on member 0 the hole is not read yet."""

    def __init__(self, vm, level, disks):
        self.vm = vm
        self.nothing = nothing_works(vm)
        self.hole = Mapped(vm, "hole", vm.disks[0])
        # raid10 would use the log of a member that mdadm adds, which lies outside the area
        spares = int(level == 10)
        self.members = mapped_members(vm, disks + spares)
        self.old, self.new = self.members[1], self.members[disks if spares else 1]
        self.array = vm.create_array(level=level, disks=disks, members=self.members, size=81920,
                                     spares=spares,
                                     **({} if level == 1 else {"chunk": CHUNK // 2}))
        self.logs = level in PARITY     # raid5 fails a member that cannot be read: known before
        self.lacking = [0, 2][:PARITY.get(level, 1)]
        if self.logs:
            give_log(vm, self.array)
        self.content = Content(self.array, mib=4 * width(level, disks))
        self.array.flush()
        self.data = self.array.member_images()[0].data_offset
        self.busy = array_sector(self.array, BUSY)
        self.begin()

    def begin(self):
        array, new = self.array, self.new
        array.set("sync_action", "frozen")
        array.fail(self.old)
        array.remove(self.old)
        if new is self.old:
            self.vm.run(f"mdadm --zero-superblock {new}")
        self.vm.run(f"head -c 16M /dev/zero | tr '\\0' '\\377' | dd of={new} bs=1M oflag=direct "
                    f"seek={self.data * 512} oflag=seek_bytes iflag=fullblock status=none")
        where = self.data + HOLE
        slow = self.members[0].slow_read(self.data + BUSY, 8)
        if self.logs:
            for role in self.lacking:
                array.set(f"dev-{self.members[role].device[5:]}/bad_blocks", f"{where} 8")
            self.members[0].load(slow)
        else:
            disk = f"{self.hole.disk} {where}"      # flushes get there
            self.hole.load((where, 8, "delay", f"{self.nothing} 0 {HOLD} {disk} 0 {disk} 0"))
            self.members[0].load(slow, (where, 8, "linear", f"{self.hole} {where}"))
        array.set("sync_speed_min", 1000000)
        array.set("sync_max", FIRST if self.logs else STOP)
        if new is self.old:
            array.add(new)
        array.set("sync_action", "idle")        # ends frozen

    def read(self):
        """A user of the array who is not served yet; the array's members stay as long."""
        with Trace(self.vm, "block/block_bio_queue") as trace:
            self.vm.spawn(f"dd if={self.array} of=/dev/null bs=4096 count=1 skip={self.busy * 512} "
                          "iflag=direct,skip_bytes", timeout=600)
            wait_until(self.vm, lambda: trace.recorded("block_bio_queue", dev=self.members[0].number,
                                                       sector=self.data + BUSY) or
                       is_in(self.vm, "dd", "wait_barrier"))

    def pass_by(self, trace):
        """The recovery has asked for the hole, and for all up to where it looks how far it is: it asks
        for no more, for which raid10 would wait until nobody else reads."""
        def asked(member, sector):
            return trace.recorded("block_bio_queue", dev=member.number, sector=self.data + sector)

        wait_until(self.vm, lambda: asked(self.hole, HOLE) and
                   asked(self.members[0], LOOK - CHUNK))

    def fail(self):
        """The hole is read, in vain; the power goes before the member is taken away."""
        self.hole.load(self.hole.bad_range(self.data + HOLE, 8))
        self.cut()

    def cut(self):
        wait_until(self.vm, lambda: self.vm.run("grep -ls mddev_suspend /proc/[0-9]*/stack",
                                                check=False).stdout)
        self.vm.power_cut()
        assert 0 < Member(self.new.path).recovery_offset < STOP

    def goes_on(self):
        """With a member that can be read again, and the new one must have it all."""
        array, disks = self.array, self.vm.disks[:len(self.members)]
        gone = [] if self.new is self.old else [disks[1]]
        reboot(self.vm, array)
        array.members = [disk for disk in disks if disk not in gone]
        if self.logs:
            move_log(self.vm, array, images=[Member(disks[role].path) for role in self.lacking])
        array.bring_up()
        wait_until(self.vm, lambda: array.degraded() == 0)
        array.flush()
        assert wrong_sectors(array) == []
        assert self.content.wrong() == []
        array.members += gone


def fail_behind_its_back(vm, level, disks, faster=False):
    with Trace(vm, "block/block_bio_queue") as trace:
        recovery = Recovery(vm, level, disks)
        recovery.pass_by(trace)
    if faster:
        vm.run("chrt -f -p 99 $(pgrep -x md0_resync)")
    recovery.read()
    recovery.fail()
    recovery.goes_on()


@cases("level, disks", (1, 2), long=[(10, 2)])
def test_recovery_that_fails(vm, level, disks):
    """It goes on before the hole, not behind it."""
    fail_behind_its_back(vm, level, disks)


@pytest.mark.long
@pytest.mark.vm(disks=4, disk=DiskOptions(size="128M"), cpus=1, cmdline="preempt=full")
def test_recovery_that_is_over_at_once(vm):
    """Its thread has the CPU as soon as it sees that nothing is on its way any more: it has to see
    that something failed."""
    fail_behind_its_back(vm, 1, 2, faster=True)


@cases("level, disks", long=[(5, 3), (6, 4)])
def test_recovery_that_fails_for_a_known_bad_block(vm, level, disks):
    """raid5 does not even ask for it."""
    recovery = Recovery(vm, level, disks)
    wait_until(vm, lambda: recovery.array.get("sync_completed").startswith(f"{FIRST} "))
    recovery.read()
    recovery.array.set("sync_max", STOP)
    recovery.cut()
    recovery.goes_on()

# SPDX-License-Identifier: GPL-2.0-or-later
"""The harness itself: commands, disks, power cuts, arrays without a lockless bitmap."""
import os
import signal
import time

import pytest

from support import Content
from vmtest import CommandFailed, CommandTimeout, DiskOptions

pytestmark = pytest.mark.vm(disks=4, disk=DiskOptions(size="64M"))


def test_status_and_streams(vm):
    result = vm.run("echo out; echo err >&2; exit 3", check=False)
    assert (result.rc, result.stdout, result.stderr) == (3, "out\n", "err\n")
    with pytest.raises(CommandFailed, match="rc=3"):
        vm.run("exit 3")


def test_stdin_and_arguments_are_passed_unchanged(vm):
    assert vm.run(["cat"], stdin="two\nlines").stdout == "two\nlines"
    assert vm.run(["printf", "%s|", "a b", "$HOME", "'"]).stdout == "a b|$HOME|'|"


def test_emulated_without_barriers_on_one_cpu(vm):
    """All threads of QEMU: where two run at once, an interrupt of a disk is lost now and then."""
    with open(f"/proc/{vm.pid}/cmdline", "rb") as file:
        single = b"tcg,thread=single" in file.read().split(b"\0")      # of two CPUs
    cpus = [os.sched_getaffinity(int(thread)) for thread in os.listdir(f"/proc/{vm.pid}/task")]
    assert not single or (len(cpus[0]) == 1 and all(each == cpus[0] for each in cpus))


def test_missing_program(vm):
    assert vm.run(["no-such-program"], check=False).rc == 127


def test_commands_in_parallel(vm):
    slow = vm.spawn("echo begun; sleep 300")
    assert vm.run("echo quick").stdout == "quick\n"
    while slow.output()[0] != "begun\n":
        time.sleep(0.1)
    slow.signal(signal.SIGTERM)
    assert slow.wait(check=False).rc == -signal.SIGTERM


def test_command_timeout_kills_the_command_only(vm):
    with pytest.raises(CommandTimeout, match="sleep") as caught:
        vm.run("echo before; sleep 5000", timeout=1)
    assert caught.value.result.stdout == "before\n"
    assert vm.run("pgrep -x sleep", check=False).rc == 1
    assert vm.healthy


def test_files(vm):
    vm.write("/root/file", "two\nlines\n")
    assert vm.read("/root/file") == "two\nlines"
    assert vm.exists("/root/file") and not vm.exists("/root/absent")
    with pytest.raises(CommandFailed, match="/root/absent: No such file"):
        vm.read("/root/absent")
    refused = vm.write("/proc/version", "x", check=False)
    assert not refused and "/proc/version: " in refused.stderr


def test_file_that_never_answers(boot_vm):
    """Nothing can be done for it, so the VM is not used again."""
    vm = boot_vm(disks=0, cpus=1)
    vm.run("mkfifo /root/fifo")
    with pytest.raises(CommandTimeout, match="fifo_open"):
        vm._file("read", "/root/fifo", timeout=0.5)
    assert vm.run("echo works").stdout == "works\n"
    assert not vm.healthy


def test_the_guest_is_complete(vm):
    for path in ("/sys/kernel/tracing/events", "/sys/kernel/debug/block", "/mnt/tests/vm"):
        assert vm.exists(path), path
    vm.run("grep -q ' /sys/fs/bpf bpf ' /proc/mounts && : > /mnt/out/file && cat <(echo x)")
    assert (vm.out / "file").exists()


def test_modprobe(vm):
    """Stock modules for fault injection and ramdisks can be loaded."""
    vm.run("modprobe brd rd_nr=1 rd_size=8192 && modprobe dm-delay && modprobe null_blk nr_devices=0")
    assert vm.exists("/dev/ram0")
    vm.run("rmmod brd")


@pytest.mark.expect_kernel("WARNING: made up by a test")
def test_expected_warning(vm):
    vm.say("WARNING: made up by a test")


@pytest.mark.parametrize("bitmap", ["none", "internal"])
@pytest.mark.parametrize("level", [1, 10])
def test_array_without_llbitmap(vm, level, bitmap):
    """Create, write, read back, fail, re-add; the members are equal when looked at from outside."""
    array = vm.create_array(level=level, disks=4, bitmap=bitmap)
    vm.run(f"dd if=/dev/urandom of={array} bs=1M count=8 oflag=direct status=none")
    assert array.unequal() == []
    array.fail("/dev/vdb")
    array.remove("/dev/vdb")
    vm.run(f"dd if=/dev/urandom of={array} bs=1M count=4 seek=2 oflag=direct status=none")
    assert array.degraded() == 1
    array.add("/dev/vdb")
    array.wait_sync()
    assert array.degraded() == 0
    assert array.unequal() == []


def test_each_test_gets_empty_disks(vm):
    """Runs after arrays were used."""
    for disk in vm.disks:
        assert disk.read(0, 2048).count(0) == 2048 * 512
    assert vm.run("ls /dev/md*", check=False).rc != 0


def test_disks_of_a_destroyed_array_are_free(vm):
    for level in (10, 1):
        vm.create_array(level=level, disks=4, bitmap="none").destroy()
        assert vm.free_disks() == list(vm.disks)


def test_unequal_finds_a_difference(vm):
    array = vm.create_array(level=10, disks=4, bitmap="none")
    vm.run(f"dd if=/dev/urandom of={array} bs=1M count=4 oflag=direct status=none")
    array.stop()
    images = array.member_images()
    layout = array.layout()
    role, sector = layout.copies(3000)[1]
    with open(images[role].path, "r+b") as file:
        file.seek((images[role].data_offset + sector) * 512)
        file.write(b"x" * 512)
    assert layout.unequal(images) == [(3000, 3000)]
    vm.run("for d in /dev/vd?; do blockdev --flushbufs $d; done")


def test_content_finds_copies_that_are_alike_and_wrong(vm):
    array = vm.create_array(level=10, disks=4, bitmap="none")
    content = Content(array, mib=2)
    content.write(5000)
    content.write(100, pattern=0x77)
    content.write(8000)
    content.forget(8004)
    assert array.unequal() == [] and content.wrong() == []
    array.stop()
    images = array.member_images()
    for sector, data in ((100, b"\x5a"), (3000, b"\0"), (5007, b"\x51"), (8003, b"\0"), (8004, b"\0")):
        for role, at in array.layout().copies(sector):
            with open(images[role].path, "r+b") as file:
                file.seek((images[role].data_offset + at) * 512)
                file.write(data * 512)
    vm.run("for d in /dev/vd?; do blockdev --flushbufs $d; done")
    array.assemble()
    assert array.unequal() == []
    assert content.wrong() == [100, 3000, 5007, 8003]


@pytest.mark.vm(each_disk=(DiskOptions(logical=4096), DiskOptions(discard=False),
                           DiskOptions(physical=4096, size="96M", write_cache=False)))
def test_kinds_of_disks_and_power_cut(vm):
    def queue(disk, attribute):
        return vm.read(f"/sys/block/{disk.device[5:]}/queue/{attribute}")

    first, second, third = vm.disks
    assert queue(first, "logical_block_size") == "4096"
    assert queue(second, "logical_block_size") == "512"
    assert queue(third, "physical_block_size") == "4096"
    assert int(queue(first, "discard_max_bytes")) > 0
    assert queue(second, "discard_max_bytes") == "0"
    assert queue(second, "write_cache") == "write back"
    assert queue(third, "write_cache") == "write through"
    assert vm.run(["blockdev", "--getsize64", third]).stdout == f"{96 << 20}\n"

    vm.run(f"echo flushed | dd of={second} conv=fsync,sync status=none")
    writer = vm.spawn(f"exec 3> {third}; echo cached >&3; echo done; sleep 600")  # never closed
    while not writer.output()[0]:
        time.sleep(0.1)
    vm.power_cut()
    assert second.read(0, 1).startswith(b"flushed\n")
    assert not third.read(0, 1).startswith(b"cached\n")
    copy = second.snapshot(vm.directory / "copy.img")
    vm.boot()
    assert vm.run(["head", "-c", "8", second]).stdout == "flushed\n"
    vm.run(f"blkdiscard -f {first}; blkdiscard -z {second}")
    assert second.read(0, 1) == bytes(512)
    assert copy.read_bytes().startswith(b"flushed\n")
    copy.unlink()

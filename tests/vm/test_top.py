# SPDX-License-Identifier: GPL-2.0-or-later
"""llbitmapctl top as a user sees it: on a terminal, with real arrays behind it."""
import re
import signal

import pytest

pytest.importorskip("pyte")

# pylint: disable=wrong-import-position
from levels import cases
from support import wait_until, write
from terminal import Terminal
from vmtest import DiskOptions

pytestmark = pytest.mark.vm(disks=6, cpus=1, disk=DiskOptions(size="128M"))

FOOT = "q end  p pause  s sort  m map  up/down pick  +/- every 1 s  h help"


def rows(lines):
    """{array: its columns} of the list on the screen."""
    found = {}
    for line in lines[2:]:
        match = re.match(r"^[ >](md\w+) +(\S.*)$", line)
        if not match:
            break
        found[match[1]] = match[2].split()
    return found


def picked(lines):
    return [line[1:].split()[0] for line in lines if line.startswith(">md")]


def cells(lines):
    """The chunk map."""
    start = next(n for n, line in enumerate(lines) if line.startswith("chunks, "))
    return "".join(lines[start + 1:-1])


@pytest.fixture
def arrays(vm):
    """md0 a RAID10, md1 a RAID1; what is Dirty stays so."""
    made = [vm.create_array(level=10, disks=4, size=65536),
            vm.create_array(level=1, disks=2, size=65536, assume_clean=False)]
    for array in made:
        array.set("llbitmap/daemon_sleep", 3600)
    return made


def fio(array, more=""):
    return (f"fio --name=w --filename={array} --rw=randwrite --bs=4k --size=100M --direct=1 "
            f"--time_based --runtime=600 --rate_iops=200 --output=/dev/null {more}")


@pytest.mark.long
def test_main_parts(vm, arrays):
    """Head, list, details, map and keys; the figures are those of sysfs."""
    arrays[1].wait_sync()
    with Terminal(vm, "llbitmapctl top") as screen:
        lines = screen.wait("md1")
        assert re.match(r"llbitmapctl top  \d\d:\d\d:\d\d  2 arrays by name +lost 0$", lines[0])
        assert len(lines[0]) == 80
        assert lines[1].split() == ["ARRAY", "LEVEL", "UNWRIT", "CLEAN", "DIRTY", "NEEDS", "SYNC",
                                    "CHUNK/s", "WRIT/s", "WAIT/s"]
        assert lines[-1] == FOOT
        assert rows(lines)["md0"][:6] == ["raid10", "0", "2048", "0", "0", "0"]
        assert rows(lines)["md1"][:6] == ["raid1", "1024", "0", "0", "0", "0"]
        assert picked(lines) == ["md0"]
        # columns stand under their heads
        assert lines[2].index("2048") + 4 == lines[1].index("CLEAN") + 5
        assert any("4 members, 0 missing; 2048 chunks of 64 KiB" in line for line in lines)
        lines = screen.wait(lambda lines: "=" in cells(lines))
        assert set(cells(lines)) == {"="}
        per = int(re.search(r"chunks, (\d+) a cell", "\n".join(lines))[1])
        assert len(cells(lines)) == -(-2048 // per)

        # written to: seen in the figures and in the map, where it was written
        write(vm, arrays[0], 0)
        write(vm, arrays[0], arrays[0].size() // 512 - 8)
        lines = screen.wait(lambda lines: rows(lines)["md0"][3] == "2")
        assert cells(lines)[0] == cells(lines)[-1] == "#" and set(cells(lines)[1:-1]) == {"="}
        load = vm.spawn(fio(arrays[0]))
        lines = screen.wait(lambda lines: re.search(r"chunks/s +Startwrite [1-9]", "\n".join(lines)))
        load.signal(9)
        load.wait(check=False)

        # a member is gone
        arrays[0].fail(vm.disks[3])
        screen.wait("4 members, 1 missing")
        # sync under way
        arrays[1].set("sync_speed_max", 100)
        arrays[1].set("sync_speed_min", 100)
        vm.run(f"dd if=/dev/zero of={arrays[1]} bs=1M count=40 oflag=direct status=none")
        arrays[1].set("llbitmap/mark", "0-639")
        screen.keys("\x1bOB")                           # down
        lines = screen.wait(lambda lines: picked(lines) == ["md1"])
        screen.wait(lambda lines: re.search(r"sync +resync \[[= ]{30}\] \d+\.\d %, \d+ KiB/s",
                                            "\n".join(lines)))
        screen.wait(lambda lines: "!" in cells(lines) and "." in cells(lines))
        for name in ("min", "max"):
            arrays[1].set(f"sync_speed_{name}", "system")
        screen.keys("q")
        assert screen.end() == 0


def test_keys(vm, arrays):
    arrays[1].wait_sync()
    with Terminal(vm, "llbitmapctl top -i 0.5") as screen:
        screen.wait("every 0.5 s")
        for key, name in (("s", "transitions"), ("s", "dirty"), ("s", "writes"), ("s", "name")):
            screen.keys(key)
            screen.wait(f"2 arrays by {name}")
        write(vm, arrays[1], 0)
        screen.wait(lambda lines: rows(lines)["md1"][3] == "1")
        screen.keys("ss")
        lines = screen.wait("by dirty")
        screen.wait(lambda lines: list(rows(lines)) == ["md1", "md0"])
        # the pick stays with its array
        assert picked(screen.look()) == ["md0"]
        screen.keys("k")
        screen.wait(lambda lines: picked(lines) == ["md1"])
        screen.keys("kkkj")
        screen.wait(lambda lines: picked(lines) == ["md0"])

        screen.keys("m")
        screen.wait(lambda lines: not any("a cell" in line for line in lines))
        screen.keys("m")
        screen.wait("a cell")
        screen.keys("h")
        lines = screen.wait("pause, go on")
        assert "ARRAY" in lines[1] and rows(lines) == {}
        screen.keys("h")
        screen.wait(lambda lines: "md0" in rows(lines))

        # nothing moves while it pauses, and what came meanwhile is shown at once afterwards
        screen.keys("p")
        screen.wait("llbitmapctl top  PAUSED    2 arrays by dirty")
        write(vm, arrays[0], 0, 1024)
        vm.run("sleep 2")
        assert rows(screen.look())["md0"][3] == "0"
        # but the order, for that is asked for
        screen.keys("ss")
        screen.wait(lambda lines: "PAUSED    2 arrays by name" in lines[0] and
                    list(rows(lines)) == ["md0", "md1"])
        screen.keys("ss")
        screen.wait(lambda lines: "PAUSED    2 arrays by dirty" in lines[0] and
                    list(rows(lines)) == ["md1", "md0"])
        screen.keys(" ")
        screen.wait(lambda lines: rows(lines)["md0"][3] == "8")
        assert "PAUSED" not in screen.look()[0]

        screen.keys("++")
        screen.wait("every 2 s")
        screen.keys("-" * 9)
        screen.wait("every 0.25 s")
        screen.keys("+" * 9)
        screen.wait("every 64 s")
        screen.keys("-" * 9)                            # and one does not wait for the 64 seconds
        write(vm, arrays[0], 2048, 1024)
        screen.wait(lambda lines: rows(lines)["md0"][3] == "16", timeout=8)
        screen.keys("xyz\x1bOP")                        # nothing to it
        screen.wait("by dirty")
        screen.keys("q")
        assert screen.end() == 0
        # the terminal is as before
        assert b"\x1b[?1049l" in screen.raw or b"\x1b[?47l" in screen.raw


@cases("size", (24, 80), (3, 12), long=[(10, 40), (50, 132), (24, 60)])
def test_sizes(vm, arrays, size):
    """What fits is there, nothing runs over, at the start and after a resize."""
    start = (50, 132) if size == (24, 80) else size
    with Terminal(vm, "llbitmapctl top", *start) as screen:
        screen.wait("lost 0")
        screen.resize(*size)
        lines = screen.wait(lambda lines: len(lines) == size[0] and
                            lines[0].endswith("lost 0") and lines[-1].startswith("q end"))
        assert len(lines[0]) == size[1], "the loss stands at the end"
        assert lines[-1] == FOOT[:size[1]].rstrip()
        if size[0] > 3:
            assert rows(lines)["md0"] and rows(lines)["md1"]
        if size[0] >= 24:
            assert set(cells(screen.wait("a cell"))) <= set("=.?")
        screen.resize(24, 80)
        screen.wait(lambda lines: lines[-1] == FOOT and "md1" in rows(lines) and
                    any("a cell" in line for line in lines))
        screen.signal(signal.SIGTERM)
        assert screen.end() == 0


def test_arrays_come_and_go(vm, arrays):
    with Terminal(vm, "llbitmapctl top") as screen:
        screen.wait("2 arrays")
        arrays[0].stop()
        lines = screen.wait(lambda lines: rows(lines).get("md0") == ["stopped"])
        assert "md0: stopped" in "\n".join(lines)
        assert rows(lines)["md1"][0] == "raid1"
        arrays[0].assemble()
        screen.wait(lambda lines: rows(lines)["md0"][:3] == ["raid10", "0", "2048"])
        # all go, and one that was not there before comes
        for array in arrays:
            array.stop()
        screen.wait(lambda lines: list(rows(lines).values()) == [["stopped"]] * 2)
        arrays[0].name, arrays[0].device, arrays[0].sysfs = "md44", "/dev/md44", "/sys/block/md44/md"
        arrays[0].assemble()
        screen.wait(lambda lines: rows(lines).get("md44", [""])[0] == "raid10")
        screen.keys("jjj")
        screen.wait("md44: ")
        screen.keys("q")
        assert screen.end() == 0


def test_many_arrays(vm):
    """The list scrolls with the pick; more than are watched unless asked for."""
    vm.run("modprobe brd rd_nr=17 rd_size=4096")
    names = [f"md{number}" for number in range(100, 117)]
    try:
        for number, name in enumerate(names):
            vm.run(f"mdadm --create /dev/{name} --run --metadata=1.2 --level=1 --raid-devices=1 "
                   f"--force --bitmap=lockless --assume-clean /dev/ram{number}")
        with Terminal(vm, "llbitmapctl top --arrays 17") as screen:
            lines = screen.wait("17 arrays by name")
            assert picked(lines) == ["md100"]
            screen.keys("j" * 16)
            lines = screen.wait(lambda lines: picked(lines) == ["md116"])
            assert "md100" not in rows(lines)
            screen.keys("k" * 16)
            screen.wait(lambda lines: picked(lines) == ["md100"])
            screen.keys("sp")
            lines = screen.wait("PAUSED")
            assert re.match(r"llbitmapctl top  PAUSED    17 arrays by transitions +lost 0$", lines[0])
            screen.keys("q")
            assert screen.end() == 0
        for command in ("trace -d 0.1", "hist -d 0.1", "audit -d 0.1", "top -b -n 1 -i 0.1",
                        "record -o /root/many -d 0.1"):
            result = vm.run(f"llbitmapctl {command}", check=False)
            assert result.rc == 3, result
            assert ("md116 is not watched: no slot left; give --arrays a larger number (up to 128)"
                    in result.stderr), result
            said = {"top": "lost 0, 1 not watched\n", "hist": "not watched: 1 loads\n",
                    "audit": "audit of the running kernel\n"}.get(command.split()[0], "")
            assert said in result.stdout, result
            result = vm.run(f"llbitmapctl {command} --arrays 17", check=False)
            assert (result.rc, "not watched" in result.stderr) == (0, False), result
    finally:
        vm.run("mdadm --stop --scan; rmmod brd", check=False)


def test_no_array_yet(vm):
    with Terminal(vm, "llbitmapctl top") as screen:
        screen.wait("no array with a lockless bitmap runs; waiting for one")
        array = vm.create_array(level=1, disks=2, size=65536)
        screen.wait(lambda lines: list(rows(lines)) == [array.name])
        screen.keys("q")
        assert screen.end() == 0


@pytest.mark.parametrize("env, arguments, coloured", [
    ("", "", True), ("NO_COLOR=1", "", False), ("NO_COLOR=", "", True), ("", "--no-colour", False)])
def test_colours(vm, arrays, env, arguments, coloured):
    """Without them it is as readable: what is bad is bold."""
    arrays[0].fail(vm.disks[3])
    with Terminal(vm, f"llbitmapctl top {arguments}", env=env) as screen:
        lines = screen.wait(lambda lines: "1 missing" in "\n".join(lines) and "=" in cells(lines))
        assert (screen.colours() - {"default"} != set()) == coloured
        row = next(n for n, line in enumerate(lines) if line.startswith(">md0"))
        assert screen.screen.buffer[row][2].bold
        screen.keys("q")
        assert screen.end() == 0


def test_samples_without_colour(vm, arrays):
    """On a terminal, too."""
    for more, coloured in (("", True), ("--no-colour", False)):
        with Terminal(vm, f"llbitmapctl top --batch -n 1 -i 0.1 {more}") as screen:
            assert screen.end() == 0
            assert (b"\x1b[1m" in screen.raw) == coloured


@cases("term", "xterm-256color", "vt100", long=["linux", "tmux-256color"])
def test_terminals(vm, arrays, term):
    """Starts, and ends as it should, on what people have."""
    with Terminal(vm, "llbitmapctl top", term=term) as screen:
        wait_until(vm, lambda: screen.look() and b"md1" in screen.raw)
        screen.keys("q")
        assert screen.end() == 0


@pytest.mark.parametrize("term", ["dumb", "", "no-such-terminal"])
def test_no_terminal_to_speak_of(vm, arrays, term):
    """One line that says what to do, and nothing written all over the place."""
    with Terminal(vm, "llbitmapctl top", term=term) as screen:
        assert screen.end() == 2
        text = screen.raw.decode().strip()
        assert text == f"llbitmapctl: no terminal for a screen (TERM={term}); use --batch"

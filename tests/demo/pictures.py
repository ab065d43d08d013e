# SPDX-License-Identifier: GPL-2.0-or-later
"""`make pictures`: the terminal pictures of README, taken in a VM.

The tool runs on a real terminal, 80 columns wide, in the guest; what it wrote there is shown to a
terminal emulator here, and its screen becomes an SVG.
"""
import itertools
import pathlib

import pyte
from rich.console import Console
from rich.style import Style
from rich.text import Text

from vmtest import planted
from vmtest.disks import DiskOptions
from vmtest.environment import VM_DIR, Environment, build_dir
from vmtest.machine import VM, VMOptions

COLUMNS = 80
PICTURES = pathlib.Path("tools/llbitmapctl/pictures")
BUG = VM_DIR / "bugs" / "clean-while-degraded.patch"
LOAD = ("fio --filename=/dev/md0 --ioengine=libaio --direct=1 --iodepth=8 --bs=64k --time_based "
        "--runtime=25 --output=/dev/null --name=write --rw=randwrite --size=200M --rate_iops=60 "
        "--name=trim --rw=randtrim --offset=200M --size=100M --rate_iops=30")
# runs a command on a terminal of its own, for some seconds, and keeps what it writes
ON_A_TERMINAL = """
import fcntl, os, pty, select, struct, sys, termios, time
name, seconds, rows, columns, *command = sys.argv[1:]
pid, fd = pty.fork()
if pid == 0:
    os.environ["TERM"] = "screen-256color"
    fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", int(rows), int(columns), 0, 0))
    os.execvp(command[0], command)
screen = name.endswith("top")     # what it shows when it ends does not count
end = time.time() + float(seconds)
with open(name, "wb") as out:
    while True:
        if time.time() >= end:
            os.kill(pid, 2)
            if screen:
                break
            end = float("inf")
        if select.select([fd], [], [], 0.2)[0]:
            try:
                out.write(os.read(fd, 65536))
            except OSError:
                break
os.waitpid(pid, 0)
"""


def picture(typescript, rows, path, title):
    screen = pyte.Screen(COLUMNS, rows)
    stream = pyte.ByteStream(screen)
    stream.feed(typescript)
    console = Console(record=True, width=COLUMNS, file=open("/dev/null", "w", encoding="utf-8"))
    last = max((y for y in range(rows) if screen.display[y].strip()), default=0)
    for y in range(last + 1):
        text = Text()
        cells = [screen.buffer[y][x] for x in range(COLUMNS)]
        while cells and is_blank(cells[-1]):
            cells.pop()
        for style, run in itertools.groupby(cells, key=style_of):
            text.append("".join(cell.data for cell in run), style)
        console.print(text)
    path.parent.mkdir(parents=True, exist_ok=True)
    svg = console.export_svg(title=title)
    # no fonts from elsewhere: the viewer's own monospace font will do
    while "@font-face" in svg:
        start = svg.index("@font-face")
        svg = svg[:start] + svg[svg.index("}", start) + 1:]
    path.write_text("\n".join(line.rstrip() for line in svg.splitlines()) + "\n", encoding="utf-8")
    print(path)


def is_blank(cell):
    """Nothing is seen of it: the blanks of a bar are."""
    return cell.data == " " and not cell.reverse and cell.bg == "default"


def style_of(cell):
    return Style(bold=cell.bold, reverse=cell.reverse, color=named(cell.fg),
                 bgcolor=named(cell.bg))


def named(colour):
    """pyte's names of colours as rich has them."""
    names = {"default": None, "brown": "yellow"}
    return names.get(colour, colour if colour.isalpha() else f"#{colour}")


def take(vm, name, command, seconds, rows):
    vm.run(["python3", "-c", ON_A_TERMINAL, f"/mnt/out/{name}", seconds, rows, COLUMNS,
            *command.split()], timeout=seconds + 30)
    return (vm.out / name).read_bytes()


def start(modules=""):
    directory = build_dir() / "pictures"
    directory.mkdir(parents=True, exist_ok=True)
    vm = VM(Environment(), directory,
            VMOptions(disks=4, disk=DiskOptions(size="256M"), memory="1G", modules=modules))
    return vm.boot()


def top(vm, rows):
    """Writes and discards while a new member is filled."""
    array = vm.create_array(level=10, disks=4)
    array.set("llbitmap/daemon_sleep", 1)
    array.set("llbitmap/barrier_idle", 1)
    # half of it was written before
    vm.run("dd if=/dev/zero of=/dev/md0 bs=1M count=300 oflag=direct status=none")
    array.flush()
    for limit in ("min", "max"):
        array.set(f"sync_speed_{limit}", 4000)
    last = vm.disks[3]
    array.fail(last)
    array.remove(last)
    vm.run(["mdadm", "--zero-superblock", str(last)])
    load = vm.spawn(LOAD)
    array.add(last)
    shot = take(vm, "top", "llbitmapctl top", 12, rows)
    load.wait()
    return shot


def violation(vm, rows):
    """A kernel that cleans while a member is missing."""
    array = vm.create_array(level=1, disks=2)
    array.set("llbitmap/barrier_idle", "0")
    trouble = vm.spawn(f"sleep 3; dd if=/dev/zero of={array} bs=64k count=3 oflag=direct; "
                       f"mdadm {array} --fail {vm.disks[1]}; sleep 1; "
                       f"echo 1 > {array.sysfs}/llbitmap/flush")
    shot = take(vm, "violation", "llbitmapctl audit", 20, rows)
    trouble.wait()
    return shot


def main():
    for name, shoot, rows, modules in (
            ("top", top, 24, ""),
            ("audit", violation, 40, planted.bug(BUG))):
        vm = start(modules)
        try:
            picture(shoot(vm, rows), rows, PICTURES / f"{shoot.__name__}.svg", f"llbitmapctl {name}")
        finally:
            vm.stop()


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: GPL-2.0-or-later
"""`make pictures`: the terminal pictures of README, taken in a VM.

The tool runs on a real terminal of 80x24 in the guest; what it wrote there is shown to a terminal
emulator here, and its screen becomes an SVG.
"""
import itertools
import pathlib
import sys

import pyte
from rich.console import Console
from rich.style import Style
from rich.text import Text

from vmtest.disks import DiskOptions
from vmtest.environment import Environment, build_dir
from vmtest.machine import VM, VMOptions

COLUMNS, ROWS = 80, 24
PICTURES = pathlib.Path("tools/llbitmapctl/pictures")
LOAD = ("fio --name=load --filename=/dev/md0 --ioengine=libaio --direct=1 --iodepth=16 --bs=16k "
        "--rw=randwrite --time_based --runtime=15 --output=/dev/null")
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


def picture(typescript, path, title):
    screen = pyte.Screen(COLUMNS, ROWS)
    stream = pyte.ByteStream(screen)
    stream.feed(typescript)
    console = Console(record=True, width=COLUMNS, file=open("/dev/null", "w", encoding="utf-8"))
    last = max((y for y in range(ROWS) if screen.display[y].strip()), default=0)
    for y in range(last + 1):
        text = Text()
        cells = [screen.buffer[y][x] for x in range(COLUMNS)]
        for style, run in itertools.groupby(cells, key=style_of):
            text.append("".join(cell.data for cell in run), style)
        text.rstrip()
        console.print(text)
    path.parent.mkdir(parents=True, exist_ok=True)
    svg = console.export_svg(title=title)
    # no fonts from elsewhere: the viewer's own monospace font will do
    while "@font-face" in svg:
        start = svg.index("@font-face")
        svg = svg[:start] + svg[svg.index("}", start) + 1:]
    path.write_text("\n".join(line.rstrip() for line in svg.splitlines()) + "\n", encoding="utf-8")
    print(path)


def style_of(cell):
    return Style(bold=cell.bold, reverse=cell.reverse, color=named(cell.fg),
                 bgcolor=named(cell.bg))


def named(colour):
    """pyte's names of colours as rich has them."""
    names = {"default": None, "brown": "yellow"}
    return names.get(colour, colour if colour.isalpha() else f"#{colour}")


def take(vm, name, command, seconds):
    vm.run(["python3", "-c", ON_A_TERMINAL, f"/mnt/out/{name}", seconds, ROWS, COLUMNS,
            *command.split()], timeout=seconds + 30)
    return (vm.out / name).read_bytes()


def start(modules=""):
    directory = build_dir() / "pictures"
    directory.mkdir(parents=True, exist_ok=True)
    vm = VM(Environment(), directory,
            VMOptions(disks=4, disk=DiskOptions(size="256M"), memory="1G", modules=modules))
    return vm.boot()


def top(vm):
    vm.create_array(level=10, disks=4, assume_clean=False)
    vm.write("/sys/block/md0/md/llbitmap/daemon_sleep", "1")
    load = vm.spawn(LOAD)
    shot = take(vm, "top", "llbitmapctl top", 12)
    load.wait()
    return shot


def violation(vm):
    """A kernel that cleans while a member is missing."""
    array = vm.create_array(level=1, disks=2)
    array.set("llbitmap/barrier_idle", "0")
    trouble = vm.spawn(f"sleep 3; dd if=/dev/zero of={array} bs=64k count=3 oflag=direct; "
                       f"mdadm {array} --fail {vm.disks[1]}; sleep 1; "
                       f"echo 1 > {array.sysfs}/llbitmap/flush")
    shot = take(vm, "violation", "llbitmapctl audit", 20)
    trouble.wait()
    return shot


def main():
    for name, shoot, title, modules in (
            ("top", top, "llbitmapctl top", ""),
            ("violation", violation, "llbitmapctl audit", sys.argv[1])):
        vm = start(modules)
        try:
            picture(shoot(vm), PICTURES / f"{name}.svg", title)
        finally:
            vm.stop()


if __name__ == "__main__":
    main()

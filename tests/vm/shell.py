# SPDX-License-Identifier: GPL-2.0-or-later
"""`make vm`: a shell in a VM, with our modules, the tool in PATH and empty disks."""
import argparse
import os
import pathlib
import sys
import tempfile

from vmtest.disks import Disk, DiskOptions
from vmtest.environment import Environment, build_dir
from vmtest.errors import HarnessError
from vmtest.machine import VMOptions, shares
from vmtest.qemu import Qemu

HINT = """\
VM with {kernel}, {accelerator}; {disks} disks of {size}: {first} to {last}.
  an array:   mdadm --create /dev/md0 --level=10 --raid-devices=4 --bitmap=lockless \\
                  --assume-clean {some}
  to see it:  llbitmapctl status; cat /sys/block/md0/md/llbitmap/bits
  files:      /mnt/out here is {out} there
  to quit:    exit (or Ctrl-a x, at once)
"""


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--disks", type=int, default=6, help="number of disks (default: 6)")
    parser.add_argument("--size", default="256M", help="of each disk (default: 256M)")
    parser.add_argument("--memory", default="2G", help="of the VM (default: 2G)")
    parser.add_argument("--modules", default="", help="directory of .ko files, or `stock`")
    return parser.parse_args()


def main():
    arguments = parse_arguments()
    environment = Environment()
    options = VMOptions(disks=arguments.disks, disk=DiskOptions(size=arguments.size),
                        memory=arguments.memory, modules=arguments.modules)
    out = build_dir() / "vm" / "shell-out"
    out.mkdir(parents=True, exist_ok=True)
    columns, rows = os.get_terminal_size() if sys.stdout.isatty() else (80, 24)
    with tempfile.TemporaryDirectory() as directory:
        disks = [Disk(i, directory, kind) for i, kind in enumerate(options.disk_options())]
        for disk in disks:
            disk.create()
        names = [str(disk) for disk in disks]
        qemu = Qemu(environment, options, disks, shares(environment, options, out),
                    pathlib.Path(directory) / "console.log",
                    f"llbitmap.shell llbitmap.rows={rows} llbitmap.columns={columns} "
                    f"TERM={os.environ.get('TERM', 'vt100')}")
        print(HINT.format(kernel=environment.kernel["version"], disks=len(disks),
                          accelerator=environment.accelerator.upper(), size=arguments.size,
                          first=names[0], last=names[-1], some=" ".join(names[:4]), out=out),
              flush=True)
        return qemu.run_interactive()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except HarnessError as error:
        sys.exit(f"vm: {error}")

# SPDX-License-Identifier: GPL-2.0-or-later
"""In the VM: writes to an array what load.c writes, without marks; nothing is promised of it.

usage: fill.py DEVICE FIRST SECTORS GENERATION, writes 4 KiB here and there in this range, a fourth
of them near its end
"""
import mmap
import os
import random
import struct
import sys

SIZE = 4096
WRITES = 60


def main():
    device, first, sectors, generation = sys.argv[1], *map(int, sys.argv[2:])
    random.seed(generation)
    buffer = mmap.mmap(-1, SIZE)
    file = os.open(device, os.O_WRONLY | os.O_DIRECT)
    for number in range(generation, generation + WRITES):
        blocks = sectors // 8
        begin = 0 if number % 4 else blocks - blocks // 64
        sector = first + random.randrange(begin, blocks) * 8
        for i in range(SIZE // 512):
            # as powercut.log.DATA
            struct.pack_into("<8sQQ", buffer, i * 512, b"LLBDATA\0", sector + i, number)
        os.pwritev(file, [buffer], sector * 512)
    os.close(file)


main()

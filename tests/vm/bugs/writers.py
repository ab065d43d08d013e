# SPDX-License-Identifier: GPL-2.0-or-later
"""usage, in the guest: writers.py DEVICE CHUNK_BYTES FIRST COUNT THREADS STEP

Writes to COUNT places from chunk FIRST on, THREADS writers at the same moment at each: thread T
writes its own block of chunk + T * STEP. STEP 0: all to one chunk, 1: to neighbours.
"""
import mmap
import os
import sys
import threading

BLOCK = 4096


def main(device, chunk_bytes, first, count, threads, step):
    fd = os.open(device, os.O_WRONLY | os.O_DIRECT)
    block = mmap.mmap(-1, BLOCK)
    block.write(b"\x5a" * BLOCK)
    start = threading.Barrier(threads)

    def writer(number):
        for place in range(first, first + count * max(threads * step, 1), max(threads * step, 1)):
            start.wait()
            os.pwrite(fd, block, (place + number * step) * chunk_bytes + number * BLOCK)

    running = [threading.Thread(target=writer, args=(number,)) for number in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()


main(sys.argv[1], *map(int, sys.argv[2:]))

# SPDX-License-Identifier: GPL-2.0-or-later
"""Several VMs side by side: the suite's scripts sleep most of their time."""
import concurrent.futures
import os
import queue
import signal
import time


class Crew:
    """Threads that run one VM each, in a directory of their own."""

    def __init__(self, directories):
        self.directories = queue.SimpleQueue()
        for directory in directories:
            self.directories.put(directory)
        self.jobs = self.directories.qsize()
        self.machines = set()

    def each(self, items, work):
        """Yields (item, work(item, directory)) as they end. When it is left before (Ctrl-C), the
        VMs are killed, and what came out of them does not count."""
        with concurrent.futures.ThreadPoolExecutor(self.jobs) as pool:
            futures = {pool.submit(self._one, work, item): item for item in items}
            try:
                for future in concurrent.futures.as_completed(futures):
                    yield futures[future], future.result()
            finally:
                pool.shutdown(wait=False, cancel_futures=True)
                self._kill(futures)

    def _one(self, work, item):
        directory = self.directories.get()
        try:
            return work(item, directory)
        finally:
            self.directories.put(directory)

    def _kill(self, futures):
        """Until no thread is left: one may be about to start its VM."""
        while any(future.running() for future in futures):
            for machine in list(self.machines):
                if machine.running():
                    os.kill(machine.pid, signal.SIGKILL)
            time.sleep(0.2)

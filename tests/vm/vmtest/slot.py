# SPDX-License-Identifier: GPL-2.0-or-later
"""Which VM a test gets, and where its files are."""
import fcntl

from .environment import build_dir
from .machine import VM


class Slot:
    """The VM of a test file. Tests share it while they want the same kind and it is healthy."""

    def __init__(self, environment, directory):
        self.environment = environment
        self.directory = directory
        self.vm = None

    def get(self, options):
        if self.vm and (self.vm.options != options or not self.vm.healthy
                        or not self.vm.running()):
            self.drop()
        if not self.vm:
            self.vm = VM(self.environment, self.directory, options)
            try:
                self.vm.boot()
            except BaseException:
                self.drop()
                raise
        return self.vm

    def drop(self):
        if self.vm:
            self.vm.stop()
            self.vm = None


class Directories:
    """build/vm/<name>, locked; a second run at the same time takes build/vm/<name>.2, ..."""

    def __init__(self):
        self._locks = []

    def take(self, name):
        number = 1
        while True:
            directory = build_dir() / "vm" / (name if number == 1 else f"{name}.{number}")
            directory.mkdir(parents=True, exist_ok=True)
            # owned by _locks until release(), hence no `with`
            lock = open(directory / "lock", "w", encoding="ascii")  # pylint: disable=R1732
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.close()
                number += 1
                continue
            self._locks.append(lock)
            for old in directory.iterdir():
                if old.name != "lock" and old.is_file():
                    old.unlink()
            return directory

    def release(self):
        for lock in self._locks:
            lock.close()
        self._locks.clear()

# SPDX-License-Identifier: GPL-2.0-or-later
"""What happens at the end of a test in a VM: arrays away, kernel log judged."""
import time

from . import kernel_log
from .errors import CommandTimeout, VMLost, VMPanic


class Watch:
    """A VM during one test."""

    def __init__(self, vm):
        self.vm = vm
        self.start = vm.log.size()

    def finish(self, expected):
        """What is wrong, as text; "" if nothing is. A VM with a problem is not used again."""
        problems = [self._clean_up()]
        self._wait_for_console()
        text = self.vm.dmesg(self.start)
        trouble = kernel_log.find_trouble(text, expected)
        if trouble:
            problems.append(f"the kernel log ({self.vm.log.path}) says:\n{trouble}")
        if any(problems):
            self.vm.healthy = False
        absent = kernel_log.missing(text, expected)
        if absent:
            problems.append(f"expected in the kernel log ({self.vm.log.path}), but not there: "
                            f"{absent}")
        return "\n".join(filter(None, problems))

    def _usable(self):
        return self.vm.healthy and self.vm.running()

    def _clean_up(self):
        if not self._usable():
            return ""
        try:
            self.vm.clean_up()
        except (AssertionError, CommandTimeout, VMLost, VMPanic) as error:
            return f"the test left something behind that cannot be cleaned up: {error}"
        return ""

    def _wait_for_console(self):
        """The console is slower than the command channel: waits until a mark is through it."""
        if not self._usable():
            return
        mark = f"llbitmap-test: mark {time.monotonic_ns()}"
        position = self.vm.log.size()
        try:
            self.vm.say(mark)
        except (AssertionError, CommandTimeout, VMLost, VMPanic):
            self.vm.healthy = False
            return
        deadline = time.monotonic() + 10 * self.vm.scale
        while mark not in self.vm.dmesg(position) and time.monotonic() < deadline:
            time.sleep(0.02)

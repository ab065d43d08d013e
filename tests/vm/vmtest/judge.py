# SPDX-License-Identifier: GPL-2.0-or-later
"""What happens at the end of a test in a VM: arrays away, kernel log judged."""
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
        text = self._kernel_log()
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

    def _clean_up(self):
        if not self.vm.usable():
            return ""
        try:
            self.vm.clean_up()
        except (AssertionError, CommandTimeout, VMLost, VMPanic) as error:
            return f"the test left something behind that cannot be cleaned up: {error}"
        try:
            self.vm.check_watching()
        except (AssertionError, CommandTimeout, VMLost, VMPanic) as error:
            return f"this kernel no longer watches: {error}"
        return ""

    def _kernel_log(self):
        try:
            return self.vm.dmesg(self.start)
        except (AssertionError, CommandTimeout, VMLost, VMPanic):
            self.vm.healthy = False
            return self.vm.log.text(self.start)

# SPDX-License-Identifier: GPL-2.0-or-later
"""What can go wrong, one class per outcome that a report tells apart."""


class HarnessError(Exception):
    """The harness itself could not do its work (no kernel, no QEMU, ...)."""


class CommandFailed(AssertionError):
    """A command in the VM that was to succeed did not."""

    def __init__(self, command, result):
        super().__init__(f"rc={result.rc}: {command}\n{result.stdout}{result.stderr}")
        self.command = command
        self.result = result


class CommandTimeout(Exception):
    """A command did not end in its time. `stuck` says where its processes were in the kernel."""

    def __init__(self, command, result, stuck):
        super().__init__(f"no end in time: {command}\n{result.stdout}{result.stderr}\n{stuck}")
        self.command = command
        self.result = result
        self.stuck = stuck


class VMLost(Exception):
    """The VM hangs or ended without a panic."""


class VMPanic(Exception):
    """The VM's kernel panicked; the message holds the end of its console log."""


# Whatever is wrong with what is tested, CommandFailed among it; not with the harness.
TROUBLE = (AssertionError, CommandTimeout, VMLost, VMPanic)

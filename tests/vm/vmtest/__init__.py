# SPDX-License-Identifier: GPL-2.0-or-later
"""Virtual machines with md arrays for tests: see tests/vm/README.md."""
from .array import Array
from .disks import DiskOptions
from .environment import Environment
from .errors import CommandFailed, CommandTimeout, HarnessError, VMLost, VMPanic
from .machine import VM, VMOptions

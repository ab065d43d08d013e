# SPDX-License-Identifier: GPL-2.0-or-later
"""What a program needs while it runs."""
import subprocess
import sys

# A process is charged with what the one that it came from had before exec: start it from a small one.
STARTER = """
import os, sys
null = [(os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0)]
child = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, file_actions=null)
_, status, usage = os.wait4(child, 0)
print(os.waitstatus_to_exitcode(status), usage.ru_maxrss)
"""


def measured(argv):
    """(exit status, largest resident size in KiB) of a run."""
    done = subprocess.run([sys.executable, "-I", "-S", "-c", STARTER, *map(str, argv)],
                          stdout=subprocess.PIPE, text=True, check=True)
    return tuple(map(int, done.stdout.split()))

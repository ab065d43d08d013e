# SPDX-License-Identifier: GPL-2.0-or-later
"""`llbitmapctl audit`, which watches an array in the VM, and what the kernel's own trace says that
it has to have seen."""
import json
import re
import signal
import time

from support import TRACING
from vmtest.errors import HarnessError

EVENTS = ("load", "error", "daemon", "unload")      # of a load that did not begin there is no other
LINE = re.compile(r": llbitmap_(\w+): \d+:\d+ load=(\d+)", re.M)
ATTACHED = 30               # seconds of real hardware
NO_PRIVILEGES = "grep -q 'CapEff:\t0000000000000000' /proc/$(pgrep -xn llbitmapctl)/status"


def told(trace):
    """(loads that began, events of loads that did not: a bitmap that is refused tells why)"""
    events = LINE.findall(trace)
    began = {load for name, load in events if name == "load"}
    return len(began), sum(load not in began for _, load in events)


def objections(status, report, trace):
    """What is wrong with this end of an audit. It passed, or has one doubt: what a load says that
    does not begin, it may take for an event of an array that it should watch and does not."""
    began, refused = told(trace)
    wrong = []
    if status not in (0, 3) or report["violations"]:
        wrong.append(f"it ends with {status}, with {report['violations']} violations")
    if set(report["doubts"]) - {"loss"}:
        wrong.append(f"it doubts: {', '.join(report['doubts'])}")
    lost = {kind: number for kind, number in report["lost"].items() if number and kind != "stack"}
    if set(lost) - {"slot"} or lost.get("slot", 0) > refused:
        wrong.append(f"it lost {lost}, and there were {refused} events of loads that did not begin")
    if report["events"]["load"] != began:
        wrong.append(f"it saw {report['events']['load']} loads of {began}")
    if not report["events"]["transition"]:
        wrong.append("it saw no transition")
    return [f"the audit: {text}" for text in wrong]


class Watched:
    """From when this returns until verdict() nothing goes unseen. The modules are loaded, and there
    is no array."""

    def __init__(self, vm, *options):
        self.vm = vm
        vm.run("cd {0} && echo 16384 > buffer_size_kb && {1} : > trace".format(
            TRACING, "".join(f"echo 1 > events/llbitmap/llbitmap_{name}/enable;"
                             for name in EVENTS)))
        self.process = vm.spawn(["llbitmapctl", "audit", "--json", "-d", 36000, *options],
                                timeout=72000)
        self.said = ""
        self._wait_until_attached()

    def _wait_until_attached(self):
        """Then it gives up its privileges."""
        deadline = time.monotonic() + ATTACHED * self.vm.scale
        while not self.vm.run(NO_PRIVILEGES, check=False):
            if time.monotonic() > deadline:
                raise HarnessError(f"llbitmapctl audit does not begin: {self.process.output()}")
            time.sleep(0.2)

    def news(self):
        """Violations that it told of since."""
        text = self.process.output()[1]
        new, self.said = text[len(self.said):], text
        return [f"the audit says:\n{new}"] if "violat" in new.lower() else []

    def verdict(self):
        """What is wrong, at the end."""
        self.process.signal(signal.SIGINT)
        result = self.process.wait(check=False)
        trace = self.vm.run(f"cat {TRACING}/trace").stdout
        if "LOST" in trace:
            return ["the trace buffer is too small for what the audit is compared with"]
        try:
            report = json.loads(result.stdout)
        except ValueError:
            return [f"the audit ends with {result.rc}:\n{result.stdout}{result.stderr}"]
        wrong = objections(result.rc, report, trace)
        return wrong + [f"the audit's report: {result.stdout}{result.stderr}"] * bool(wrong)

# SPDX-License-Identifier: GPL-2.0-or-later
"""pytest fixtures and reports for tests that run in a VM.

    pytestmark = pytest.mark.vm(disks=4, disk=DiskOptions(size="128M"))   # fields of VMOptions

    def test_something(vm): ...          # booted once per file, again only when needed
    def test_own(boot_vm): ...           # boot_vm(disks=2) -> a VM of this test's own

After each test that used a VM its arrays are taken away and its kernel log is judged, as part of
the test.
"""
import re

import pytest

from .environment import Environment
from .errors import CommandTimeout, VMLost, VMPanic
from .judge import Watch
from .machine import VM, VMOptions
from .slot import Directories, Slot

# exception -> outcome, its letter; all of them are failures to pytest's exit status
OUTCOMES = {VMPanic: ("panic", "P"), VMLost: ("lost", "L"), CommandTimeout: ("timeout", "T")}

WATCHES = pytest.StashKey()


def pytest_configure(config):
    config.addinivalue_line("markers", "vm(**options): the VM of this test, as VMOptions")
    config.addinivalue_line("markers", "expect_kernel(*patterns): regular expressions that must "
                            "match lines of the kernel log, which then are no trouble")


def pytest_collection_modifyitems(items):
    """Reports say of which RAID level a case is."""
    for item in items:
        level = getattr(getattr(item, "callspec", None), "params", {}).get("level")
        if level is not None:
            item.user_properties.append(("level", level))


# -- fixtures -----------------------------------------------------------------------------------

@pytest.fixture(scope="session")
def vm_environment():
    return Environment()


@pytest.fixture(scope="module")
def vm_directories():
    directories = Directories()
    yield directories
    directories.release()


@pytest.fixture(scope="module")
def vm_slot(request, vm_environment, vm_directories):
    slot = Slot(vm_environment, vm_directories.take(request.path.stem))
    yield slot
    slot.drop()


def needs_modules(environment, options):
    """Skips a test that brings its own md to a kernel that has md built in."""
    if environment.md_built_in and options.modules:
        pytest.skip("exchanges md's modules, and this kernel has md built in")


def watch(item, machine):
    item.stash.setdefault(WATCHES, []).append(Watch(machine))
    machine.say(f"llbitmap-test: begin {item.nodeid}")
    return machine


@pytest.fixture
def vm(request, vm_environment, vm_slot):
    """The VM of this file; a marker on the function replaces the file's."""
    mark = request.node.get_closest_marker("vm")
    options = VMOptions(**mark.kwargs) if mark else VMOptions()
    needs_modules(vm_environment, options)
    return watch(request.node, vm_slot.get(options))


@pytest.fixture
def boot_vm(request, vm_environment, vm_directories):
    """boot_vm(**options of VMOptions): a VM that ends with this test."""
    machines = []

    def boot(**options):
        needs_modules(vm_environment, VMOptions(**options))
        name = re.sub(r"\W+", "-", request.node.name).strip("-")
        directory = vm_directories.take(f"{request.path.stem}-{name}")
        machine = VM(vm_environment, directory, VMOptions(**options))
        machines.append(machine)
        return watch(request.node, machine.boot())

    yield boot
    for machine in machines:
        machine.stop()


# -- judging ------------------------------------------------------------------------------------

def finish_watches(item):
    expected = [pattern for mark in item.iter_markers("expect_kernel") for pattern in mark.args]
    watches, item.stash[WATCHES] = item.stash[WATCHES], []
    return "\n".join(filter(None, (one.finish(expected) for one in watches)))


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    """Calls a test that uses a VM, and judges the VM before the test counts as passed."""
    if WATCHES not in pyfuncitem.stash and "boot_vm" not in pyfuncitem.fixturenames:
        return None
    pyfuncitem.stash.setdefault(WATCHES, [])
    names = pyfuncitem._fixtureinfo.argnames    # as pytest's own pytest_pyfunc_call does
    try:
        pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names})
    except BaseException:
        problems = finish_watches(pyfuncitem)
        if problems:
            pyfuncitem.add_report_section("call", "VM", problems)
        raise
    problems = finish_watches(pyfuncitem)
    if problems:
        pytest.fail(problems, pytrace=False)
    return True


# -- reports --------------------------------------------------------------------------------------

@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    result = yield
    report = result.get_result()
    if call.excinfo and report.failed:
        report.vm_outcome = next((OUTCOMES[kind] for kind in OUTCOMES
                                  if call.excinfo.errisinstance(kind)), None)


@pytest.hookimpl(tryfirst=True)
def pytest_report_teststatus(report):
    outcome = getattr(report, "vm_outcome", None)
    if outcome is None:
        return None
    name, letter = outcome
    return name, letter, (name.upper(), {"red": True})


def pytest_report_header():
    environment = Environment()
    return f"vm: accelerator {environment.accelerator}, time-outs x {environment.time_scale}"


def pytest_terminal_summary(terminalreporter):
    """pytest shows details of `failed` only; ours are failures of other names."""
    for name, _ in OUTCOMES.values():
        for report in terminalreporter.getreports(name):
            terminalreporter.write_sep("_", f"{name.upper()}: {report.nodeid}", red=True)
            report.toterminal(terminalreporter._tw)
            for title, text in report.sections:
                terminalreporter.write_sep("-", title)
                terminalreporter.write_line(text)
            terminalreporter.write_line(f"{name.upper()} {report.nodeid}", red=True)

# SPDX-License-Identifier: GPL-2.0-or-later
"""The short form of `make races`: its load for little more than a minute, on the kernel with KASAN and
lockdep if that is in the cache, otherwise on the stock one. Which it was is told in the summary."""
import os

import pytest

import debug
import load
from levels import cases
from vmtest import Environment

pytestmark = pytest.mark.vm(**load.VM)


@pytest.fixture
def vm_environment(monkeypatch, record_property):
    if os.environ.get("LLBITMAP_KERNEL"):
        kernel = "the kernel of LLBITMAP_KERNEL"
    elif debug.in_cache("kasan"):
        for name, value in debug.build("kasan").items():
            monkeypatch.setenv(name, value)
        kernel = "on the kernel with KASAN and lockdep"
    else:
        kernel = "on the stock kernel: the one with KASAN is not in the cache, `make races` puts it there"
    record_property("short form", kernel)
    return Environment()


@cases("level, failfast", (1, False), long=[(1, True), (10, True), (10, False), (5, False), (6, False)])
def test_everything_at_once_for_a_minute(boot_vm, level, failfast):
    done = load.play(boot_vm(**load.VM), load.Round(level, level, 75, failfast))
    assert load.left_out([done]) == [], done

# SPDX-License-Identifier: GPL-2.0-or-later
"""One test per outcome. Not collected by itself: test_outcomes.py runs it and reads the report."""
import os
import signal

import pytest

pytestmark = pytest.mark.vm(disks=2)


def test_passes(vm):
    vm.run("true")


def test_fails(vm):
    assert vm.run("false", check=False).rc == 0


def test_skips(vm):
    if not vm.exists("/no/such/thing"):
        pytest.skip("no such thing")


@pytest.mark.expect_kernel("never said")
def test_misses_an_expected_message(vm):
    vm.run("true")


@pytest.mark.expect_kernel("WARNING: one")
def test_expects_another_warning(vm):
    vm.say("WARNING: one\nWARNING: two")


def test_gets_a_vm_after_trouble(vm):
    vm.run("true")


def test_hangs_in_the_kernel(vm):
    vm.run("modprobe dm-mod && dmsetup create stuck --table '0 2048 linear /dev/vda 0' &&"
           " dmsetup suspend stuck")
    vm.run("dd if=/dev/zero of=/dev/mapper/stuck bs=4k count=1 oflag=direct", timeout=3)


def test_panics(vm):
    vm.run("echo c > /proc/sysrq-trigger")


def test_loses_the_vm(vm):
    os.kill(vm.pid, signal.SIGKILL)
    vm.run("true")


def test_loses_a_hanging_vm(vm):
    vm.silence = 2
    os.kill(vm.pid, signal.SIGSTOP)
    vm.run("true")


def test_loses_a_vm_whose_kernel_lives(vm):
    vm.spawn("modprobe dm-mod && dmsetup create stuck --table '0 2048 linear /dev/vda 0' &&"
             " dmsetup suspend stuck && exec dd if=/dev/mapper/stuck of=/dev/null iflag=direct")
    vm.silence = 2
    vm.run("until grep -q '^State:.D' /proc/$(pgrep -x dd)/status; do sleep 0.1; done;"
           " kill -STOP $(pgrep -f agent.py)")

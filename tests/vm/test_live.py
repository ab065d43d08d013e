# SPDX-License-Identifier: GPL-2.0-or-later
"""The tool on the running kernel: what it shows and verifies, how it ends, what it says."""
import json
import shlex
import signal

import pytest

from levels import cases
from support import wait_until
from test_audit import ready
from vmtest import DiskOptions

pytestmark = pytest.mark.vm(disks=8, disk=DiskOptions(size="128M"), memory="1G")

FIO = ("fio --name=w --filename={0} --rw=randwrite --bs=4k --size={1} --direct=1"
       " --ioengine=libaio --iodepth=16 --output=/dev/null")


def tool(vm, args, check=True, **more):
    return vm.run("llbitmapctl " + args, check=check, **more)


def documents(text):
    return [json.loads(line) for line in text.splitlines()]


def name_of(array):
    return str(array).rsplit("/", 1)[-1]


@pytest.fixture
def array(vm):
    return vm.create_array(level=10, disks=4, bitmap="lockless", assume_clean=True)


def attached(vm):
    """Until a session watches: all its programs are on the tracepoints, and it is nobody."""
    wait_until(vm, lambda: ready(vm, 1), what="nothing attached")


def nothing_left(vm):
    return vm.run("ls -l /proc/[0-9]*/fd 2>/dev/null | grep -c 'bpf-prog\\|bpf_link'",
                  check=False).stdout.strip() == "0"


def test_status(vm, array):
    [doc] = documents(tool(vm, "status --json").stdout)
    [entry] = doc["arrays"]
    assert (entry["level"], entry["bitmap"], entry["status"]) == ("raid10", "llbitmap", "fine")
    assert sum(entry["counts"].values()) == entry["chunks"]
    assert [m["state"] for m in entry["members"]] == ["in_sync"] * 4
    # By every name, and without privilege.
    for name in (str(array), name_of(array), entry["uuid"], entry["uuid"].replace("-", ":")):
        text = vm.run(f"setpriv --reuid 65534 llbitmapctl status {name}").stdout
        assert text.startswith(f"{name_of(array)} ") and entry["uuid"] in text
    # Not that the members agree: where nothing was written they may differ.
    assert "fine; nothing to resync\n" in tool(vm, "status").stdout


def test_audit_passes_over_a_busy_array(vm, array):
    flush = f"echo 1 >/sys/block/{name_of(array)}/md/llbitmap/flush"
    load = f"{FIO.format(array, '16M')}; {flush}; {FIO.format(array, '8M')}; {flush}"
    result = tool(vm, f"audit --json -- bash -c '{load}'")
    [doc] = documents(result.stdout)
    assert doc["verdict"] == "pass"
    [entry] = doc["loads"]
    assert entry["transitions"] > 100 and entry["missing"] == 0
    assert nothing_left(vm)


def test_audit_ended_in_the_middle_of_a_load_is_exact(vm, array):
    """Start and end under load: no number is taken for lost."""
    name = name_of(array)
    load = vm.spawn(f"while :; do {FIO.format(array, '4M')}; "
                    f"echo 1 >/sys/block/{name}/md/llbitmap/flush; done")
    for sig in (signal.SIGINT, signal.SIGTERM):
        audit = vm.spawn("llbitmapctl audit --json")
        attached(vm)
        # By now nothing is left of root but its name.
        assert vm.run("grep CapEff /proc/$(pgrep -xn llbitmapctl)/status").stdout.split()[1] == "0" * 16
        audit.signal(sig)
        result = audit.wait(check=False)
        [doc] = documents(result.stdout)
        assert (result.rc, doc["verdict"]) == (0, "pass"), result
        assert nothing_left(vm)
    load.signal(signal.SIGKILL)
    load.wait(check=False)


def test_degraded_is_a_report(vm, array):
    """status says so, and has no verdict in its exit status."""
    array.fail(vm.disks[0])
    result = tool(vm, f"status --json -a {name_of(array)}", check=False)
    [doc] = documents(result.stdout)
    assert (result.rc, doc["arrays"][0]["status"]) == (0, "attention")


def test_arrays_started_and_stopped_while_watched(vm, array):
    script = (f"mdadm --stop {array}; sleep 1; mdadm --assemble {array} "
              f"{' '.join(str(d) for d in vm.disks[:4])}; sleep 3; {FIO.format(array, '8M')}; "
              f"mdadm --stop {array}; sleep 1; mdadm --assemble {array} "
              f"{' '.join(str(d) for d in vm.disks[:4])}; sleep 3")
    result = tool(vm, f"audit --json -- bash -c 'exec >/dev/null 2>&1; {script}'", check=False)
    [doc] = documents(result.stdout)
    assert (result.rc, doc["verdict"]) == (0, "pass"), result
    assert len(doc["loads"]) == 3 and doc["loads"][0]["unloaded"]


def test_more_arrays_than_slots(vm, array):
    vm.create_array(level=1, disks=2, bitmap="lockless", assume_clean=True)
    result = tool(vm, "audit --arrays 1 -d 1", check=False)
    assert result.rc == 3 and "is not watched" in result.stderr, result
    assert "inconclusive" in result.stdout


def test_trace(vm, array):
    flush = f"echo 1 >/sys/block/{name_of(array)}/md/llbitmap/flush"
    trace = vm.spawn(f"llbitmapctl trace --json -A startwrite -c 16-31 -n 1 {array}")
    attached(vm)
    vm.run(f"dd if=/dev/zero of={array} bs=64k count=64 oflag=direct; {flush}")
    [line] = documents(trace.wait().stdout)
    assert (line["event"], line["from"], line["to"]) == ("transition", "Clean", "Dirty")
    assert line["first"] <= 31 and line["first"] + line["count"] > 16 and line["comm"] == "dd"
    now = int(vm.run("date +%s").stdout)
    assert 0 <= now - line["time_ns"] // 10**9 < 60
    trace = vm.spawn(f"llbitmapctl trace -v -T -n 1 -t transition -p dd {array}")
    attached(vm)
    vm.run(f"dd if=/dev/zero of={array} bs=64k count=64 oflag=direct")
    text = trace.wait().stdout
    assert text.startswith(vm.run("date +%FT").stdout.strip())
    assert "Clean -> Dirty" in text and "md_" in text and "+0x" in text


@cases("only, event, comm", ("-s Dirty", "transition", None), ("-t load -p mdadm", "load", "mdadm"),
       ("-t load -t transition -p dd", "transition", "dd"),
       long=[("-t transition", "transition", None), ("-t unload", "unload", None),
             ("-t resize", "resize", None)])
def test_trace_shows_nothing_but_what_was_asked_for(vm, only, event, comm):
    """Not the array that is stopped, assembled and resized meanwhile, either."""
    array = vm.create_array(level=1, disks=2, size=40960)
    trace = vm.spawn(f"exec llbitmapctl trace --json -n 1 {only}")
    attached(vm)
    array.stop()
    array.assemble()
    array.readwrite()
    vm.run(f"mdadm --grow {array} --size=49152 && "
           f"dd if=/dev/zero of={array} bs=64k count=64 oflag=direct status=none")
    [line] = documents(trace.wait().stdout)
    assert line["event"] == event
    assert comm in (None, line["comm"])


def test_record_and_replay(vm, array):
    flush = f"echo 1 >/sys/block/{name_of(array)}/md/llbitmap/flush"
    tool(vm, f"record -v -o /mnt/out/live.llb -- bash -c '{FIO.format(array, '8M')}; {flush}'")
    assert "pass" in tool(vm, "replay /mnt/out/live.llb").stdout
    # The verdict does not hide behind the command's own status, nor the other way round.
    result = tool(vm, "audit -- false", check=False)
    assert result.rc == 0 and "status 1" in result.stderr


@pytest.mark.parametrize("command", ["no-such-command", "/etc/passwd"])
def test_command_that_cannot_be_run(vm, array, command):
    """No verdict on nothing, and an old recording stays."""
    vm.run("echo old >/root/old.llb")
    for args in ("audit", "hist", "record -o /root/old.llb", "record -o /root/new.llb"):
        result = tool(vm, f"{args} -- {command} -x", check=False)
        assert (result.rc, result.stdout) == (2, ""), result
        line, = result.stderr.splitlines()
        assert line.startswith(f"llbitmapctl: cannot run {command}: "), line
    assert vm.run("cat /root/old.llb; ls /root/*.llb*").stdout == "old\n/root/old.llb\n"
    assert nothing_left(vm)


def test_disk_full_while_recording(vm, array):
    vm.run("mkdir -p /run/small && mount -t tmpfs -o size=16k none /run/small")
    load = FIO.format(array, "16M")
    flush = f"echo 1 >/sys/block/{name_of(array)}/md/llbitmap/flush"
    result = tool(vm, "record -v -o /run/small/x.llb -- bash -c "
                      f"'for i in 1 2 3 4 5 6; do {load}; {flush}; done'", check=False)
    assert result.rc == 5 and "No space left" in result.stderr, result
    assert tool(vm, "replay /run/small/x.llb", check=False).rc == 3
    vm.run("umount /run/small")
    assert nothing_left(vm)


def test_full_disk_keeps_the_old_recording(vm, array):
    """Until the new one is more than a name; and then nothing is said that is not so."""
    load = (f"llbitmapctl record -v -o /run/small/x.llb -- bash -c '{FIO.format(array, '16M')}; "
            f"echo 1 >/sys/block/{name_of(array)}/md/llbitmap/flush'")
    vm.run("mkdir -p /run/small && mount -t tmpfs -o size=256k none /run/small")
    vm.run(load)
    vm.run("cp /run/small/x.llb /root/ && chmod 600 /run/small/x.llb; "
           "dd if=/dev/zero of=/run/small/rest bs=4k status=none", check=False)
    result = vm.run(load, check=False)
    assert result.rc == 5 and "No space left" in result.stderr, result
    assert "replayed" not in result.stderr and result.stderr.count("\n") == 1
    vm.run("cmp /root/x.llb /run/small/x.llb && [ \"$(ls /run/small)\" = \"$(printf 'rest\\nx.llb')\" ]")
    vm.run("rm /run/small/rest")
    vm.run(load)
    assert vm.run("stat -c %a /run/small/x.llb").stdout == "600\n"
    tool(vm, "replay /run/small/x.llb")
    vm.run("umount /run/small")
    assert nothing_left(vm)


def test_two_recorders_of_one_file(vm, array):
    """Neither takes the other's from under it; the last one that began has the name."""
    one = vm.spawn("exec llbitmapctl record -o /root/one.llb")
    attached(vm)
    result = tool(vm, f"record -o /root/one.llb -- {FIO.format(array, '1M')}")
    assert result.rc == 0
    one.signal(signal.SIGINT)
    assert one.wait(check=False).rc == 0
    assert vm.run("umask; ls -l /root/one.llb* | cut -c1-10").stdout == "0022\n-rw-r--r--\n"
    tool(vm, "replay /root/one.llb")


def test_record_to_standard_output(vm, array):
    """Nothing but the recording, whatever the command prints."""
    vm.run(f"llbitmapctl record -o - -- bash -c 'echo noise; {FIO.format(array, '8M')}' "
           ">/root/out.llb 2>/root/said")
    tool(vm, "replay /root/out.llb")
    said = vm.run("cat /root/said").stdout.splitlines()
    assert said[0] == "noise" and said[1].startswith("standard output: "), said
    assert vm.run("llbitmapctl record -o - -d 0.5 | llbitmapctl replay -").stdout


def test_recording_outlives_a_power_cut(vm, array):
    """Nobody synced: all but the last moments are there."""
    disk = vm.disks[7]
    vm.run(f"mkfs.ext4 -q {disk} && mkdir -p /run/kept && mount {disk} /run/kept")
    vm.spawn("exec llbitmapctl record -o /run/kept/cut.llb")
    attached(vm)
    vm.run(FIO.format(array, "16M"))
    dirty = array.bits()["dirty"]

    def flushes():
        return int(vm.read(f"/sys/block/{str(disk)[5:]}/stat").split()[15])

    # it syncs each second, with two flushes at most: the third such sync has it all
    before = flushes()
    wait_until(vm, lambda: flushes() >= before + 8)
    vm.power_cut()
    vm.boot()
    vm.run(f"mkdir -p /run/kept && mount {disk} /run/kept")
    result = tool(vm, "replay --json /run/kept/cut.llb", check=False)
    [doc] = documents(result.stdout)
    assert (result.rc, doc["doubts"]) == (3, ["cut"]), result
    written = [c["chunks"] for c in doc["coverage"]["cells"]
               if (c["from"], c["action"]) == ("Clean", "Startwrite")]
    assert dirty > 0 and written == [dirty]


def test_hist(vm, array):
    flush = f"echo 1 >/sys/block/{name_of(array)}/md/llbitmap/flush"
    load = FIO.format(array, "8M") + " --iodepth=1"         # no bitmap writes are shared
    [doc] = documents(tool(vm, f"hist --json -- bash -c '{load}; {flush}'").stdout)
    counts = {h["name"]: h["count"] for h in doc["histograms"]}
    assert counts["dirty"] > 50 and counts["bitmap_write"] > 10 and counts["daemon_pass"] > 0


def test_top(vm, array):
    array.set("llbitmap/daemon_sleep", 3600)
    # already when it begins, however busy the host is; and Dirty chunks are there at any moment
    load = vm.spawn(f"while sleep 2; do echo 1 >{array.sysfs}/llbitmap/flush; done & "
                    f"{FIO.format(array, '100%')} --time_based --runtime=3600 --thread")
    array.wait_bits(lambda bits: bits["dirty"] > 0)
    docs = documents(tool(vm, "top --json -n 6 -i 1").stdout)
    load.signal(signal.SIGKILL)
    load.wait(check=False)
    assert len(docs) == 6 and all(d["lost"] == 0 for d in docs)
    assert any(d["arrays"][0]["chunks_per_second"]["Startwrite"] > 0 for d in docs)
    assert docs[-1]["arrays"][0]["counts"]["dirty"] > 0
    # what a replayed top shows as well has the same name there
    tool(vm, "record -o /run/top.llb -d 0.1")
    [replayed] = documents(tool(vm, "replay --json --as top /run/top.llb").stdout)
    assert set(docs[-1]["arrays"][0]) & set(replayed["arrays"][0]) == {
        "array", "counts", "bitmap_writes", "bitmap_write_errors", "barrier_waits",
        "barrier_wait_ns", "drain_timeouts", "daemon_passes", "chunks_cleaned", "errors"}
    assert tool(vm, "top </dev/null", check=False).rc == 2


def test_top_for_logs(vm, array):
    """Each sample says when it is of, and what is missing."""
    array.fail(vm.disks[0])
    clock = vm.run("date -u +%FT%H:%M").stdout.strip()
    text = tool(vm, "top --batch -n 2 -i 0.2").stdout
    samples = text.strip().split("\n\n")
    assert len(samples) == 2
    for sample in samples:
        time, row, lost = sample.splitlines()
        assert clock <= time < clock.replace("T", "U") and time.endswith("Z")
        assert row.startswith(name_of(array)) and row.endswith("; degraded 1") and lost == "lost 0"


def test_bad_input_has_one_line_and_its_status(vm, array):
    classic = vm.create_array(level=1, disks=2, bitmap="internal")
    for args, rc, words in (
            ("audit -a nosuch", 4, "no array 'nosuch'"),
            (f"audit {classic}", 5, f"audit --array {classic}"),
            (f"audit -a {classic} -d 1", 4, "a classic bitmap"),
            ("trace --state nosuch", 2, "--state takes Unwritten, Clean,"),
            ("trace -c 9-5", 2, "--chunks takes FIRST[-LAST]"),
            ("record -d 1", 2, "--output"),
            ("record -o /nosuch/file -d 1", 5, "cannot write"),
            ("record -o /dev/full -d 1", 5, "No space left")):
        result = tool(vm, args, check=False)
        assert result.rc == rc and words in result.stderr, (args, result)
        assert result.stderr.count("\n") == 1 and not result.stdout
    result = vm.run("setpriv --reuid 65534 --clear-groups llbitmapctl audit -d 1", check=False)
    assert result.rc == 4 and "root" in result.stderr
    assert nothing_left(vm)


def test_no_array(vm):
    for command in ("status", "audit", "trace"):
        result = tool(vm, command, check=False)
        assert result.rc == 4 and result.stderr.count("\n") == 1, result


def test_top_waits_for_an_array(vm):
    """Samples say that there is none; one that comes is shown."""
    assert [sample.splitlines()[1:] for sample in
            tool(vm, "top -b -n 2 -i 0.1").stdout.strip().split("\n\n")] == [["no array", "lost 0"]] * 2
    docs = documents(tool(vm, "top --json -n 2 -i 0.1").stdout)
    assert [doc["arrays"] for doc in docs] == [[], []]
    top = vm.spawn("exec llbitmapctl top --json -i 0.5")

    def samples():
        return documents(top.output()[0].rpartition("\n")[0])

    wait_until(vm, samples)
    array = vm.create_array(level=1, disks=2, assume_clean=True)
    wait_until(vm, lambda: samples()[-1]["arrays"])
    top.signal(signal.SIGINT)
    result = top.wait(check=False)
    docs = documents(result.stdout)
    assert (result.rc, docs[0]["arrays"]) == (0, []), result
    assert [row["array"] for row in docs[-1]["arrays"]] == [name_of(array)]


def test_doctor(vm, array):
    result = tool(vm, "doctor --json", check=False)
    [doc] = documents(result.stdout)
    assert doc["ready"] and result.rc == 0, doc
    assert {finding["grade"] for finding in doc["findings"]} == {"ok"}


def findings(result):
    [doc] = documents(result.stdout)
    return doc["ready"], {finding["what"]: finding for finding in doc["findings"]}


def test_doctor_for_somebody_else(vm, array):
    name = name_of(array)
    result = vm.run("setpriv --reuid 65534 --clear-groups llbitmapctl doctor --json", check=False)
    ready, found = findings(result)
    assert (result.rc, ready) == (4, False)
    assert {what for what in found if found[what]["grade"] == "missing"} == {"privileges", name}
    assert found["privileges"]["found"] == "no CAP_BPF CAP_PERFMON"
    assert "run as root" in found["privileges"]["advice"]
    assert "Permission denied" in found[name]["found"] and "run as root" in found[name]["advice"]
    assert found["symbols"]["grade"] == "note"
    assert "programs" not in found, "cannot be tried"


@pytest.mark.parametrize("says, words, advice", [
    ("echo 'mdadm - v4.2 - 2021-12-30' >&2", "v4.2", "make mdadm builds one"),
    ("echo 'mdadm - v4.5 - 2025-12-01' >&2", "v4.5", "it assembles and manages"),
    ("exit 127", "not found", "install mdadm 4.6 or newer")])
def test_doctor_with_another_mdadm(vm, array, says, words, advice):
    """A remark: whatever there is runs on."""
    vm.run(f"mkdir -p /run/other && printf '#!/bin/sh\\n%s\\n' {shlex.quote(says)} >/run/other/mdadm"
           " && chmod +x /run/other/mdadm")
    result = vm.run("PATH=/run/other:$PATH llbitmapctl doctor --json", check=False)
    ready, found = findings(result)
    assert (result.rc, ready, found["mdadm"]["grade"]) == (0, True, "note")
    assert words in found["mdadm"]["found"] and advice in found["mdadm"]["advice"]


def test_both_verifiers_agree_on_this_kernel(vm):
    vm.run("/mnt/build/bpf/agree 1 5000")

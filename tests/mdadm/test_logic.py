# SPDX-License-Identifier: GPL-2.0-or-later
"""Which scripts are taken, what the wrapper of mdadm does, and what a difference is. No VM."""
import pathlib
import subprocess

import pytest

from mdadmsuite import results, runner, selection
from mdadmsuite.crew import Crew
from vmtest import HarnessError

HERE = pathlib.Path(__file__).resolve().parent


# -- selection -------------------------------------------------------------------------------------

@pytest.mark.parametrize("text", [
    "mdadm -CR $md0 -l1 -n2 $dev0 $dev1",
    "mdadm --create --run $md0 --level=raid6 -n4 $devs",
    "mdadm -CfR $md0 -e1 -l 4 -n3 $devs",
    "if mdadm -CfR $md0 -l 5 -n3 $devs --write-zeroes ; then :; fi",
    "mdadm -Cv -R -n 4 -l10 $md0 $devs || die",
    "mdadm -CR $md0 \\\n  -l 1 --metadata=1.2 -n 2 $devs",
    "for level in 0 1; do mdadm -CR $md0 -l $level -n4 $devs; done",
    "kinds=(raid0 raid5)\nfor k in ${kinds[@]}; do mdadm -CR $md0 -l $k -n4 $devs; done",
    "for m in 0.90 1.2; do mdadm -CR $md0 -l5 --metadata=$m $devs; done",
    "mdadm -CR $md0 -l $unknown -n2 $devs",
    "for p in 1.2 imsm; do mdadm -CR a -e $p -l 1 $devs; mdadm -CR b -l 1 /dev/md/c; done",
])
def test_taken(text):
    assert selection.why_not(text) == ""


@pytest.mark.parametrize("text, why", [
    ("mdadm -A $md0 $devs", "makes no array"),
    ("mdadm -B $md0 -l1 -n2 $devs", "makes no array"),
    ("# mdadm -CR $md0 -l1 -n2 $devs", "makes no array"),
    ("mdadm -CR $md0 -l raid0 -n3 $devs", "no redundant array"),
    ("mdadm -CR $md0 -l 0 -n3 -e 1.2 $devs", "no redundant array"),
    ("mdadm -CR $md0 -e 0.90 -l5 $devs\nmdadm -CR $md0 --metadata=1.1 -l5 $devs", "0.90, 1.1 only"),
    ("mdadm -CR $md0 -e 0.90 -l5 $devs\nmdadm -CR $md0 -l0 $devs", "0.90 only"),
    ("mdadm -CR /dev/md/c -e ddf -n2 $devs\nmdadm -CR v -l1 -n2 /dev/md/c", "containers only"),
])
def test_left_out(text, why):
    assert why in selection.why_not(text)


def test_sourced_text_counts(tmp_path):
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "functions").write_text("make() { mdadm -CR m -e $p -l 1 $devs; }\n")
    (tmp_path / "tests" / "00a").write_text(". tests/functions\np=1.2\nmake\n")
    (tmp_path / "tests" / "01b").write_text(". tests/functions\np=0.90\nmake\n")
    (tmp_path / "tests" / "01b.broken").write_text("always fails\n")
    found = selection.scripts(tmp_path)
    assert list(found) == ["00a", "01b"]
    assert found["00a"] == "" and "0.90" in found["01b"]


# -- the wrapper -----------------------------------------------------------------------------------

def wrapped(*arguments):
    done = subprocess.run([HERE / "guest" / "mdadm", *arguments], env={"MDADM_REAL": "/bin/echo"},
                          capture_output=True, text=True, check=True)
    return done.stdout.split()


@pytest.mark.parametrize("arguments", [
    "-CR m -l1 -n2 -binternal --bitmap-chunk=4 a b",
    "-CR m -l1 -n2 -b internal --bitmap-chunk 4 a b",
    "-CR m -l1 -n2 --bitmap=internal a b",
    "-CR m -l1 -n2 --bitmap internal a b",
    "-CR m -l1 -n2 a b",
])
def test_wrapper_replaces_the_bitmap(arguments):
    assert wrapped(*arguments.split()) == "-CR m -l1 -n2 a b --bitmap=lockless".split()


@pytest.mark.parametrize("arguments", [
    "-CR m -e 0.90 -l1 -n2 --bitmap=internal a b",
    "-CR m --metadata=1.0 --level=raid1 -n2 a b",
    "-CR m -l0 -n2 a b",
    "-A m a b",
    "-Gb internal --bitmap-chunk=4 m",
    "--grow m --bitmap=none",
    "-B m -l1 -n2 a b",
])
def test_wrapper_leaves_the_rest_alone(arguments):
    assert wrapped(*arguments.split()) == arguments.split()


@pytest.mark.parametrize("arguments, does, made", [
    ("-CR m -l1 -n2 a b", "llbitmap", 1),
    ("-CR m -l1 -n2 a b", "bitmap", 0),                 # mdadm took another one
    ("-CR m -l0 -n2 a b", "llbitmap", 0),               # not ours to say
])
def test_wrapper_counts_what_it_made(tmp_path, arguments, does, made):
    """By what the kernel says of the array."""
    (tmp_path / "mdadm").write_bytes((HERE / "guest" / "mdadm").read_bytes())
    (tmp_path / "real").write_text(
        f"#!/bin/sh\nmkdir -p {tmp_path}/block/md0/md\n"
        f"echo 'none [{does}]' > {tmp_path}/block/md0/md/bitmap_type\nexit 3\n")
    for name in ("mdadm", "real"):
        (tmp_path / name).chmod(0o755)
    done = subprocess.run([tmp_path / "mdadm", *arguments.split()], check=False,
                          env={"MDADM_REAL": str(tmp_path / "real"), "MDADM_SYSFS": str(tmp_path),
                               "PATH": "/usr/bin:/bin"})
    assert done.returncode == 3         # the real one's
    found = tmp_path / "made"
    assert (found.read_text().splitlines() if found.exists() else []) == [arguments] * made


# -- one script ------------------------------------------------------------------------------------

LOG = """\
++ mdadm -CR /dev/md0 -l 1 -n2 missing missing
+++ rv=2
++ mdadm -CR /dev/md0 -l 1 -n2 a b
+++ rv=0
++ check resync
llbitmap: nothing left for resync
++ die 'no recovery happening'
\tERROR: no recovery happening \n
FAILED - see /mnt/out/logs/a.log
"""


def test_judge():
    record = runner.judge("fail", "", LOG, "WARNING: CPU 0\n")
    assert record["mdadm"] == ["-CR /dev/md0 -l 1 -n2 missing missing"]
    assert record["nothing_to_sync"] == 1
    assert record["why"] == "ERROR: no recovery happening"
    assert record["trouble"].startswith("WARNING")


def test_timeout_says_where():
    assert runner.judge("timeout", "no end in time\nstack", LOG, "")["why"] == \
        "no end in time of: ++ die 'no recovery happening'"


@pytest.mark.parametrize("said, outcome", [
    ("Execution time (seconds): 4 \033[0;32msucceeded\n", "pass"),
    ("\033[1;33mskipping\033[0m - see x.log\n", "skip"),
    ("Execution time (seconds): 4 \033[0;31mFAILED - see x.log\n  (KNOWN BROKEN TEST: x)", "fail")])
def test_what_the_driver_says(said, outcome):
    text = f"test: skipping tests for linear\n/x/tests/00a... {said}"
    assert runner.driver_says("00a", text) == outcome
    with pytest.raises(HarnessError):
        runner.driver_says("00b", text)


class Machine:
    """A process that lasts, like a VM's."""
    def __init__(self):
        self.process = subprocess.Popen(["sleep", "100"])
        self.pid = self.process.pid

    def running(self):
        return self.process.poll() is None


def test_crew_uses_each_directory_once_at_a_time():
    crew = Crew(["a", "b"])
    done = dict(crew.each(range(6), lambda item, directory: (item, directory)))
    assert {item: number for item, (number, _) in done.items()} == {n: n for n in range(6)}
    assert {directory for _, directory in done.values()} <= {"a", "b"}


def test_crew_left_early_kills_its_machines():
    crew = Crew(["a", "b"])
    machines = []

    def work(item, _):
        if item == 0:
            return item
        machines.append(Machine())
        crew.machines.add(machines[-1])
        return machines[-1].process.wait()

    with pytest.raises(KeyboardInterrupt):
        for item, _ in crew.each(range(20), work):
            assert item == 0
            raise KeyboardInterrupt
    assert not any(machine.running() for machine in machines)
    assert len(machines) <= 3


def test_results_depend_on_what_their_run_uses():
    """Each file in guest/ is of some run; those that never saw the wrapper outlive a change of it."""
    assert sorted(runner.guest_files("lockless")) == sorted(runner.GUEST.iterdir())
    assert [path.name for path in runner.guest_files("stock")] == ["run"]
    assert [path.name for path in runner.guest_files("ours")] == ["run"]


def test_time_for_long_scripts():
    assert runner.time_for("00a", {"01b": 1000}) == runner.TIMEOUT
    assert runner.time_for("01b", {"01b": 1000}) == 1000 * runner.PATIENCE


# -- results ---------------------------------------------------------------------------------------

KEYS = {run: f"{run} 1" for run in runner.RUNS}


def record(outcome="pass", **more):
    return {"outcome": outcome, "why": "", "mdadm": [], "nothing_to_sync": 0, "trouble": ""} | more


def filled(tmp_path, **records):
    found = results.Results(tmp_path / "progress.json", KEYS)
    for run, one in records.items():
        found.add("00a", run, one)
    return found


def explanations(tmp_path, *lines):
    path = tmp_path / "explained.tsv"
    path.write_text("# comment\n" + "".join(f"{line}\n" for line in lines))
    return results.read_explanations(path)


WARNING = "[   12.5] WARNING: CPU: 0 PID: 96 at drivers/md/md.c:81 md_stop+0x1f/0x90 [md_mod]\nmore"
THE_SAME = "[    9.1] WARNING: CPU: 1 PID: 7 at /x/y/md.c:99 md_stop+0x2e/0x91 [md_mod]\nother"
OTHER = "[    9.1] WARNING: CPU: 1 PID: 7 at /x/y/md.c:99 md_run+0x2e/0x91 [md_mod]\nother"


@pytest.mark.parametrize("stock, ours, expected", [
    (record(), record(), "pass"),
    (record(), record(nothing_to_sync=2), "pass*"),
    (record(mdadm=["-a x"]), record(mdadm=["-a x"]), "pass"),
    (record(), record(mdadm=["-a x"]), "pass+"),
    (record(), record(trouble="WARNING"), "pass!"),
    (record("fail", why="a"), record("fail", why="a"), "fail"),
    (record("fail", why="a"), record("fail", why="b"), "fail~"),
    (record("fail", why="a"), record("timeout", why="b"), "timeout"),
    (record("timeout", why="of: a"), record("timeout", why="of: a"), "timeout"),
    (record("timeout", why="of: a"), record("timeout", why="of: b"), "timeout~"),
    (record(trouble=WARNING), record(trouble=WARNING), "pass!"),
    (record(trouble=WARNING), record(trouble=THE_SAME), "pass!"),
    (record(trouble=WARNING), record(trouble=OTHER), "pass!~"),
    (record(trouble=WARNING), record(trouble="BUG: a"), "pass!~"),
    (record(), record(made=1), "pass"),
    (record(), record(made=0), "pass0"),
    (record("skip"), record("skip", made=0), "skip"),
])
def test_label(stock, ours, expected):
    assert results.label(ours, stock) == expected


def test_a_difference_wants_its_explanation(tmp_path):
    found = filled(tmp_path, stock=record(), ours=record(), lockless=record("fail", why="no -X"))
    lines, unexplained = results.report(found, ["00a"], {})
    assert unexplained == 1
    assert any("NOT EXPLAINED" in line for line in lines) and any("no -X" in line for line in lines)
    known = explanations(tmp_path, "00a\tlockless\tfail\tmdadm -X cannot read it\tit said: no -X")
    lines, unexplained = results.report(found, ["00a"], known)
    assert unexplained == 0
    assert any("mdadm -X cannot read it" in line for line in lines)
    # a worse result is not what was explained
    found.add("00a", "lockless", record("panic"))
    lines, unexplained = results.report(found, ["00a"], known)
    assert unexplained == 1
    assert any(line.startswith("stale explanation: 00a lockless fail") for line in lines)


@pytest.mark.parametrize("other", [
    {"why": "the file system is corrupt"},
    {"mdadm": ["-X a", "-A b"]},
    {"mdadm": []},
    {"nothing_to_sync": 2},
    {"made": 0},
])
def test_another_failure_is_not_explained_away(tmp_path, other):
    """Under the same label: what it said, which commands failed, how often there was nothing."""
    usual = {"why": "bad counts: 7", "mdadm": ["-X a"], "nothing_to_sync": 1}
    known = explanations(tmp_path, "00a\tlockless\tfail*+\tno -X\tit said: bad counts: \\d "
                         "\\| failed: mdadm -X a \\| nothing to sync: 1")
    found = filled(tmp_path, stock=record(), lockless=record("fail", **usual))
    assert results.report(found, ["00a"], known)[1] == 0
    found.add("00a", "lockless", record("fail", **usual | other))
    lines, unexplained = results.report(found, ["00a"], known)
    assert unexplained == 1 and any("NOT EXPLAINED" in line for line in lines)


def test_what_only_stock_modules_do_is_evidence(tmp_path):
    known = explanations(tmp_path, "00a\tlockless\tpass\tno reshape\t"
                         "failed on stock modules only: mdadm -G a \\| "
                         "on stock modules only: WARNING.*")
    worse = record(trouble="WARNING: CPU 0\nmore", mdadm=["-G a"])
    found = filled(tmp_path, stock=worse, lockless=record())
    assert results.report(found, ["00a"], known)[1] == 0
    found.add("00a", "stock", worse | {"trouble": "BUG: another"})
    assert results.report(found, ["00a"], known)[1] == 1


def test_stale_only_where_it_was_run(tmp_path):
    known = explanations(tmp_path, "00a\tours\tfail\tx\ty")
    assert results.stale(filled(tmp_path, stock=record()), ["00a"], known) == []
    both = filled(tmp_path, stock=record(), ours=record())
    assert results.stale(both, ["00a"], known) and results.stale(both, ["01b"], known) == []


@pytest.mark.parametrize("line", ["00a ours fail x y", "00a\tstock\tfail\tx\ty",
                                  "00a\tours\tfail\tx", "00a\tours\tfail\t\ty",
                                  "00a\tours\tfail\tx\t(", "00a\tours\tfail\tx\t.*",
                                  "00a\tours\tfail\tx\ty\n00a\tours\tfail\ty\tz"])
def test_nonsense_in_explanations(tmp_path, line):
    with pytest.raises(ValueError):
        explanations(tmp_path, line)


def test_resumed(tmp_path):
    filled(tmp_path, stock=record(), ours=record())
    again = results.Results.load(tmp_path / "progress.json", KEYS | {"ours": "other modules"})
    assert again.get("00a", "stock")
    assert not again.get("00a", "ours")


def test_our_explanations():
    known = results.read_explanations(HERE / "explained.tsv")
    done = subprocess.run([HERE / "suite", "--cached"], stdout=subprocess.PIPE, text=True,
                          check=True)
    if not done.stdout.strip():
        pytest.skip("the suite is not in the cache")
    found = selection.scripts(pathlib.Path(done.stdout.strip()))
    assert {one.script for one in known.values()} <= {name for name in found if not found[name]}

# SPDX-License-Identifier: GPL-2.0-or-later
"""Events lost while transitions happen as fast as this machine makes them, default buffers."""
import json

import ramdisks
from figure import Figure
from instructions import AUDIT, Watchers

TWO_CPUS = {"disks": 0, "cpus": 2, "memory": "2G"}     # for VMOptions
RECORDING = "/run/bench.llbrec"
RECORD = f"llbitmapctl record --json -o {RECORDING}"

# Every chunk is written to, then discarded, by two processes; `flush` ends the discards.
# $1 the array, $2 seconds, $3 its chunks, $4 KiB of a chunk
LOAD = r"""
end=$((SECONDS + $2)) rounds=0 half=$(($3 / 2)) dev=$1 kib=$4
load() {
	fio --name=load --filename=$dev --direct=1 --ioengine=libaio --iodepth=32 --numjobs=2 \
		--size=$((half * kib))k --offset_increment=$((half * kib))k --number_ios=$half \
		--iodepth_batch=32 --iodepth_batch_complete_min=32 --output=/dev/null "$@" || exit
}
while [ $SECONDS -lt $end ]; do
	load --rw=write:$((kib - 4))k --bs=4k
	load --rw=trim --bs=${kib}k
	echo 1 > /sys/block/${dev##*/}/md/llbitmap/flush || exit
	rounds=$((rounds + 1))
done
echo $rounds
"""


def lost(audit, record, replayed):
    """Events, by what the three say."""
    return sum(audit["lost"].values()) + audit["missing"] + record["lost"] + replayed["missing"]


def measure(vm, quick):
    seconds = 10 if quick else 60
    ramdisks.load_ramdisks(vm)
    array = ramdisks.create(vm, 1, "llbitmap")
    chunks = array.metadata()["chunks"]
    with Watchers(vm, AUDIT, RECORD, statuses=(0, 3)) as watchers:     # 3: that is the figure
        begin = float(vm.read("/proc/uptime").split()[0])
        argv = ["bash", "-c", LOAD, "load", array, seconds, chunks, ramdisks.CHUNK_KIB]
        rounds = int(vm.run(argv, timeout=seconds + 120).stdout)
        took = float(vm.read("/proc/uptime").split()[0]) - begin
    audit, record = map(json.loads, watchers.stdout)
    transitions = audit["events"]["transition"]
    if transitions < 2 * (chunks - 1) * rounds:
        raise RuntimeError(f"only {transitions} transitions of {chunks} chunks in {rounds} rounds")
    replayed = json.loads(vm.run(f"llbitmapctl replay --json {RECORDING}", timeout=120,
                                 check=False).stdout)
    yield Figure(f"events lost in {took:.0f} s, {transitions / took:.0f} transitions/s", "events",
                 lost(audit, record, replayed), 0, f"{AUDIT} & {RECORD} & (writes and whole discards in turn, 2 CPUs: "
                          "tests/bench/loss.py)")
    array.destroy()

# SPDX-License-Identifier: GPL-2.0-or-later
# Put behind the suite's func.sh in the lockless run. The scripts wait for the first sync of an
# array, and for recoveries of arrays that hold nothing; a lockless bitmap knows that there is
# nothing to copy, or is through before anybody looks. `check resync` and `check recovery` are then
# content with arrays that have nothing left to sync, and say so in the script's log.

eval "suite_$(declare -f check)"

# every array has such a bitmap, knows of no chunk to sync, and has no spare to fill
nothing_to_sync() {
	local md member
	for md in /sys/block/md*/md; do
		grep -qs '\[llbitmap\]' $md/bitmap_type || return 1
		grep -qE '^(need sync|syncing) [1-9]' $md/llbitmap/bits && return 1
		[ "$(cat $md/degraded)" = 0 ] && continue
		for member in $md/dev-*; do
			grep -q spare $member/state && return 1
		done
	done
	return 0
}

status() {
	return $1
}

check() {
	local before=$?		# `check opposite_result` looks at it
	case $1 in
	resync | recovery)
		local try
		for try in $(seq 20); do		# a busy host takes its time to begin
			grep -q "$1" /proc/mdstat && return 0
			if nothing_to_sync; then
				echo "llbitmap: nothing left for $*"
				return 0
			fi
			sleep 0.5
		done
		;;
	esac
	status $before
	suite_check "$@"
}

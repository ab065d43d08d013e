#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""usage: tests/vm/breaks.py [--list] [--build-only] [--again] [NAME...]

Proves that tests can fail: builds the md modules with one mend taken out at a time (of the patched
drivers/md, or of the one in MD_SRC) and runs the tests that are there for it, which must fail: of
each test some case, on each level that it has. Exit status 1 if any of them passes. The table of
tests/vm/PITFALLS.md names these breaks.

All of them take hours: what came of each test stands in build/breaks/progress.json, and the same
command goes on after Ctrl-C. It is done again once the modules, the test's file or what the tests
share are others.
"""
import argparse
import contextlib
import hashlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
from xml.etree import ElementTree

from vmtest import planted
from vmtest.campaign import interruptible, keep
from vmtest.environment import TOP, VM_DIR, build_dir

# name: (file, text in it, what stands there instead, tests)
BREAKS = {
    "data-before-bitmap": (
        "md-llbitmap-commit.c", "\tif (sync) {\n\t\tunplug.err = llb_make_durable(llb);",
        "\tif (true)\n\t\treturn 0;\n\tif (sync) {\n\t\tunplug.err = llb_make_durable(llb);",
        "test_write.py::test_dirty_is_on_disk_before_the_data test_write.py::test_order_under_load "
        "test_parity_order.py::test_bitmap_before_data_and_parity"),
    "second-writer-goes-on": (
        "md-llbitmap-write.c", "\tpending = llb_any_unsafe(p, part->off, part->end);",
        "\tpending = changed;", "test_write.py::test_second_plugged_writer_waits "
        "test_parity_order.py::test_second_writer_waits"),
    "change-in-flight-forgotten": (
        "md-llbitmap-commit.c", "\t\tWRITE_ONCE(p->seq_durable, p->seq_writing);",
        "\t\tp->seq_durable = p->seq_last;\n\t\tp->needs_write = false;\n"
        "\t\tbitmap_zero(p->unsafe_now, LLB_PAGE_BYTES);",
        "test_write.py::test_change_while_its_page_is_written"),
    "degraded-tested-early": (
        "md-llbitmap-daemon.c", "\tif (llb_failure_unrecorded(mddev) || READ_ONCE(mddev->degraded))\n\t\treturn 0;\n\treturn events;",
        "\treturn events;",
        "test_write.py::test_member_fails_while_the_page_drains",
        ("md-llbitmap-daemon.c", "\tif (READ_ONCE(mddev->degraded) || flushes++ ==",
         "\tif (flushes++ =="),
        ("md-llbitmap-state.c", "(flags & LLB_F_DEGRADED) || !has_all(flags, LLB_F_DRAINED",
         "!has_all(flags, LLB_F_DRAINED")),
    "byte-before-page": (
        "md-llbitmap-write.c", "\tif (!io->sectors) {\n\t\tio->nr_pages = 0;",
        "\tbool safe = llb_all_safe(llb, first, last);\n\n"
        "\tif (!io->sectors) {\n\t\tio->nr_pages = 0;",
        "test_write.py::test_clean_is_drained_and_flushed",
        ("md-llbitmap-write.c", "\tif (!io->discard && llb_all_safe(llb, first, last)) {",
         "\tif (!io->discard && safe) {")),
    "clean-without-drain": (
        "md-llbitmap-daemon.c",
        "\tint ret = llb_page_suspend(p);\n\n\tif (ret)\n\t\treturn ret;\n\tret = llb_clean_drained(llb, p);\n\tllb_page_resume(p);\n\treturn ret;",
        "\treturn llb_clean_drained(llb, p);",
        "test_write.py::test_clean_is_drained_and_flushed test_write.py::test_write_behind_is_waited_for",
        ("md-llbitmap-state.c", "\tif (percpu_ref_is_zero(&p->active))\n", "")),
    "clean-without-flush": (
        "md-llbitmap-daemon.c", "\terr = llb_flush_members(llb);", "\terr = 0;",
        "test_write.py::test_clean_is_drained_and_flushed"),
    "endsync-slips-past-the-flush": (
        "md-llbitmap-daemon.c", "\t\tif (p->seq_ended != ended) {", "\t\tif (0) {",
        "test_endsync.py::test_sync_that_ends_while_the_members_are_flushed"),
    "sync-error-for-all": (
        "md-llbitmap-sync.c", "\twhile (llb_next_span(llb, &span, llb_chunk(llb, sector), last))",
        "\tlast = llb->chunks - 1;\n\twhile (llb_next_span(llb, &span, 0, last))",
        "test_endsync.py::test_what_cannot_be_synced_is_left_alone"),
    "behind-writes-not-held": (
        "md-llbitmap-write.c", "\t\tpercpu_ref_get(&p->active);\n\tatomic_inc", "\t\t;\n\tatomic_inc",
        "test_write.py::test_write_behind_is_waited_for "
        "test_behind.py::test_power_cut_with_a_write_behind"),
    "busy-pages-cleaned": (
        "md-llbitmap-daemon.c", "\treturn time_after_eq(jiffies,", "\treturn true || time_after_eq(jiffies,",
        "test_write.py::test_daemon_cleans_idle_pages_only"),
    "timer-never-stops": (
        "md-llbitmap-daemon.c", "\t\tllb_want_resync(llb);\n\tif (llb_count(llb, LLB_DIRTY))\n\t\tllb_daemon_kick(llb);",
        "\t\tllb_want_resync(llb);\n\tllb_daemon_kick(llb);", "test_write.py::test_daemon_cleans_idle_pages_only"),
    "timeout-without-resume": (
        "md-llbitmap-page.c", "\t\tllb_page_resume(p);\n\t\treturn -ETIMEDOUT;", "\t\treturn -ETIMEDOUT;",
        "test_write.py::test_drain_that_times_out"),
    "resume-without-wake-up": (
        "md-llbitmap-page.c", "\tpercpu_ref_resurrect(&p->active);\n\twake_up_all(&p->wait);",
        "\tpercpu_ref_resurrect(&p->active);",
        "test_write.py::test_clean_is_drained_and_flushed"),
    "nowait-sleeps": (
        "md.c", "\t\t.nowait = bio->bi_opf & REQ_NOWAIT,", "\t\t.nowait = false,",
        "test_write.py::test_nowait"),
    "partial-discard-whole": (
        "md-llbitmap-write.c",
        "\t*first = llb_chunk(llb, io->offset + size - 1);",
        "\t*first = llb_chunk(llb, io->offset);\n\tend = round_up(end, size);",
        "test_discard.py::test_partial_discard_loses_nothing"),
    "write-does-not-clip": (
        "md-llbitmap-write.c", "\t\tif (r->discard != mine)\n\t\t\tllb_clip_range(r, off, end);",
        "\t\tif (0)\n\t\t\tllb_clip_range(r, off, end);",
        "test_discard.py::test_write_during_a_discard"),
    "discard-errors-dropped": (
        "md-llbitmap-write.c", "\t\td->ok = !READ_ONCE(io->discard_failed);", "\t\td->ok = true;",
        "test_discard.py::test_member_without_discard "
        "test_discard.py::test_member_that_fails_discards "
        "test_discard.py::test_member_with_parity_that_fails_discards"),
    "discard-without-flush": (
        "md-llbitmap-write.c", "llb_finish_ranges(p, list, llb_flush_members(llb) == 0);",
        "llb_finish_ranges(p, list, true);",
        "test_discard.py::test_unwritten_only_after_the_members_have_it_durably"),
    "raid10-discard-not-waiting": (
        "raid10.c", "\t\tif (!err && md_write_pending(bio)) {", "\t\tif (0) {",
        "test_write.py::test_whole_stripes_are_discarded_behind_the_bitmap"),
    "degraded-writes-dirty": (
        "md-llbitmap-state.c", "\t\tif (from <= LLB_CLEAN && (flags & LLB_F_DEGRADED))",
        "\t\tif (0)", "test_members.py::test_re_add_copies_what_was_written "
        "test_parity_members.py::test_re_added_member"),
    "degraded-daemon-cleans": (
        "md-llbitmap-daemon.c", "READ_ONCE(mddev->degraded)", "0",
        "test_members.py::test_re_add_copies_what_was_written "
        "test_parity_members.py::test_re_added_member",
        ("md-llbitmap-state.c", "(flags & LLB_F_DEGRADED) || !has_all(flags, LLB_F_DRAINED",
         "!has_all(flags, LLB_F_DRAINED")),
    "recovery-in-member-sectors": (
        "raid10.c", "\t\t\tcan_skip = md_bitmap_can_skip(mddev, sect, &sync_blocks,",
        "\t\t\tcan_skip = md_bitmap_can_skip(mddev, sector_nr, &sync_blocks,",
        "test_members.py::test_spare_gets_everything[10-3-n2-4-16384]"),
    "spare-keeps-its-slot": (
        "md.c", "\tsysfs_notify_dirent_safe(rdev->sysfs_state);\n\tmd_scrap_saved_slots(mddev);\n",
        "\tsysfs_notify_dirent_safe(rdev->sysfs_state);\n",
        "test_members.py::test_spare_that_was_a_member",
        ("md.c", "\t\t/* fewer members may make it complete */\n\t\tmd_scrap_saved_slots(mddev);\n", "")),
    "failed-member-seems-current": (
        "md.c", "\t    failed_member_seems_current(mddev) ||\n", "",
        "test_faults.py::test_member_fails_as_the_array_goes_clean"),
    "sync-ends-at-each-skip": (
        "raid10.c", "\t*skipped = 1;\n\treturn max_sector - sector_nr;\n",
        "\tmddev->bitmap_ops->close_sync(mddev);\n\t*skipped = 1;\n\treturn max_sector - sector_nr;\n",
        "test_members.py::test_re_add_copies_what_was_written[10-4] "
        "test_endsync.py::test_what_cannot_be_synced_is_left_alone[10-4-with_a_bad_block_behind_them]",
        ("raid10.c", "\t\t\tif (!must_sync) {\n",
         "\t\t\tif (!must_sync) {\n\t\t\t\tmddev->bitmap_ops->close_sync(mddev);\n")),
    "sync-ends-after-some-skips": (
        "raid10.c", "\t*skipped = 1;\n\treturn max_sector - sector_nr;\n",
        "\t*skipped = 1;\n\treturn sync_end - sector_nr;\n",
        "test_endsync.py::test_resync_without_a_member"),
    "reader-waits-for-ever": (
        "md-llbitmap.c", "\tstats->behind_wait = wq_has_sleeper(&llb->behind_wait);\n", "",
        "test_behind.py::test_reader_does_not_wait_for_ever"),
    "anybody-acks-superblocks": (
        "md.c", "\tif (!mddev->external)\n\t\treturn;\n\tclear_bit(MD_SB_CHANGE_PENDING",
        "\tclear_bit(MD_SB_CHANGE_PENDING",
        "test_refused.py::test_nobody_can_say_that_the_superblocks_are_written"),
    "resync-not-first": (
        "md-llbitmap-state.c",
        "\t\tif (from == LLB_NEEDSYNC && has_all(flags, LLB_F_RECOVERING | LLB_F_COPIES))\n\t\t\treturn LLB_NONE;\n",
        "", "test_members.py::test_recovery_leaves_unequal_copies_to_a_resync"),
    "events-cleared-not-kept": (
        "md-llbitmap-daemon.c", "\t\tif (READ_ONCE(llb->events_cleared) != events) {", "\t\tif (0) {",
        "test_members.py::test_member_that_left_while_others_joined",
        ("md-llbitmap-daemon.c", " &&\n\t\t    READ_ONCE(llb->events_cleared) == events)", ")")),
    "replaced-member-not-blocked": (
        "raid1.c", "\t\t\t\tset_bit(Blocked, &rdev->flags);\n\t\t\t\tset_bit(Faulty,",
        "\t\t\t\tset_bit(Faulty,",
        "test_members.py::test_cut_as_a_replacement_becomes_active",
        ("raid10.c", "\t\t\t\tset_bit(Blocked, &tmp->rdev->flags);\n\t\t\t\tset_bit(Faulty,",
         "\t\t\t\tset_bit(Faulty,"),
        ("raid5.c", "\t\t\t\tset_bit(Blocked, &rdev->flags);\n\t\t\t\tset_bit(Faulty,",
         "\t\t\t\tset_bit(Faulty,")),
    "stripes-go-past-a-blocked-member": (
        "raid5.c", "\t\tif (rdev && unlikely(rdev_failure_unrecorded(rdev)) &&\n", "\t\tif (0 &&\n",
        "test_members.py::test_cut_as_a_replacement_becomes_active[5-3] "
        "test_members.py::test_cut_as_a_replacement_becomes_active[6-4]"),
    "events-cleared-ahead": (
        "md-llbitmap-daemon.c", "\t\t\tevents = min(events, written);", "\t\t\t;",
        "test_faults.py::test_member_fails_as_the_array_goes_active"),
    "broken-goes-on-silently": (
        "md-llbitmap-commit.c",
        "\tset_mask_bits(&mddev->sb_flags, 0,\n\t\t      BIT(MD_SB_CHANGE_DEVS) | BIT(MD_SB_CHANGE_PENDING));\n",
        "", "test_members.py::test_no_member_takes_bitmap_writes"),
    "refused-superblocks-count": (
        "md-llbitmap-commit.c", "\t\tif (test_bit(MD_BROKEN, &mddev->flags)) {", "\t\tif (0) {",
        "test_refused.py::test_write_that_nothing_can_tell_of[1-2-given-up] "
        "test_refused.py::test_write_that_nothing_can_tell_of[10-4-given-up]"),
    "failure-told-in-vain": (
        "md-llbitmap-io.c", "\treturn ret || test_bit(MD_BROKEN, &mddev->flags);", "\treturn ret;",
        "test_refused.py::test_write_that_nothing_can_tell_of[1-2-failed] "
        "test_refused.py::test_write_that_nothing_can_tell_of[10-4-failed]"),
    "refused-write-tried-again": (
        "raid1.c", "\tif (bio->bi_status && test_bit(R1BIO_Refused, &r1_bio->state)) {", "\tif (0) {",
        "test_bad_blocks.py::test_write_that_nothing_can_tell_of[1-2] "
        "test_bad_blocks.py::test_write_that_nothing_can_tell_of[10-4]",
        ("raid10.c", "\tif (bio->bi_status && test_bit(R10BIO_Refused, &r10_bio->state)) {",
         "\tif (0) {")),
    "refused-discard-empties": (
        "raid10.c", "\t\t\tif (err)\n\t\t\t\tmd_discard_failed(bio);\n", "",
        "test_refused.py::test_discard_that_nothing_can_tell_of[10-4-failed]",
        # without this, the rule that a degraded array empties nothing still holds
        ("md-llbitmap-state.c", "\t\tif ((flags & LLB_F_DEGRADED) ||\n\t\t    !has_all(flags, LLB_F_WHOLE",
         "\t\tif (!has_all(flags, LLB_F_WHOLE")),
    "write-errors-dropped": (
        "md-llbitmap-io.c", "\t\t\ttaken = llb_fail_member(mddev, mw->rdev);", "\t\t\t;",
        "test_members.py::test_member_that_fails_bitmap_writes"),
    "abort-counts-as-end": (
        "md-llbitmap-sync.c", "\t\tunsigned long end = llb_synced_to(llb);",
        "\t\tunsigned long end = llb->chunks;", "test_members.py::test_recovery_is_interrupted"),
    "member-at-hand-not-held": (
        "md-llbitmap-io.c", "\t\tatomic_inc(&rdev->nr_pending);\n", "",
        "test_members.py::test_member_that_goes_while_it_is_flushed",
        ("md-llbitmap-io.c", "\t\t\tif (prev)\n\t\t\t\trdev_dec_pending(prev, mddev);\n", ""),
        ("md-llbitmap-io.c", "\t\trdev_dec_pending(rdev, mddev);\n\t}\n", "\t}\n"),
        ("md-llbitmap-io.c", "\trcu_read_unlock();\n\tif (prev)\n\t\trdev_dec_pending(prev, mddev);\n",
         "\trcu_read_unlock();\n")),
    "superblock-not-waited-for": (
        "md-llbitmap-commit.c", "\treturn likely(!unplug.err) ? 0 :",
        "\treturn likely(!unplug.err || unplug.err == -EAGAIN) ? 0 :",
        "test_members.py::test_member_that_fails_bitmap_writes[1-2] "
        "test_members.py::test_member_that_fails_bitmap_writes[10-4]",
        ("md-llbitmap-commit.c", "\t\tret = -EAGAIN;\n",
         "\t\tbitmap_zero(p->unsafe_inflight, LLB_PAGE_BYTES);\n"
         "\t\tp->seq_durable = p->seq_writing;\n")),
    "chunk-ends-before-it-was-synced": (
        "md-llbitmap-sync.c", "\tunsigned long end = llb_chunk(llb, sector);",
        "\tunsigned long end = llb_chunk(llb, sector) + 1;",
        "test_reload.py::test_resync_ends_only_what_it_has_passed",
        ("md-llbitmap-sync.c", "return min(llb_chunk(llb, mddev->curr_resync), llb->chunks);",
         "return min(llb_chunk(llb, mddev->curr_resync) + 1, llb->chunks);")),
    "nothing-ends": (
        "md-llbitmap-sync.c", "\tif (first >= end)\n\t\treturn;\n", "",
        "test_reload.py::test_outdated_bitmap"),
    "superblock-in-dirty-block": (
        "md-llbitmap-state.c", "\t\tWRITE_ONCE(p->bytes[i], to);\n",
        "\t\tWRITE_ONCE(p->bytes[i], to);\n\tif (action == LLB_STARTWRITE && !p->index) {\n"
        "\t\tstruct md_rdev *rdev = list_first_entry(&llb->mddev->disks, struct md_rdev, same_set);\n"
        "\t\tunsigned int block = bdev_logical_block_size(rdev->bdev);\n\n"
        "\t\tmemset(p->bytes + round_down(off, block), to, block);\n\t}",
        "test_blocksize.py"),
    "bitmap-below-4k": (
        "md-llbitmap-io.c", "\t__bio_add_page(bio, w->copy, (end - from) * LLB_PAGE_BYTES,",
        "\t__bio_add_page(bio, w->copy, (end - from) * LLB_PAGE_BYTES -\n"
        "\t\t       (bdev_logical_block_size(bio->bi_bdev) == 512 ? 512 : 0),",
        "test_blocksize.py"),
    "stale-spares-unwritten": (
        "md-llbitmap-state.c", "\t\tif (from != LLB_NEEDSYNC && !(flags & LLB_F_USER))\n\t\t\treturn LLB_NEEDSYNC;\n",
        "", "test_reload.py::test_outdated_bitmap"),
    "bad-bytes-ignored": (
        "md-llbitmap-state.c", "\tif (from >= LLB_NR_STATES)\t/* bad-byte */\n\t\treturn LLB_NEEDSYNC;",
        "\tif (from >= LLB_NR_STATES)\n\t\treturn LLB_NONE;", "test_reload.py::test_bad_bytes"),
    "dirty-stays-dirty-at-load": (
        "md-llbitmap-state.c", "[LLB_RELOAD]\t = LLB_NEEDSYNC, [LLB_DAEMON]\t = LLB_CLEAN,",
        "[LLB_RELOAD]\t = NONE, [LLB_DAEMON]\t = LLB_CLEAN,", "test_reload.py::test_power_cut"),
    "read-only-load-writes": (
        "md-llbitmap.c", "\tif (md_is_rdwr(mddev))\n\t\terr = llb_store_outcome(llb);",
        "\terr = llb_store_outcome(llb);", "test_reload.py::test_read_only_assembly_writes_nothing"),
    "read-from-any-member": (
        "md-llbitmap.h", "\treturn rdev->raid_disk >= 0 && test_bit(In_sync, &rdev->flags) &&",
        "\treturn rdev->raid_disk >= 0 &&", "test_reload.py::test_states_come_from_an_in_sync_member"),
    "check-changes-states": (
        "md-llbitmap-sync.c", "if (sector == start && !test_bit(MD_RECOVERY_CHECK, &mddev->recovery))",
        "if (sector == start)", "test_reload.py::test_check_and_repair",
        ("md-llbitmap-state.c", "if ((flags & LLB_F_CHECK) || !(flags", "if (!(flags"),
        ("md-llbitmap-state.c", "\t\t/* degraded-sync */\n\t\tif (from == LLB_DIRTY && (flags & LLB_F_RECOVERING))",
         "\t\tif (from == LLB_CLEAN || from == LLB_DIRTY)")),
    "daemon-sleep-unchecked": (
        "md-llbitmap-sysfs.c", "kstrtouint(buf, 10, val);\n\n\tif (err)\n\t\treturn -EINVAL;\n\treturn *val < min || *val > max ? -EINVAL : 0;",
        "kstrtouint(buf, 10, val);\n\n\treturn err;",
        "test_sysfs.py::test_settings test_stop.py::test_stop[1-2]"),
    "mark-cut-off-at-the-end": (
        "md-llbitmap-sysfs.c", "\treturn *first > *last || *last >= llb->chunks ? -EINVAL : 0;",
        "\t*last = min(*last, llb->chunks - 1);\n\treturn *first > *last ? -EINVAL : 0;",
        "test_sysfs.py::test_mark_rejects_nonsense test_stop.py::test_size_changes[1-2]"),
    "bad-daemon-sleep-refused": (
        "md-llbitmap-super.c", "\t\tif (sleep >= LLB_DAEMON_SLEEP_MIN && sleep <= LLB_DAEMON_SLEEP_MAX)",
        "\t\tif (1)", "test_reload.py::test_daemon_sleep_out_of_range_on_disk"),
    "mark-forgets-the-resync": (
        "md-llbitmap-sysfs.c", "\tllb_want_resync(llb);\n\treturn err ?: len;", "\treturn err ?: len;",
        "test_sysfs.py::test_mark"),
    "header-not-counted": (
        "md-llbitmap-super.c", "\twhile (LLB_HEADER_BYTES + ((llb->blocks", "\twhile (((llb->blocks",
        "test_geometry.py"),
    "set-bits-unchecked": (
        "md.c", "\tif (chunks && (first > last || last >= chunks))\n\t\treturn -EINVAL;\n", "",
        "test_sysfs.py::test_bitmap_set_bits"),
    "capacity-not-checked": (
        "md-llbitmap-resize.c", "\tif (chunks <= llb_capacity(llb))\n\t\treturn 0;",
        "\tif (chunks)\n\t\treturn 0;", "test_resize.py::test_beyond_the_capacity"),
    "new-bytes-not-durable": (
        "md-llbitmap-resize.c", "\t\terr = llb_write_page(&llb->pages[i]);", "\t\terr = 0;",
        "test_resize.py::test_new_space_waits_for_its_bytes",
        ("md-llbitmap-resize.c", "\terr = err ?: llb_write_super(llb);", "")),
    "old-bytes-come-back": (
        "md-llbitmap-resize.c", "\t\tllb_mark(llb, from, to - 1, LLB_INIT, 0);", "\t\t;",
        "test_resize.py::test_grow_and_shrink test_resize_parity.py::test_grow_and_shrink"),
    "shrinks-under-writes": (
        "md-llbitmap-resize.c", "\tint err = llb_suspend_pages(llb, first, last);", "\tint err = 0;",
        "test_resize.py::test_writes_in_flight_when_it_shrinks",
        ("md-llbitmap-resize.c",
         "\tfor (unsigned int i = first; i <= last; i++)\n\t\tllb_page_resume(&llb->pages[i]);\n", "")),
    "page-anew-when-it-grows": (
        "md-llbitmap-resize.c", "\tint err = llb_ready_pages(llb, llb_pages_for(chunks));\n\n\tfor",
        "\tint err;\n\n\tllb->nr_ready = llb_page_index(llb->chunks - 1);\n"
        "\terr = llb_ready_pages(llb, llb_pages_for(chunks));\n\tfor",
        "test_resize.py::test_write_in_flight_when_it_grows"),
    "rewrite-counts-twice": (
        "md-llbitmap.c", "\tif (!llb->sb_hold || llb->sb_held == events)", "\tif (!llb->sb_hold)",
        "test_failfast.py::test_superblock_is_written_twice"),
    "size-not-told": (
        "md-llbitmap-resize.c", "\ttrace_llbitmap_resize(", "\tif (0)\n\t\ttrace_llbitmap_resize(",
        "test_resize.py::test_under_load test_resize.py::test_under_load_with_parity"),
    "beyond-the-bitmap-believed": (
        "md-llbitmap.c", "\t\tllb_distrust_beyond(llb);\n", "\t\t(void)llb_distrust_beyond;\n",
        "test_resize.py::test_bitmap_that_tells_of_less"),
    "level-change-accepted": (
        "md.c", "\trv = -EOPNOTSUPP;\n\tif (!md_bitmap_can_reshape(mddev))\n\t\tgoto out_unlock;\n", "",
        "test_refuse.py::test_other_levels test_refuse.py::test_other_layouts "
        "test_refuse.py::test_other_layouts_of_parity"),
    "area-not-checked": (
        "md-llbitmap-super.c", "\tif (area + llb->sectors_reserved > min(", "\tif (0 && area + llb->sectors_reserved > min(",
        "test_refuse.py::test_area_runs_into_the_data"),
    "new-member-without-bitmap": (
        "md-llbitmap.c", "\tif (llb)\n\t\tllb_write_all(llb);", "\tif (llb)\n\t\treturn;",
        "test_joining.py::test_bitmap_is_there_first"),
    "bitmap-after-in-sync": (
        "md.c", "\tif (spares)\n\t\tmddev->bitmap_ops->write_all(mddev);\n", "",
        "test_joining.py::test_bitmap_is_there_first",
        ("md.c", "\tmd_update_sb(mddev, 1);\n\t/* MD_SB_CHANGE_PENDING should be cleared",
         "\tmd_update_sb(mddev, 1);\n\tmddev->bitmap_ops->write_all(mddev);\n"
         "\t/* MD_SB_CHANGE_PENDING should be cleared")),
    "member-keeps-old-bitmap": (
        "md-llbitmap.c", "\t\tllb->pages[i].needs_write = true;\n", "\t\t;\n",
        "test_joining.py::test_in_sync_member_without_the_bitmap"),
    "filler-overwritten": (
        "md-llbitmap-resize.c",
        "\tp->last = p->index < end ? LLB_PAGE_BYTES - 1 : llb_offset(chunks - 1);",
        "\tp->last = LLB_PAGE_BYTES - 1;", "test_interchange.py"),
    "runtime-flag-written": (
        "md-llbitmap-super.c", "\tsb->state = cpu_to_le32(llb->load_flags);",
        "\tsb->state = cpu_to_le32(llb->load_flags | (llb->loaded ? BIT(31) : 0));",
        "test_interchange.py"),
    "write-behind-forgotten": (
        "md-llbitmap-super.c", "\tllb->mddev->bitmap_info.max_write_behind = behind;\n", "",
        "test_behind.py::test_backlog_is_kept"),
    "log-overwritten": (
        "md-llbitmap-super.c", "\trdev->bitmap_skip_nr = end - start;", "\trdev->bitmap_skip_nr = 0;",
        "test_create.py::test_bad_block_log_in_use_is_kept"),
    "log-stays-on": (
        "md-llbitmap-super.c", "\t\trdev->badblocks.shift = -1;\n", "",
        "test_create.py::test_empty_bad_block_log_is_switched_off"),
    "kept-member-counts": (
        "md-llbitmap-io.c", "\treturn test_bit(Faulty, &rdev->flags);", "\treturn true;",
        "test_faults.py::test_member_that_md_keeps_refuses_the_bitmap "
        "test_faults.py::test_bitmaps_of_more_members_fail_than_the_array_can_lose"),
    "lost-for-the-bitmap": (
        "md-llbitmap-io.c", "\tif (mddev->pers->can_lose(mddev, rdev))\n\t\tmd_error", "\tmd_error",
        "test_faults.py::test_bitmaps_of_more_members_fail_than_the_array_can_lose"),
    "freeze-without-superblock": (
        "raid1.c", "raid1_write_sb_for_parked(conf->mddev)", "(void)0",
        "test_faults.py::test_read_error_while_writes_wait_for_the_superblock",
        ("raid10.c", "raid1_write_sb_for_parked(conf->mddev)", "(void)0")),
    "unread-chunk-counts-as-synced": (
        "raid10.c", "known to be equal */\n\t\tif (mddev->bitmap_ops->sync_error)\n",
        "known to be equal */\n\t\tif (0)\n",
        "test_faults.py::test_resync_that_can_read_no_copy"),
    "unsynced-stripes-count-as-synced": (
        "raid5.c", "\tBUG_ON(sh->batch_head);\n\traid5_not_synced(conf->mddev, sh->sector, RAID5_STRIPE_SECTORS(conf));\n",
        "\tBUG_ON(sh->batch_head);\n", "test_parity_bad_blocks.py::test_recovery_beside_a_bad_block[5-4] "
        "test_endsync.py::test_what_cannot_be_synced_is_left_alone[6-4-with_bad_blocks]"),
    "new-member-gets-no-clean-chunks": (
        "md-llbitmap-sync.c", "\tcase LLB_CLEAN:\n\t\treturn full;", "\tcase LLB_CLEAN:\n\t\treturn false;",
        "test_parity_members.py::test_members_come_and_go_under_load "
        "test_members.py::test_spare_gets_everything"),
    "bad-blocks-read": (
        "raid5.c", "\t\telse if (is_bad) {\n\t\t\t/* also not in-sync */", "\t\telse if (0) {",
        "test_parity_bad_blocks.py::test_write_to_a_bad_block"),
    "resync-without-end": (
        "md-llbitmap-daemon.c", "> READ_ONCE(llb->unsyncable)", "> 0",
        "test_faults.py::test_chunk_that_begins_with_a_bad_block "
        "test_endsync.py::test_what_cannot_be_synced_is_left_alone"),
    "pages-of-two-members": (
        "md-llbitmap.c", "\t\tllb_forget_pages(llb);\n", "",
        "test_faults.py::test_bitmap_is_read_from_one_member "
        "test_faults.py::test_other_members_have_no_bitmap_either"),
    "stored-before-decided": (
        "md-llbitmap.c", "!llb->decided || ", "",
        "test_interrupted.py::test_nothing_is_stored_before_the_load_decided"),
    "reshape-by-sync-action": (
        "raid10.c", "\tint ret;\n\n\tif (!md_bitmap_can_reshape(mddev))\n\t\treturn -EOPNOTSUPP;\n",
        "\tint ret;\n", "test_refuse.py::test_reshape_that_nobody_checked"),
    "need-sync-forgotten": (
        "md-llbitmap.c", "(llb_count(llb, LLB_DIRTY) || llb_count(llb, LLB_NEEDSYNC))",
        "llb_count(llb, LLB_DIRTY)",
        "test_members.py::test_degraded_no_more_without_a_recovery"),
    "member-to-be-filled-is-read": (
        "raid1.c", "\t\t    rdev_in_recovery(rdev, r1_bio) ||\n\t\t    test_bit(WriteMostly, &rdev->flags))",
        "\t\t    test_bit(WriteMostly, &rdev->flags))",
        "test_members.py::test_member_that_is_to_be_filled_is_not_read[1-2]"),
    "write-mostly-is-read-first": (
        "raid1.c", "\t\t    rdev_in_recovery(rdev, r1_bio) ||\n\t\t    test_bit(WriteMostly, &rdev->flags))",
        "\t\t    rdev_in_recovery(rdev, r1_bio))",
        "test_members.py::test_what_is_read_before_a_resync_is_read_behind_it"),
    "sysfs-re-add-not-asked": (
        "md.c", "\t\t\t\t\trdev->saved_raid_disk = -1;\n\t\t\t\terr = add_bound_rdev(rdev);",
        "\t\t\t\t\t;\n\t\t\t\terr = add_bound_rdev(rdev);",
        "test_interrupted.py::test_half_filled_member_that_failed_and_is_wanted_again[1-2] "
        "test_interrupted.py::test_half_filled_member_that_failed_and_is_wanted_again[10-3]"),
    "re-add-without-a-bitmap": (
        "md.c", "\t\t\t\tif (!mddev->bitmap || mddev->bitmap_ops->type ==",
        "\t\t\t\tif (mddev->bitmap && mddev->bitmap_ops->type ==",
        "test_taken_back.py::test_failed_member_without_a_bitmap"),
    "any-slot-by-the-bitmap": (
        "md.c", "\treturn rdev->saved_raid_disk == rdev->raid_disk &&\n",
        "\treturn rdev->saved_raid_disk >= 0 &&\n",
        "test_taken_back.py::test_member_in_a_slot_that_was_not_its_own"),
    "given-up-keeps-its-slot": (
        "md.c", "\t\t\telse if (!md_back_in_its_slot(rdev))\n\t\t\t\trdev->saved_raid_disk = -1;",
        "\t\t\telse\n\t\t\t\trdev->saved_raid_disk = rdev->raid_disk;",
        "test_taken_back.py::test_recovery_that_was_given_up"),
    "given-up-keeps-an-older-slot": (
        "md.c", "\t\t\telse if (!md_back_in_its_slot(rdev))\n\t\t\t\trdev->saved_raid_disk = -1;", "",
        "test_taken_back.py::test_recovery_in_another_slot_that_was_given_up"),
    "leaving-member-not-waited-for": (
        "md.c", "\twhile (mddev->bitmap && atomic_read(&rdev->nr_pending))\n\t\tmsleep(20);\n", "",
        "test_leaving.py::test_half_filled_member_that_the_bitmap_is_written_to"),
    "errors-of-a-batch-dropped": (
        "raid5.c", "\t\t\t\t(sh->dev[i].flags & R5_WRITE_OUTCOME);", "\t\t\t\t0;",
        "test_parity_bad_blocks.py::test_write_error_in_a_batch"),
    "half-filled-member-is-a-source": (
        "md.c", "\treturn mddev->level == 10 && md_bitmap_keeps_needsync(mddev) &&\n"
        "\t       md_needs_recovery(mddev);", "\treturn false;",
        "test_interrupted.py::test_half_filled_member_is_no_source[10]"),
    "any-copy-read-while-filling": (
        "md-llbitmap.c", "\t\telse\n\t\t\tmddev->resync_offset = 0;\n\t}\n\tWRITE_ONCE(llb->loaded",
        "\t\telse\n\t\t\tmddev->resync_offset = 0;\n\t\trdev_for_each(rdev, mddev)\n"
        "\t\t\tif (mddev->level == 10 && rdev->raid_disk >= 0 && !test_bit(In_sync, &rdev->flags)) {\n"
        "\t\t\t\tmddev->resync_offset = MaxSector;\n\t\t\t\tWRITE_ONCE(llb->want_resync, true);\n\t\t\t}\n"
        "\t}\n\tWRITE_ONCE(llb->loaded",
        "test_interrupted.py::test_one_copy_is_read_until_they_are_equal"),
    "part-of-a-chunk-counts": (
        "raid10.c", "(test_bit(In_sync, &rdev->flags) ||\n\t\t\t     r10_bio->devs[i].addr < conf->sync_start))",
        "test_bit(In_sync, &rdev->flags))",
        "test_interrupted.py::test_resumed_recovery_does_part_of_a_chunk"),
    "replacement-not-filled-page-by-page": (
        "raid10.c", "\t\tif (ok && wbio2 && wbio2->bi_end_io)\n", "\t\tif (0 && wbio2)\n",
        "test_recovery_errors.py::test_replacement_has_what_another_copy_has "
        "test_recovery_errors.py::test_bad_block_where_no_copy_can_be_read "
        "test_recovery_errors.py::test_no_replacement_where_no_copy_can_be_read "
        "test_recovery_errors.py::test_new_member_that_fails_the_second_try"),
    "other-copies-not-asked": (
        "raid10.c", "\t\tif (d != failed && rdev && ", "\t\tif (0 && rdev && ",
        "test_recovery_errors.py::test_replacement_has_what_another_copy_has"),
    "unread-pages-count-as-filled": (
        "raid10.c", "\tif (!uptodate)\n\t\treturn rdev_set_badblocks(rdev, addr, sectors, 0);\n",
        "\tif (!uptodate)\n\t\treturn true;\n",
        "test_recovery_errors.py::test_bad_block_where_no_copy_can_be_read "
        "test_recovery_errors.py::test_no_replacement_where_no_copy_can_be_read"),
    "unwritten-pages-count-as-filled": (
        "raid10.c", "\tif (test_bit(Replacement, &rdev->flags) ||\n"
        "\t    !rdev_set_badblocks(rdev, addr, sectors, 0))\n\t\tmd_error(rdev->mddev, rdev);\n", "",
        "test_recovery_errors.py::test_new_member_that_fails_the_second_try"),
    "bad-block-is-something-to-read": (
        "raid10.c", "\t\t\t\t/* This is where we read from */\n",
        "\t\t\t\tany_working = 1;\n\t\t\t\t/* This is where we read from */\n",
        "test_recovery_errors.py::test_one_of_two_new_members_has_nothing_to_read"),
    "failed-sync-write-counts": (
        "raid10.c", "\t\t\tif (mddev->bitmap_ops->sync_error)\n", "\t\t\tif (0)\n",
        "test_endsync.py::test_write_of_a_sync_fails_and_is_not_looked_at_yet"),
    "failure-told-after-the-count": (
        "md.c", "\tif (!ok) {\n\t\tset_bit(MD_RECOVERY_INTR,",
        "\tatomic_sub(blocks, &mddev->recovery_active);\n\twake_up(&mddev->recovery_wait);\n"
        "\tblocks = 0;\n\tif (!ok) {\n\t\tset_bit(MD_RECOVERY_INTR,",
        "test_unreadable.py::test_recovery_that_is_over_at_once"),
    "failed-recovery-stored-as-asked": (
        "md.c", "\t\t\telse if (test_bit(MD_RECOVERY_ERROR, &mddev->recovery))\n\t\t\t\t/* something",
        "\t\t\telse if (0)\n\t\t\t\t/* something",
        "test_unreadable.py::test_recovery_that_fails "
        "test_unreadable.py::test_recovery_that_fails_for_a_known_bad_block"),
    "failed-recovery-is-on-its-way": (
        "md.c", "\t\t\tif (test_bit(MD_RECOVERY_ERROR, &mddev->recovery))\n\t\t\t\tbreak;\n", "",
        "test_unreadable.py::test_recovery_that_fails"),
    "raid10-recovery-just-interrupted": (
        "raid10.c", "\t\t\tset_bit(MD_RECOVERY_ERROR, &mddev->recovery);\n\t\t\tbreak;", "\t\t\tbreak;",
        "test_unreadable.py::test_recovery_that_fails[10-2]"),
    "unreadable-ends-the-resync": (
        "raid1.c", "\t\t\tint ok = resync_leaves_out(mddev);", "\t\t\tint ok = 0;",
        "test_endsync.py::test_what_cannot_be_synced_is_left_alone[1-2-with_unreadable_copies]"),
    "unreadable-counts-as-synced": (
        "raid1.c", "\t\t\tmd_bitmap_sync_error(mddev, r1_bio->sector, r1_bio->sectors);\n", "",
        "test_endsync.py::test_what_cannot_be_synced_is_left_alone[1-2-with_unreadable_copies]"),
    "unreadable-block-ends-the-request": (
        "raid1.c", "\t\t\tif (abort && !resync_leaves_out(mddev))\n", "\t\t\tif (abort)\n",
        "test_endsync.py::test_what_lies_beside_an_unreadable_block_is_synced"),
    "unread-page-is-written": (
        "raid1.c", "\t\tif (test_bit(idx, &unread))\n\t\t\tcontinue;\n", "",
        "test_endsync.py::test_what_lies_beside_an_unreadable_block_is_synced"),
    "missed-writes-complete-at-once": (
        "raid1.c", "\t\tset_bit(R1BIO_WriteError, &r1_bio->state);\n\t\tset_bit(WriteErrorSeen,",
        "\t\tset_bit(WriteErrorSeen,",
        "test_acknowledged.py::test_write_in_flight_as_its_member_fails "
        "test_acknowledged.py::test_write_that_fails_fast "
        "test_acknowledged.py::test_write_that_a_replacement_fails",
        ("raid1.c", "\t\tif (test_bit(Faulty, &rdev->flags)) {\n\t\t\t/* Finished with this branch */\n",
         "\t\tif (!test_bit(Faulty, &rdev->flags)) {\n"
         "\t\t\tset_bit(R1BIO_WriteError, &r1_bio->state);\n\t\t} else {\n"),
        ("raid10.c", "\t\tset_bit(R10BIO_WriteError, &r10_bio->state);\n\t\tif (repl)\n", "\t\tif (repl)\n"),
        ("raid10.c", "\t\t\tif (test_bit(Faulty, &rdev->flags)) {\n\t\t\t\t/* Fail the request */\n",
         "\t\t\tif (!test_bit(Faulty, &rdev->flags)) {\n"
         "\t\t\t\tset_bit(R10BIO_WriteError, &r10_bio->state);\n\t\t\t} else {\n")),
    "raid10-waits-for-the-first-members": (
        "raid10.c", "r10_bio->sectors ? r10_bio->devs[i].devnum : i;", "i;",
        "test_acknowledged.py::test_write_that_a_replaced_member_does_not_get",
        ("raid10.c", "\tif (unlikely(missed) && ", "\tif (0 && missed && ")),
    "ends-early-after-an-error": (
        "raid1.c", "\t\t    !test_bit(R1BIO_WriteError, &r1_bio->state) &&\n", "",
        "test_behind.py::test_write_fails_and_the_one_behind_does_not"),
    "flush-leaves-out-who-failed": (
        "md.c", "\t\treturn md_is_rdwr(rdev->mddev) && rdev_failure_unrecorded(rdev);", "\t\treturn false;",
        "test_acknowledged.py::test_flush_after_the_failure"),
    "write-goes-with-its-flush": (
        "md.c", "\t\tif (parent == bio && bio_sectors(bio))\n", "\t\tif (0)\n",
        "test_preflush.py::test_commit_comes_after_its_flush"),
    "flush-errors-dropped": (
        "md.c", "\tif (bio->bi_status && bio->bi_status != BLK_STS_NOTSUPP) {", "\tif (0) {",
        "test_acknowledged.py::test_member_that_cannot_flush test_acknowledged.py::test_nobody_can_flush"),
    "failed-flush-completes-at-once": (
        "md.c", "\twhile (md_is_rdwr(mddev) && rdev_failure_unrecorded(rdev) &&\n", "\twhile (0 &&\n",
        "test_acknowledged.py::test_member_that_cannot_flush test_acknowledged.py::test_flush_after_the_failure"),
    "second-try-without-fua": (
        "raid1.c", "REQ_OP_WRITE | (wbio->bi_opf & REQ_FUA);", "REQ_OP_WRITE;",
        "test_acknowledged.py::test_second_try_is_as_durable",
        ("raid10.c", "REQ_OP_WRITE | (wbio->bi_opf & REQ_FUA);", "REQ_OP_WRITE;")),
    "nowait-sleeps-for-a-member": (
        "raid10.c", "r10_bio, bio->bi_opf & REQ_NOWAIT)) {", "r10_bio, false)) {",
        "test_write.py::test_nowait_and_a_blocked_member[10]"),
    "nowait-keeps-the-member": (
        "raid1.c", "\t\t\trdev_dec_pending(blocked_rdev, mddev);\n\t\t\tbio_wouldblock_error(bio);",
        "\t\t\tbio_wouldblock_error(bio);", "test_write.py::test_nowait_and_a_blocked_member",
        ("raid10.c", "\t\t\trdev_dec_pending(blocked_rdev, mddev);\n\t\t\treturn false;",
         "\t\t\treturn false;")),
    "behind-writes-left-to-the-end-of-a-stop": (
        "md.c", "\tmd_bitmap_wait_behind_writes(mddev);\n\tif (quiesce) {\n",
        "\tif (!quiesce)\n\t\tmd_bitmap_wait_behind_writes(mddev);\n\tif (quiesce) {\n",
        "test_behind.py::test_write_behind_fails_as_the_array_stops "
        "test_behind.py::test_write_behind_is_tried_again_as_the_array_stops"),
    "behind-writes-left-to-the-end-of-a-bitmap": (
        "md.c", "\tmd_wait_for_writes(mddev, false);\n\tif (mddev->bitmap &&", "\tif (mddev->bitmap &&",
        "test_behind.py::test_write_behind_fails_as_the_bitmap_goes"),
    "behind-writes-left-to-the-end-of-a-level": (
        "md.c", "\tmd_wait_for_writes(mddev, false);\n\trdev_for_each(", "\trdev_for_each(",
        "test_behind.py::test_write_behind_fails_as_the_level_changes"),
    "thread-waits-for-write-behind": (
        "raid1.c", "\t\tif (!err_path) {\n\t\t\tmddev_add_trace_msg", "\t\tif (true) {\n\t\t\tmddev_add_trace_msg",
        "test_behind.py::test_read_again_while_a_write_behind_fails"),
    "behind-a-read-that-was-put-off": (
        "raid1.c", "\t\t\t    list_empty(&conf->behind_read_list) &&\n", "",
        "test_behind.py::test_read_again_while_a_write_behind_fails"),
    "dm-raid-waits-for-superblocks": (
        "md.c", "\t\tif (!mddev->external || mddev_is_dm(mddev)) {\n", "\t\tif (!mddev->external) {\n",
        "test_classic.py::test_dm_raid_without_metadata_loses_a_member"),
    "one-lock-for-all-arrays": (
        "md-llbitmap-commit.c", "&llb->write_mutex", "&llb_write_mutex",
        "test_stacked.py::test_raid1_above_raid1",
        ("md-llbitmap-commit.c", "static struct workqueue_struct *llb_unplug_wq;",
         "static DEFINE_MUTEX(llb_write_mutex);\nstatic struct workqueue_struct *llb_unplug_wq;")),
    "bitmap-from-the-page-cache": (
        "md-llbitmap-commit.c", "\terr = submit_bio_wait(&bio);",
        "\tw->parent = bio_alloc_clone(llb->disk->part0, &bio, GFP_NOIO, &fs_bio_set);\n"
        "\terr = submit_bio_wait(w->parent);\n\tbio_put(w->parent);",
        "test_stress.py::test_bitmap_writes_take_no_bio_of_swap"),
    "parity-trusted-when-written": (
        "raid5.c", "\treturn !mddev->bitmap_ops->parity_valid(mddev, sh->sector);", "\treturn false;",
        "test_parity.py::test_every_member_lost_in_turn test_parity.py::test_real_loss"),
    "blocks-read-as-if-parity-were-right": (
        "raid5.c", "\tif (!force_rcw && !parity_in_doubt(sh, s))", "\tif (!force_rcw)",
        "test_parity_members.py::test_degraded_from_the_start[6-5-1]"),
    "p-and-q-disagree": (
        "raid5.c", "\tif (s->failed >= conf->max_degraded && !s->filling)\n\t\treturn false;",
        "\tif (s->failed)\n\t\treturn false;",
        "test_parity_members.py::test_degraded_from_the_start[6-5-1]"),
    "blocks-not-given-to-new-members": (
        "raid5.c", "\t\t\tlock_unfilled(sh, s);", "\t\t\t;",
        "test_parity_members.py::test_rebuild_leaves_out_what_was_never_written "
        "test_parity_members.py::test_replacement_leaves_out_what_was_never_written"),
    "blocks-of-members-gone-kept": (
        "raid5.c", "\t\tif (!test_and_clear_bit(R5_UPTODATE, &dev->flags))\n\t\t\tcontinue;",
        "\t\tif (true)\n\t\t\tcontinue;", "test_parity_members.py::test_rebuild_leaves_out_what_was_never_written "
        "test_parity_cache.py::test_writes_after_a_loss"),
    "blocks-kept-when-a-member-is-lost": (
        "raid5.c", "\t\treturn lazy && !test_bit(R5_Missing, &dev->flags);", "\t\treturn false;",
        "test_parity_cache.py::test_writes_after_the_loss_of_a_cached_member "
        "test_parity_cache.py::test_recovery_after_the_loss_of_a_cached_member"),
    "replacement-counts-early": (
        "raid5.c", "\tif (!md_bitmap_lazy_parity(mddev) ||\n\t    test_bit(In_sync, &replacement->flags))",
        "\tif (true)", "test_parity_cache.py::test_replacement_lost_half_way"),
    "replacement-filled-behind-the-check": (
        "raid5.c", "\tif ((s.replacing || s.syncing) && s.locked == 0 &&\n",
        "\tif (s.syncing && s.locked == 0 && !sh->check_state &&\n"
        "\t    !test_bit(STRIPE_COMPUTE_RUN, &sh->state) && !test_bit(STRIPE_INSYNC, &sh->state)) {\n"
        "\t\tif (conf->level == 6)\n\t\t\thandle_parity_checks6(conf, sh, &s, disks);\n"
        "\t\telse\n\t\t\thandle_parity_checks5(conf, sh, &s, disks);\n\t}\n"
        "\tif ((s.replacing || s.syncing) && s.locked == 0 &&\n",
        "test_parity_replaced.py::test_resync_of_a_half_filled_replacement "
        "test_parity_replaced.py::test_parity_is_replaced_as_a_spare_is_filled"),
    "half-filled-replacement-is-read": (
        "raid5.c", "\t    (md_bitmap_lazy_parity(mddev) &&\n\t     !test_bit(In_sync, &rdev->flags))) {",
        "\t    0) {", "test_parity_replaced.py::test_read_before_a_resync_is_read_behind_it"),
    "resync-passes-by": (
        "raid5.c", "\t\t    test_bit(MD_RECOVERY_SYNC, &conf->mddev->recovery))", "\t\t    0)",
        "test_parity.py::test_every_member_lost_in_turn"),
    "first-writes-behind-the-resync-forgotten": (
        "md-llbitmap-state.c", "\t\tWRITE_ONCE(llb->new_needsync, true);", "\t\t;",
        "test_parity.py::test_resync_is_asked_for_again"),
    "parity-forgotten-with-the-bitmap": (
        "md-llbitmap.c", "\t\tmddev->resync_offset = 0;\n\t\tset_bit(MD_SB_CHANGE_DEVS", "\t\tset_bit(MD_SB_CHANGE_DEVS",
        "test_parity.py::test_bitmap_removed_before_parity_was_built"),
    "stripes-before-bitmap": (
        "raid5.c", "\tset_bit(STRIPE_BIT_DELAY, &sh->state);\n\t/*", "\t/*",
        "test_parity_order.py::test_bitmap_before_data_and_parity"),
    "stripes-go-before-the-superblock": (
        "raid5.c", "\tif (err != -EAGAIN) {\n\t\tconf->seq_write = seq;", "\tif (true) {\n\t\tconf->seq_write = seq;",
        "test_parity_order.py::test_member_that_fails_bitmap_writes",
        # raid5 waits for superblocks in more places; without these, the first alone still holds
        ("raid5.c", "\tif (s.handle_bad_blocks ||\n\t    (md_is_rdwr(conf->mddev) &&\n"
         "\t     test_bit(MD_SB_CHANGE_PENDING, &conf->mddev->sb_flags))) {",
         "\tif (s.handle_bad_blocks) {"),
        ("raid5.c", "\t\tif (md_is_rdwr(mddev) &&\n\t\t    test_bit(MD_SB_CHANGE_PENDING,",
         "\t\tif (0 &&\n\t\t    test_bit(MD_SB_CHANGE_PENDING,"),
        ("raid5.c", "\t\tif (mddev->sb_flags & ~(1 << MD_SB_CHANGE_PENDING)) {\n"
         "\t\t\tspin_unlock_irq(&conf->device_lock);", "\t\tif (0) {\n"
         "\t\t\tspin_unlock_irq(&conf->device_lock);")),
    "check-takes-what-was-never-written": (
        "md-llbitmap-sync.c", "\tcase LLB_UNWRITTEN:\n\t\treturn false;",
        "\tcase LLB_UNWRITTEN:\n\t\treturn full;", "test_parity.py::test_check_and_repair"),
    "unbuilt-parity-checked": (
        "md-llbitmap-sync.c", "\t\treturn !(llb->parity && test_bit(MD_RECOVERY_CHECK, &mddev->recovery));",
        "\t\treturn true;", "test_parity.py::test_check_and_repair"),
    "discarded-stays-on-disk": (
        "md-llbitmap-state.c", "\tWRITE_ONCE(p->needs_write, true);\n\tp->seq_last =",
        "\tif (action != LLB_DISCARD)\n\t\tWRITE_ONCE(p->needs_write, true);\n\tp->seq_last =",
        "test_parity_members.py::test_discarded_is_unwritten_on_disk"),
    "discards-for-all-members": (
        "raid5.c", "\tif (!raid5_all_discard(conf)) {", "\tif (0) {",
        "test_parity_members.py::test_member_without_discard"),
    "parity-reshaped": (
        "raid5.c", "\tif (!md_bitmap_can_reshape(mddev))\n\t\treturn -EOPNOTSUPP;\n", "",
        "test_refuse.py::test_other_layouts_of_parity"),
    "parity-array-not-clean-while-built": (
        "md-llbitmap-daemon.c", "\tif (!llb->parity)\n\t\tmddev->resync_offset = 0;",
        "\tmddev->resync_offset = 0;", "test_parity.py::test_stopped_while_parity_is_built"),
    # what an array may be
    "other-members-bitmap-kept": (
        "md-llbitmap.c", "\t\tllb->pages[i].needs_write = true;\n", "\t\t;\n",
        "test_geometry.py::test_a_member_with_another_bitmap"),
    "only-changed-pages-stored": (
        "md-llbitmap.c", "\t\tllb->pages[i].needs_write = true;\n", "\t\t;\n",
        "test_geometry.py::test_what_only_one_member_has"),
    "bitmap-not-outrun": (
        "md-llbitmap.c", "\t\tllb_outrun(llb);\n", "\t\t;\n",
        "test_faults.py::test_bitmap_is_given_up_as_the_array_goes_clean"),
    "bitmap-lowered-first": (
        "md.c", "\tif (!lowered)\n\t\tmddev->bitmap_ops->update_sb",
        "\tmddev->bitmap_ops->update_sb",
        "test_faults.py::test_cut_as_the_array_goes_clean"),
    "added-without-flush": (
        "md-llbitmap.c", "\tif (llb->added)\n\t\terr = llb_flush_members(llb);\n", "",
        "test_create.py::test_added_to_a_running_array"),
    "removed-while-filling": (
        "md-llbitmap.c", "\tif (wrong && mddev->level == 10 && llb_member_filling(mddev)) {",
        "\tif (0) {", "test_refuse.py::test_removal_while_a_member_is_filled"),
    "choice-outlives-the-bitmap": (
        "md.c", "\tmd_bitmap_choose(mddev, MD_BITMAP_NONE);\n", "",
        "test_selection.py::test_removed_and_classic_instead"),
    "location-of-a-refused-bitmap": (
        "md.c", "\t\t\tif (rv) {\n\t\t\t\tmddev->bitmap_info.offset = 0;\n", "\t\t\tif (rv) {\n",
        "test_selection.py::test_refused_by_ioctl"),
    "log-off-before-it-is-certain": (
        "md-llbitmap.c", "\t\terr = llb_check_member(llb, rdev);\n\t\tif (err)\n\t\t\treturn err;\n",
        "\t\terr = llb_check_member(llb, rdev);\n\t\tif (err)\n\t\t\treturn err;\n"
        "\t\tllb_take_area(llb, rdev);\n",
        "test_bad_blocks.py::test_refused_bitmap_leaves_the_log_alone"),
    "stop-keeps-the-superblock": (
        "md.c", "\tif (mddev->stop_waits &&\n", "\tif (false && mddev->stop_waits &&\n",
        "test_faults.py::test_reboot_while_a_member_fails"),
    "log-off-for-ever": (
        "md-llbitmap-super.c", "\t\trdev->badblocks.shift = 0;\n", "\t\t;\n",
        "test_bad_blocks.py::test_log_is_back_when_the_bitmap_is_gone"),
    "superblock-first": (
        "md-llbitmap-commit.c", "\terr = llb_write_wanted(llb, 1, READ_ONCE(llb->nr_pages), wanted);",
        "\terr = llb_write_wanted(llb, 0, 1, wanted) ?:\n"
        "\t      llb_write_wanted(llb, 1, READ_ONCE(llb->nr_pages), wanted);",
        "test_geometry.py::test_a_member_with_another_bitmap"),
    "outcome-not-stored": (
        "md-llbitmap.c", "\tint err = llb_write_changed(llb);\n\n\tif (err)\n\t\treturn err;\n",
        "\tint err;\n\n", "test_geometry.py::test_stale_is_stored_before_it_is_over"),
    "outcome-after-the-superblock": (
        "md-llbitmap.c", "\tint err = llb_write_changed(llb);\n\n\tif (err)\n\t\treturn err;\n",
        "\tint err;\n\n", "test_geometry.py::test_stale_is_stored_before_it_is_over",
        ("md-llbitmap.c", "\terr = llb_write_page(&llb->pages[0]);\n\tif (err)\n\t\treturn err;\n"
         "\tWRITE_ONCE(llb->events_cleared",
         "\terr = llb_write_page(&llb->pages[0]) ?: llb_write_changed(llb);\n"
         "\tif (err)\n\t\treturn err;\n\tWRITE_ONCE(llb->events_cleared")),
    "uuid-not-checked": (
        "md-llbitmap-super.c",
        "le32_to_cpu(sb->version) == BITMAP_MAJOR_LOCKLESS &&\n"
        "\t       !memcmp(sb->uuid, mddev->uuid, sizeof(sb->uuid));",
        "le32_to_cpu(sb->version) == BITMAP_MAJOR_LOCKLESS;",
        "test_arrays.py::test_bitmap_of_another_array"),
    "stale-believed": (
        "md-llbitmap.c", "\tif (llb->load_events >= events &&\n", "\tif (true || llb->load_events >= events &&\n",
        "test_arrays.py::test_bitmap_behind_the_array test_arrays.py::test_read_only_with_a_stale_bitmap"),
    "read-only-outcome-written": (
        "md-llbitmap.c", "\tif (md_is_rdwr(mddev))\n\t\terr = llb_store_outcome(llb);",
        "\terr = llb_store_outcome(llb);",
        "test_arrays.py::test_read_only_with_a_stale_bitmap "
        "test_arrays.py::test_read_only_from_the_first_day test_arrays.py::test_read_only_and_degraded"),
    "new-for-ever": (
        "md-llbitmap.c", "\tif (llb->added || llb->array_events <= LLB_NEW_EVENTS)",
        "\tif (true)", "test_faults.py::test_new_bitmap_that_no_member_takes"),
    "outcome-never-stored": (
        "md-llbitmap.c", "(llb->stored || !llb_store_outcome(llb))", "true",
        "test_arrays.py::test_read_only_from_the_first_day"),
    "area-of-first-member-only": (
        "md-llbitmap.c", "\t\terr = llb_check_member(llb, rdev);\n\t\tif (err)\n\t\t\treturn err;\n",
        "\t\terr = llb_check_member(llb, rdev);\n\t\tif (err)\n\t\t\treturn err;\n\t\tbreak;\n",
        "test_strangers.py::test_area_runs_into_the_data_of_one_member"),
    "added-member-not-checked": (
        "md-llbitmap.c", "\tint err = llb_check_member(llb, rdev);", "\tint err = 0;",
        "test_strangers.py::test_member_whose_data_are_in_the_way"),
    "metadata-not-checked": (
        "md.c", "\tif (mddev->major_version != 1 || mddev->minor_version != 2)\n", "\tif (false)\n",
        "test_strangers.py::test_other_metadata_with_such_a_bitmap"),
    "submitter-waits-for-the-bitmap": (
        "md-llbitmap.c", "\t.group_writes\t\t= true,\n", "",
        "../bench/test_cold_writes.py::test_share_of_bitmap_writes"),
    "lone-writer-waits": (
        "md-llbitmap-commit.c", "min(READ_ONCE(llb->concurrency) / 2, LLB_GROUP_MAX)", "LLB_GROUP_MAX",
        "../bench/test_cold_writes.py::test_lone_writer_waits_for_nobody"),
    "page-by-page": (
        "md-llbitmap.h", "#define LLB_WRITE_PAGES\t\t32", "#define LLB_WRITE_PAGES\t\t1",
        "../bench/test_cold_writes.py::test_neighbouring_pages_in_one_write"),
    "neighbours-dirty-as-well": (
        "md-llbitmap-write.c",
        "\t\treturn llb_transition(p, part->off, part->end, LLB_STARTWRITE, 0);",
        "\t\treturn llb_transition(p, max(p->first, part->off & ~7u), min(p->last, part->end | 7u),\n"
        "\t\t\t\t      LLB_STARTWRITE, 0);",
        "../bench/test_cold_writes.py::test_power_cut"),
    "handlers-write-read-only": (
        "md-llbitmap-sysfs.c", "\tif (!err && !md_is_rdwr(mddev))\n\t\terr = -EROFS;\n", "",
        "test_stop.py::test_read_only_and_back"),
    "classic-handlers-cast": (
        "md-bitmap.c", "\tif (mddev->bitmap && mddev->bitmap_ops != &md_bitmap_ops)", "\tif (0)",
        "test_sysfs.py::test_classic_attributes"),
    "timer-after-destroy": (
        "md-llbitmap.c", "\tcancel_delayed_work_sync(&llb->daemon_work);\n\trdev_for_each(rdev, mddev)",
        "\trdev_for_each(rdev, mddev)", "test_stress.py::test_timer_ends_with_the_bitmap"),
    "file-without-its-mark": (
        "md-llbitmap-io.c", "\tmapping_set_unevictable(llb->file->f_mapping);",
        "\tmapping_set_unevictable(llb->file->f_mapping);\n\tllb->file->private_data = NULL;",
        "test_stress.py::test_stop_and_assemble_again_and_again"),
    "file-without-its-reference": (
        "md-llbitmap-io.c", "\tget_device(disk_to_dev(disk));\t\t/* the file's */\n", "",
        "test_stress.py::test_stop_and_assemble_again_and_again"),
    "disk-name-cut-off": (
        "md-llbitmap-io.c", "\tif (snprintf(name, DISK_NAME_LEN, \"%s_bitmap\", mdname(mddev)) >= DISK_NAME_LEN)\n"
        "\t\tsnprintf(name, DISK_NAME_LEN, \"md%d_bitmap\", mddev->md_minor);",
        "\tsnprintf(name, DISK_NAME_LEN, \"%s_bitmap\", mdname(mddev));",
        "test_sysfs.py::test_long_names"),
    "anybody-may-have-one": (
        "md.c", "\t\tif (why) {\n\t\t\tpr_err(\"md/%s: llbitmap refused", "\t\tif (0) {\n\t\t\tpr_err(\"md/%s: llbitmap refused",
        "test_refuse.py::test_external_metadata test_refuse.py::test_other_metadata"),
    "array-not-checked": (
        "md-llbitmap.c", "\tint err = llb_check_array(mddev);",
        "\tint err = llb_check_array(mddev) & 0;",
        "test_refuse.py::test_journal test_refuse.py::test_partial_parity_log"),
    "any-version-is-ours": (
        "md-llbitmap-super.c", "\t       le32_to_cpu(sb->version) == BITMAP_MAJOR_LOCKLESS &&\n", "",
        "test_refuse.py::test_cluster"),
}


def edits(name):
    """(file, text in it, what stands there instead) of a break."""
    spec = BREAKS[name]
    return [spec[:3], *spec[4:]]


def plant(name, md):
    """Takes the mend out of a copy of drivers/md."""
    for file, old, new in edits(name):
        text = (md / file).read_text(encoding="utf-8")
        if old not in text:
            raise SystemExit(f"{file} has changed; it no longer contains:\n{old}")
        (md / file).write_text(text.replace(old, new), encoding="utf-8")


def modules(name):
    """The directory with the modules of a break; half a minute, at first."""
    return planted.modules("bugs", name, lambda md: plant(name, md))


@contextlib.contextmanager
def source(name):
    """drivers/md of a break, for tests that plant more in it: patches of windows/."""
    with tempfile.TemporaryDirectory() as folder:
        md = pathlib.Path(folder) / "md"
        planted.copy_source(md)
        plant(name, md)
        yield md


def cases(test, environment):
    """(id, level, what came of it, first line of why) of each case; level "" if it has none."""
    with tempfile.TemporaryDirectory() as folder:
        report = pathlib.Path(folder) / "report.xml"
        subprocess.run([sys.executable, "-m", "pytest", "-q", f"--junitxml={report}", VM_DIR / test],
                       env=environment, cwd=TOP, check=False, stdout=subprocess.DEVNULL)
        found = list(ElementTree.parse(report).iter("testcase")) if report.exists() else []
    # a case that failed and whose end failed is there twice, with its properties only once
    levels = {case.get("name"): level.get("value") for case in found
              for level in case.iterfind("properties/property[@name='level']")}
    for case in found:
        # a VM that does not come up, or a fixture that fails, has not looked at anything
        outcome = next((one for one in case if one.tag in ("error", "failure", "skipped")), None)
        yield (case.get("name"), levels.get(case.get("name"), ""),
               "passed" if outcome is None else outcome.tag,
               "" if outcome is None else (outcome.get("message") or "").partition("\n")[0])


class Record:
    """What came of each test of each break, for as long as what it is made from is the same."""

    def __init__(self, again=False):
        self.path = build_dir() / "breaks" / "progress.json"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.again = again
        self.done = json.loads(self.path.read_text(encoding="utf-8")) if self.path.exists() else {}

    def cases(self, name, test, environment):
        """cases() of a test of a break, run only if that is not known."""
        key, old = key_of(test, environment["LLBITMAP_MODULES"]), self.done.get(f"{name} {test}")
        if old and old["key"] == key and not self.again:
            return old["cases"]
        found = list(cases(test, environment))
        self.done[f"{name} {test}"] = {"key": key, "cases": found}
        keep(self.path, self.done)
        return found


def key_of(test, modules_dir):
    """Of all that a test's outcome depends on; the directory of modules has their content in its name."""
    digest = hashlib.sha256(pathlib.Path(modules_dir).name.encode())
    shared = [file for file in sorted((*VM_DIR.glob("*.py"), *VM_DIR.glob("vmtest/*.py")))
              if not file.name.startswith(("test_", "breaks"))]
    for file in (VM_DIR / test.partition("::")[0], *shared):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def seen_failing(name, record):
    """Whether the tests of a break fail; each file or test that it names must, on all its levels."""
    silent = []
    with source(name) as md:
        environment = {**os.environ, "LLBITMAP_MODULES": modules(name), "MD_SRC": str(md)}
        for test in BREAKS[name][3].split():
            found = record.cases(name, test, environment)
            print(f"{name}: {test}", *(f"{what}: {case}: {why}"[:160] for case, _, what, why in found),
                  sep="\n    ", flush=True)
            failed = {level for _, level, what, _ in found if what == "failure"}
            silent += [f"{test}{f' on level {level}' if level else ''}"
                       for level in sorted({level for _, level, *_ in found} or {""})
                       if level not in failed]
    if silent:
        print(f"{name}: not noticed by {', '.join(silent)}", flush=True)
    return not silent


def all_seen(names, record):
    """The exit status, once all of them were tried."""
    silent = [name for name in names if not seen_failing(name, record)]
    print(f"{len(names)} breaks, {len(names) - len(silent)} seen"
          + (f"; not noticed: {' '.join(silent)}" if silent else ""))
    return 1 if silent else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[1])
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--build-only", action="store_true", help="for a later run")
    parser.add_argument("--again", action="store_true", help="also what is known already")
    options = parser.parse_args()
    if options.list:
        print("\n".join(BREAKS))
        return 0
    names = options.names or list(BREAKS)
    if options.build_only:
        for name in names:
            modules(name)
        return 0
    return interruptible(lambda: all_seen(names, Record(options.again)))


if __name__ == "__main__":
    sys.exit(main())

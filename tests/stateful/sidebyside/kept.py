# SPDX-License-Identifier: GPL-2.0-or-later
"""Scripts that found something, as the search left them: played by test_kept.

A name of broken.SEARCHED (up to a comma) says on which broken kernel; test_finds plays it there.
"""
KEPT = {
    "parity-trusted-when-written": [
        ("create", 5, 0),
        ("write", 0, 0, 1)],
    "partial-discard-whole": [
        ("create", 1, 1),
        ("discard_part", 21, 64, 200)],
    "recovery-in-member-sectors": [
        ("create", 10, 1),
        ("write", 16, 8, 1),
        ("discard_part", 3, 64, 900),
        ("add",),
        ("fail", 0)],
    "write-before-bitmap": [
        ("create", 10, 0),
        ("write", 0, 0, 1)],
    # by hand, after one of eleven lines, in which chunks were Dirty for another reason
    "clean-while-degraded": [
        ("create", 1, 1),
        ("write", 0, 0, 1),
        ("fail", 0),
        ("flush",)],
    "degraded-writes-dirty": [
        ("create", 6, 0),
        ("rebitmap", 9, 127, 64),
        ("fail", 0),
        ("write", 0, 1, 16)],
    # by hand
    "events-cleared-not-kept": [
        ("create", 5, 0),
        ("write", 0, 0, 384),
        ("sync",),
        ("flush",),
        ("fail", 0),
        ("add",),
        ("write", 0, 0, 384),
        ("flush",),
        ("fail", 0),
        ("back", 0)],
    # by hand: seen before a resync, and in what the resync did
    "dirty-stays-dirty-at-load": [
        ("create", 1, 1),
        ("write", 0, 0, 1),
        ("cut", 0, 1)],
    "dirty-stays-dirty-at-load, torn": [
        ("create", 5, 0),
        ("write", 0, 0, 1),
        ("sync",),
        ("flush",),
        ("write", 0, 8, 1),
        ("cut", 1, 0)],
    # made by hand after a longer one, and not of a planted bug: see README. `fail` wakes the sync
    "failure-while-a-sync-is-held": [
        ("create", 1, 1),
        ("write", 3, 64, 900),
        ("add",),
        ("hold", 8),
        ("fail", 0),
        ("fail", 1),
        ("release",)],
}

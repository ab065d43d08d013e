# SPDX-License-Identifier: GPL-2.0-or-later
"""How the bugs of planted/ show: whatever else such a kernel does is no proof that one was found."""
import re

# bug: (the phase that shows it, the point whose faults do, what is said of it)
PLANTED = {
    "disk-left-behind": ("assemble", "llb_create_disk:bdev_file_alloc",
                         "the hidden disk is still there"),
    "page-leaked": ("grow", "llb_page_init:percpu_ref_init", "not given back: memory"),
    "page-without-bits": ("assemble", "llb_page_init:kcalloc", "VMPanic"),
    "write-error-ignored": ("write", "llb_send:submit_bio_wait", "says Clean or Unwritten"),
    "failed-member-kept": ("write", "llb_submit_pages:submit_bio_noacct",
                           "says Clean or Unwritten"),
    "given-up-in-silence": ("write", "llb_send:submit_bio_wait", "says Clean or Unwritten"),
    "flush-error-ignored": ("daemon", "llb_flush_members:blkdev_issue_flush",
                            "says Clean or Unwritten"),
    "last-member-failed": ("daemon", "llb_flush_members:blkdev_issue_flush",
                           r"a write to sector \d+ gave write: EIO"),
    "never-resumed": ("daemon", "llb_flush_members:blkdev_issue_flush", "llb_page_enter_slow"),
}


def shows(name, texts):
    """Whether these say what is said of the bug."""
    return any(re.search(PLANTED[name][2], text) for text in texts)

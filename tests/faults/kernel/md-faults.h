/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Calls that can fail, made to fail on demand. faultpoints/run.py puts faulty_ before each call of
 * such a function in a copy of the bitmap's sources, with the name of the place as first argument.
 */
#ifndef _MD_FAULTS_H
#define _MD_FAULTS_H

#include <linux/bio.h>
#include <linux/blkdev.h>
#include <linux/file.h>
#include <linux/mempool.h>
#include <linux/pagemap.h>
#include <linux/percpu-refcount.h>
#include <linux/slab.h>
#include <linux/sysfs.h>
#include <linux/vmalloc.h>
#include <linux/workqueue.h>

/* Places where calls are; one that was never reached is not known to the module. */
struct fault_point {
	const char		*name;
	struct list_head	list;
	unsigned int		hits, failed;
};

#define FAULT_POINT(where)							\
	({ static struct fault_point faults_here = { .name = where }; &faults_here; })

enum fault_kind {
	FAULT_NONE,
	FAULT_ERROR,	/* it is not done, and fails */
	FAULT_DONE,	/* it is done, and said to have failed */
	FAULT_AGAIN,	/* not done, -EAGAIN */
};

/* What is taken and given back; all are zero when there is no bitmap. */
enum fault_balance {
	BALANCE_MEMORY, BALANCE_PAGES, BALANCE_REFS, BALANCE_POOLS, BALANCE_DISKS, BALANCE_SHOWN,
	BALANCE_FILES, BALANCE_FOLIOS, NR_BALANCES,
};

enum fault_kind fault_here(struct fault_point *point);
int fault_errno(enum fault_kind kind);
void fault_balance(enum fault_balance what, int by);
void fault_submit(struct fault_point *point, struct bio *bio);
int fault_submit_wait(struct fault_point *point, struct bio *bio);
int fault_flush(struct fault_point *point, struct block_device *bdev);

/* A pointer or an error pointer that was got, or not. */
#define fault_taken(what, got)							\
	({									\
		typeof(got) faults_got = got;					\
		if (!IS_ERR_OR_NULL(faults_got))				\
			fault_balance(what, 1);					\
		faults_got;							\
	})

/* 0, or a negative errno. */
#define fault_made(what, err)							\
	({									\
		int faults_err = err;						\
		if (!faults_err)						\
			fault_balance(what, 1);					\
		faults_err;							\
	})

#define fault_given(what, had)	fault_balance(what, (had) ? -1 : 0)

#define faulty_kzalloc(where, ...) (fault_here(FAULT_POINT(where)) ? NULL :	\
	fault_taken(BALANCE_MEMORY, kzalloc(__VA_ARGS__)))
#define faulty_kcalloc(where, ...) (fault_here(FAULT_POINT(where)) ? NULL :	\
	fault_taken(BALANCE_MEMORY, kcalloc(__VA_ARGS__)))
#define faulty_kvcalloc(where, ...) (fault_here(FAULT_POINT(where)) ? NULL :	\
	fault_taken(BALANCE_MEMORY, kvcalloc(__VA_ARGS__)))
#define faulty_alloc_page(where, ...) (fault_here(FAULT_POINT(where)) ? NULL :	\
	fault_taken(BALANCE_PAGES, alloc_page(__VA_ARGS__)))
#define faulty_alloc_pages(where, ...) (fault_here(FAULT_POINT(where)) ? NULL :	\
	fault_taken(BALANCE_PAGES, alloc_pages(__VA_ARGS__)))
#define faulty_alloc_workqueue(where, ...) (fault_here(FAULT_POINT(where)) ? NULL : \
	alloc_workqueue(__VA_ARGS__))
#define faulty_percpu_ref_init(where, ...) (fault_here(FAULT_POINT(where)) ? -ENOMEM : \
	fault_made(BALANCE_REFS, percpu_ref_init(__VA_ARGS__)))
#define faulty_mempool_init_kmalloc_pool(where, ...)				\
	(fault_here(FAULT_POINT(where)) ? -ENOMEM :				\
	 fault_made(BALANCE_POOLS, mempool_init_kmalloc_pool(__VA_ARGS__)))
#define faulty_mempool_resize(where, ...) (fault_here(FAULT_POINT(where)) ? -ENOMEM : \
	mempool_resize(__VA_ARGS__))
/* it never fails: out of the reserve, then */
#define faulty_mempool_alloc(where, pool, gfp)					\
	((fault_here(FAULT_POINT(where)) ? mempool_alloc_preallocated(pool) : NULL) ?: \
	 mempool_alloc(pool, gfp))
#define faulty_blk_alloc_disk(where, ...) (fault_here(FAULT_POINT(where)) ?	\
	ERR_PTR(-ENOMEM) : fault_taken(BALANCE_DISKS, blk_alloc_disk(__VA_ARGS__)))
#define faulty_add_disk(where, ...) (fault_here(FAULT_POINT(where)) ? -ENOMEM :	\
	fault_made(BALANCE_SHOWN, add_disk(__VA_ARGS__)))
#define faulty_bdev_file_alloc(where, ...) (fault_here(FAULT_POINT(where)) ?	\
	ERR_PTR(-ENOMEM) : fault_taken(BALANCE_FILES, bdev_file_alloc(__VA_ARGS__)))
#define faulty_read_mapping_folio(where, ...) (fault_here(FAULT_POINT(where)) ?	\
	ERR_PTR(-ENOMEM) : fault_taken(BALANCE_FOLIOS, read_mapping_folio(__VA_ARGS__)))
#define faulty___filemap_get_folio(where, ...) (fault_here(FAULT_POINT(where)) ? \
	ERR_PTR(-ENOMEM) : fault_taken(BALANCE_FOLIOS, __filemap_get_folio(__VA_ARGS__)))
#define faulty_sysfs_create_group(where, ...) (fault_here(FAULT_POINT(where)) ?	\
	-ENOMEM : sysfs_create_group(__VA_ARGS__))

#define faulty_sync_page_io(where, ...) (fault_here(FAULT_POINT(where)) ? 0 :	\
	sync_page_io(__VA_ARGS__))
#define faulty_submit_bio_noacct(where, bio)	fault_submit(FAULT_POINT(where), bio)
#define faulty_submit_bio_wait(where, bio)	fault_submit_wait(FAULT_POINT(where), bio)
#define faulty_blkdev_issue_flush(where, bdev)	fault_flush(FAULT_POINT(where), bdev)

#define counted_kfree(p) ({ fault_given(BALANCE_MEMORY, p); kfree(p); })
#define counted_kvfree(p) ({ fault_given(BALANCE_MEMORY, p); kvfree(p); })
#define counted___free_page(p) ({ fault_given(BALANCE_PAGES, true); __free_page(p); })
#define counted___free_pages(p, n) ({ fault_given(BALANCE_PAGES, true); __free_pages(p, n); })
#define counted_put_page(p) ({ fault_given(BALANCE_PAGES, true); put_page(p); })
#define counted_percpu_ref_exit(r)						\
	({									\
		fault_given(BALANCE_REFS, (r)->percpu_count_ptr & ~__PERCPU_REF_ATOMIC_DEAD); \
		percpu_ref_exit(r);						\
	})
#define counted_mempool_exit(p)							\
	({ fault_given(BALANCE_POOLS, mempool_initialized(p)); mempool_exit(p); })
#define counted_put_disk(d) ({ fault_given(BALANCE_DISKS, true); put_disk(d); })
#define counted_del_gendisk(d) ({ fault_given(BALANCE_SHOWN, true); del_gendisk(d); })
#define counted___fput_sync(f) ({ fault_given(BALANCE_FILES, true); __fput_sync(f); })
#define counted_folio_put(f) ({ fault_given(BALANCE_FOLIOS, true); folio_put(f); })
#endif

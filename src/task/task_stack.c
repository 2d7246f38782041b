/*
 * task_stack.c - mapping, pooling and emptying of stacks: see task_stack.h.
 *
 * The pool is two lists: `warm` stacks may have dirty pages and are taken first, newest first; after some seconds
 * without use they are emptied and move to `cold`.
 */
#include "task/task_stack.h"

#include <sys/mman.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define STACK_ASAN 1
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
#define STACK_ASAN 1
#endif
#ifdef STACK_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/lsan_interface.h>
#endif
#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#define STACK_VALGRIND 1
#endif

#define STACK_SIZE_MIN ((size_t)16384)

static struct {
	size_t size; /* usable bytes of each */
	size_t page;
	struct list warm; /* newest first */
	struct list cold;
	size_t pooled;
} pool;

void
task_stack_init(size_t size)
{
	pool.page = (size_t)sysconf(_SC_PAGESIZE);
	pool.size = (MAX(size, STACK_SIZE_MIN) + pool.page - 1) / pool.page * pool.page;
	list_init(&pool.warm);
	list_init(&pool.cold);
	pool.pooled = 0;
}

/* ---- telling the tools ----------------------------------------------------------------------------------------- */

static void
stack_register(struct task_stack *s)
{
#ifdef STACK_VALGRIND
	s->valgrind = (unsigned)VALGRIND_STACK_REGISTER(s->low, s->low + s->size);
#endif
	(void)s;
}

static void
stack_unregister(struct task_stack *s)
{
#ifdef STACK_VALGRIND
	VALGRIND_STACK_DEREGISTER(s->valgrind);
#endif
	(void)s;
}

static void
stack_begin_use(struct task_stack *s)
{
#ifdef STACK_ASAN
	/* What only a parked task points to is no leak. */
	__lsan_register_root_region(s->low, s->size);
#endif
	(void)s;
}

static void
stack_end_use(struct task_stack *s)
{
#ifdef STACK_ASAN
	__lsan_unregister_root_region(s->low, s->size);
	/* A task never returns from its outermost frames; their red zones are still marked. */
	ASAN_UNPOISON_MEMORY_REGION(s->low, s->size);
#endif
	(void)s;
}

/* ---- mapping --------------------------------------------------------------------------------------------------- */

static struct task_stack *
stack_map(void)
{
	size_t whole = pool.size + pool.page;
	struct task_stack *s;
	char *low = mmap(NULL, whole, PROT_READ | PROT_WRITE,
	    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);

	if (low == MAP_FAILED)
		return NULL;
	if (mprotect(low, pool.page, PROT_NONE) != 0) {
		(void)munmap(low, whole);
		return NULL;
	}
	/* One touched byte must cost a page, not a larger folio. */
	(void)madvise(low + pool.page, pool.size, MADV_NOHUGEPAGE);
	s = mem_new(struct task_stack);
	s->low = low + pool.page;
	s->size = pool.size;
	stack_register(s);
	return s;
}

static void
stack_unmap(struct task_stack *s)
{
	stack_unregister(s);
	(void)munmap(s->low - pool.page, s->size + pool.page);
	mem_free(s);
}

static void
pool_unmap(struct list *from)
{
	LIST_FOREACH_SAFE (s, from, struct task_stack, link) {
		list_remove(&s->link);
		stack_unmap(s);
	}
}

void
task_stack_done(void)
{
	pool_unmap(&pool.warm);
	pool_unmap(&pool.cold);
	pool.pooled = 0;
}

/* ---- the pool -------------------------------------------------------------------------------------------------- */

static struct task_stack *
pool_take(void)
{
	struct task_stack *s = LIST_FIRST(&pool.warm, struct task_stack, link);

	if (s == NULL)
		s = LIST_FIRST(&pool.cold, struct task_stack, link);
	if (s == NULL)
		return NULL;
	list_remove(&s->link);
	pool.pooled--;
	return s;
}

struct task_stack *
task_stack_take(void)
{
	struct task_stack *s = pool_take();

	if (s == NULL)
		s = stack_map();
	if (s != NULL)
		stack_begin_use(s);
	return s;
}

void
task_stack_put(struct task_stack **s, int64_t now)
{
	stack_end_use(*s);
	(*s)->put_at = now;
	list_add_front(&pool.warm, &(*s)->link);
	pool.pooled++;
	*s = NULL;
}

void
task_stack_trim(const struct task_stack *s, const char *in_use)
{
	size_t unused;

	MUST(in_use <= s->low + s->size);
	if (in_use <= s->low)
		return;
	unused = (size_t)(in_use - s->low) / pool.page * pool.page;
	if (unused != 0)
		(void)madvise(s->low, unused, MADV_DONTNEED);
}

int64_t
task_stack_trim_pool(int64_t before)
{
	while (!list_is_empty(&pool.warm)) {
		struct task_stack *oldest = CONTAINER_OF(pool.warm.prev, struct task_stack, link);

		if (oldest->put_at >= before)
			return oldest->put_at;
		task_stack_trim(oldest, oldest->low + oldest->size);
		list_remove(&oldest->link);
		list_add(&pool.cold, &oldest->link);
	}
	return CLOCK_NEVER;
}

size_t
task_stack_pooled(void)
{
	return pool.pooled;
}

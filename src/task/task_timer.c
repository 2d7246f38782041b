/*
 * task_timer.c - timers in a binary heap, earliest first. Slot 0 is never used, so that a zero-filled timer is one that
 * is not armed; and a timer counts as armed only if the heap knows it, so that one left over from before a fork() is
 * harmless.
 */
#include "base/clock.h"
#include "base/mem.h"
#include "task/task_int.h"

/* The deadline beside the pointer: sifting touches the heap only. */
struct heap_slot {
	int64_t deadline;
	struct task_timer *timer;
};

static struct {
	struct heap_slot *slots; /* owned; 1 .. count */
	size_t count;
	size_t size;
} heap;

static void
heap_set(size_t i, struct heap_slot slot)
{
	heap.slots[i] = slot;
	slot.timer->heap_index = i;
}

static void
sift_up(size_t i, struct heap_slot slot)
{
	for (; i > 1 && heap.slots[i / 2].deadline > slot.deadline; i /= 2)
		heap_set(i, heap.slots[i / 2]);
	heap_set(i, slot);
}

static void
sift_down(size_t i, struct heap_slot slot)
{
	for (size_t child; (child = 2 * i) <= heap.count; i = child) {
		if (child < heap.count &&
		    heap.slots[child + 1].deadline < heap.slots[child].deadline)
			child++;
		if (heap.slots[child].deadline >= slot.deadline)
			break;
		heap_set(i, heap.slots[child]);
	}
	heap_set(i, slot);
}

static bool
timer_is_armed(const struct task_timer *t)
{
	return t->heap_index != 0 && t->heap_index <= heap.count &&
	       heap.slots[t->heap_index].timer == t;
}

/* Puts `slot` where the heap has a gap. */
static void
fill_gap(size_t gap, struct heap_slot slot)
{
	if (gap > 1 && heap.slots[gap / 2].deadline > slot.deadline)
		sift_up(gap, slot);
	else
		sift_down(gap, slot);
}

void
task_timer_arm(struct task_timer *t, int64_t deadline)
{
	struct heap_slot slot = {deadline, t};

	t->deadline = deadline;
	if (timer_is_armed(t)) {
		fill_gap(t->heap_index, slot);
		return;
	}
	if (heap.count + 1 >= heap.size) {
		heap.size = heap.size == 0 ? 64 : 2 * heap.size;
		heap.slots = mem_resize(heap.slots, heap.size, sizeof(*heap.slots));
	}
	heap.count++;
	sift_up(heap.count, slot);
}

void
task_timer_disarm(struct task_timer *t)
{
	size_t gap = t->heap_index;

	if (timer_is_armed(t)) {
		struct heap_slot last = heap.slots[heap.count--];

		if (last.timer != t)
			fill_gap(gap, last);
	}
	t->heap_index = 0;
}

int64_t
task_timer_next(void)
{
	return heap.count != 0 ? heap.slots[1].deadline : CLOCK_NEVER;
}

bool
task_timer_fire(int64_t now)
{
	bool any = false;

	/* A timer that its function arms again for a time gone by waits for the next turn. */
	for (size_t most = heap.count; most > 0 && task_timer_next() <= now; most--) {
		struct task_timer *t = heap.slots[1].timer;

		any = true;
		task_timer_disarm(t);
		t->fn(t->arg);
	}
	return any;
}

void
task_timer_done(void)
{
	mem_free(heap.slots);
	heap.slots = NULL;
	heap.count = heap.size = 0;
}

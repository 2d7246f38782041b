/*
 * shelf.c - a ring of bytes, and a table that says where in it a message is.
 *
 * Positions count all bytes ever put; byte p of them is in data[p % size], and is overwritten when the head passes p + size. A writer
 * moves the head first and writes then; one at a time, for who stood still while others went round would write over their contents. A reader copies first and looks at the head then: if it is too far, the copy is worthless. So
 * no reader waits for anybody, a writer does without when another one is at it for long, and a process that dies in the middle leaves nothing that could be taken for a content.
 *
 * I1	A slot holds the position of the newest content that hashes to it; 0: none. It is written after the content.
 * I2	mark[i % MARKS] is the time at which the head passed into part i of all bytes ever put: what was put later is behind it.
 */
#include "service/shelf.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "mail/mail_queue_id.h"

#define SHELF_MAGIC    UINT64_C(0x726f77706f737431)
#define SHELF_MIN      ((size_t)1 << 20)
#define SHELF_SPINS    2000 /* some 20 us: what another one needs for his content */
#define SHELF_PARTS    16   /* of the ring, for the marks */
#define SHELF_MARKS    64   /* more than parts: a reader may come late */
#define SHELF_ALIGN    64   /* contents begin at lines of the cache */
#define SHELF_PER_SLOT 256  /* bytes of the ring to a slot of the table */

/* In front of each content. */
struct shelf_item {
	int64_t msg_id;
	uint64_t len;
};

/* The shared memory: this, then the slots, then the ring. */
struct shelf_head {
	uint64_t magic;
	uint64_t size;  /* of the ring */
	uint64_t slots; /* a power of 2 */
	int64_t created;
	_Atomic int32_t writer; /* pid of who writes; 0: nobody */
	_Atomic uint64_t head;
	_Atomic int64_t mark[SHELF_MARKS];               /* real us */
	_Atomic int64_t last_put[MAIL_QUEUE_ID_PROCESS]; /* real us, by process number */
	_Atomic uint64_t slot[];
};

struct shelf {
	struct shelf_head *shared;
	char *data;
	size_t mapped;
};

_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2, "shared between processes");

/* ---- the memory --------------------------------------------------------------------------------------------------- */

static size_t
offset_of_data(uint64_t slots)
{
	size_t end = sizeof(struct shelf_head) + slots * sizeof(uint64_t);

	return (end + SHELF_ALIGN - 1) / SHELF_ALIGN * SHELF_ALIGN;
}

int
shelf_create(size_t size)
{
	struct shelf_head head = {.magic = SHELF_MAGIC, .created = clock_real_us(), .slots = 1};
	int fd;

	errno = EINVAL;
	if (size < SHELF_MIN)
		return -1;
	fd = memfd_create("rowpost-shelf", MFD_CLOEXEC);
	head.size = size / SHELF_ALIGN * SHELF_ALIGN;
	while (head.slots * SHELF_PER_SLOT < head.size)
		head.slots *= 2;
	head.head = SHELF_ALIGN; /* no content is at 0 */
	if (fd < 0)
		return -1;
	if (ftruncate(fd, (off_t)(offset_of_data(head.slots) + head.size)) != 0 ||
	    pwrite(fd, &head, sizeof(head), 0) != (ssize_t)sizeof(head)) {
		(void)close(fd);
		return -1;
	}
	return fd;
}

int
shelf_read_only(int fd)
{
	char path[64];

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open(path, O_RDONLY | O_CLOEXEC);
}

static bool
looks_right(const struct shelf_head *h, size_t mapped)
{
	return h->magic == SHELF_MAGIC && h->size > 0 &&
	       offset_of_data(h->slots) + h->size == mapped;
}

struct shelf *
shelf_open(int fd)
{
	bool writable = (fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDWR;
	struct stat st;
	struct shelf *s;
	void *at;

	if (fstat(fd, &st) != 0 || st.st_size < (off_t)sizeof(struct shelf_head))
		return NULL;
	at = mmap(NULL, (size_t)st.st_size, writable ? PROT_READ | PROT_WRITE : PROT_READ,
	    MAP_SHARED, fd, 0);
	if (at == MAP_FAILED)
		return NULL;
	/* A worker that becomes a user, or a user's command, has no business here. */
	(void)madvise(at, (size_t)st.st_size, MADV_DONTFORK);
	if (!looks_right(at, (size_t)st.st_size)) {
		(void)munmap(at, (size_t)st.st_size);
		return NULL;
	}
	s = mem_new(struct shelf);
	*s = (struct shelf){.shared = at, .mapped = (size_t)st.st_size};
	s->data = (char *)at + offset_of_data(s->shared->slots);
	return s;
}

void
shelf_close(struct shelf **s)
{
	if (*s == NULL)
		return;
	(void)munmap((*s)->shared, (*s)->mapped);
	mem_free(*s);
	*s = NULL;
}

/* ---- the ring ----------------------------------------------------------------------------------------------------- */

static void
ring_write(struct shelf *s, uint64_t position, const void *bytes, size_t len)
{
	size_t at = position % s->shared->size;
	size_t first = MIN(len, s->shared->size - at);

	memcpy(s->data + at, bytes, first);
	memcpy(s->data, (const char *)bytes + first, len - first);
}

static void
ring_read(const struct shelf *s, uint64_t position, void *bytes, size_t len)
{
	size_t at = position % s->shared->size;
	size_t first = MIN(len, s->shared->size - at);

	memcpy(bytes, s->data + at, first);
	memcpy((char *)bytes + first, s->data, len - first);
}

/* What was read from `position` on is what was put there: no writer had begun to overwrite it. */
static bool
ring_still_has(const struct shelf *s, uint64_t position)
{
	atomic_thread_fence(memory_order_acquire);
	return atomic_load(&s->shared->head) - position <= s->shared->size;
}

static _Atomic uint64_t *
slot_of(const struct shelf *s, int64_t msg_id)
{
	uint64_t hash = (uint64_t)msg_id * UINT64_C(0x9e3779b97f4a7c15);

	return &s->shared->slot[(hash >> 32) & (s->shared->slots - 1)];
}

/* ---- putting ------------------------------------------------------------------------------------------------------ */

/* True: we are the only writer, until end_writing(). Who died while he wrote is no writer any more. */
static bool
begin_writing(struct shelf *s)
{
	int32_t self = (int32_t)getpid();
	int32_t holder = 0;

	for (int i = 0; i < SHELF_SPINS; i++) {
		holder = 0;
		if (atomic_compare_exchange_strong(&s->shared->writer, &holder, self))
			return true;
	}
	return kill(holder, 0) != 0 && errno == ESRCH &&
	       atomic_compare_exchange_strong(&s->shared->writer, &holder, self);
}

static void
end_writing(struct shelf *s)
{
	atomic_store(&s->shared->writer, 0);
}

/* Takes the next `len` bytes of the ring. */
static uint64_t
reserve(struct shelf *s, uint64_t len, int64_t now)
{
	uint64_t position = atomic_fetch_add(&s->shared->head, len);
	uint64_t part = s->shared->size / SHELF_PARTS;

	if (position / part != (position + len) / part)
		atomic_store(&s->shared->mark[(position + len) / part % SHELF_MARKS], now);
	atomic_thread_fence(memory_order_seq_cst);
	return position;
}

void
shelf_put(struct shelf *s, int64_t msg_id, struct span content)
{
	const struct shelf_item item = {.msg_id = msg_id, .len = content.len};
	uint64_t len = (sizeof(item) + content.len + SHELF_ALIGN - 1) / SHELF_ALIGN * SHELF_ALIGN;
	int64_t now = clock_real_us();
	uint64_t position;

	if (s == NULL || content.len < SHELF_LEAST || len > s->shared->size / SHELF_PARTS ||
	    !begin_writing(s))
		return;
	position = reserve(s, len, now);
	ring_write(s, position, &item, sizeof(item));
	ring_write(s, position + sizeof(item), content.ptr, content.len);
	atomic_store(slot_of(s, msg_id), position);
	atomic_store(&s->shared->last_put[mail_queue_id_process(msg_id)], now);
	end_writing(s);
}

/* ---- reading ------------------------------------------------------------------------------------------------------ */

bool
shelf_read(const struct shelf *s, int64_t msg_id, uint64_t size, uint64_t offset, size_t max,
    struct buf *ret)
{
	struct shelf_item item;
	uint64_t position;
	size_t len;

	if (s == NULL)
		return false;
	position = atomic_load(slot_of(s, msg_id));
	if (position == 0)
		return false;
	ring_read(s, position, &item, sizeof(item));
	if (!ring_still_has(s, position) || item.msg_id != msg_id || item.len != size ||
	    offset > size)
		return false;
	len = MIN(max, item.len - offset);
	ring_read(s, position + sizeof(item) + offset, buf_room(ret, len), len);
	if (!ring_still_has(s, position))
		return false;
	buf_added(ret, len);
	return true;
}

/* When the head passed a point of which half the ring is left, or the shelf was made. */
static int64_t
kept_since(const struct shelf *s)
{
	uint64_t head = atomic_load(&s->shared->head);
	uint64_t half = s->shared->size / 2;

	if (head <= half)
		return s->shared->created;
	return atomic_load(
	    &s->shared->mark[((head - half) / (s->shared->size / SHELF_PARTS) + 1) % SHELF_MARKS]);
}

void
shelf_holds(const struct shelf *s, int64_t *ret_first, struct buf *ret)
{
	int64_t since;

	*ret_first = INT64_MAX;
	if (s == NULL)
		return;
	since = kept_since(s);
	*ret_first = mail_queue_id_make(since, 0);
	for (int32_t i = 0; i < MAIL_QUEUE_ID_PROCESS; i++)
		if (atomic_load_explicit(&s->shared->last_put[i], memory_order_relaxed) >= since)
			buf_add(ret, &i, sizeof(i));
}

/*
 * hmap.c - the hash table: chained buckets, doubled at one entry a bucket. See hmap.h.
 */
#include "base/hmap.h"

#include <string.h>

#include "base/mem.h"
#include "base/random.h"

#define HMAP_FIRST_SIZE 16

struct hmap_entry {
	struct hmap_entry *next;
	uint64_t hash;
	void *value;
	size_t len;
	char key[];
};

/* Multiply and fold, 8 bytes at a time, from a secret seed: quick, and not to be guessed from outside. */
static uint64_t
hmap_hash(struct span key)
{
	static uint64_t seed;
	uint64_t h;
	size_t i = 0;

	if (UNLIKELY(seed == 0))
		seed = random_u64() | 1;
	h = seed ^ (key.len * UINT64_C(0x9e3779b97f4a7c15));
	while (i < key.len) {
		uint64_t word = 0;
		size_t n = MIN(key.len - i, sizeof(word));
		__uint128_t product;

		memcpy(&word, key.ptr + i, n);
		product = (__uint128_t)(h ^ word) * (seed | UINT64_C(0xa0761d6478bd6420));
		h = (uint64_t)product ^ (uint64_t)(product >> 64);
		i += n;
	}
	return h ^ (h >> 29);
}

static void
hmap_grow(struct hmap *m)
{
	size_t size = m->size != 0 ? m->size * 2 : HMAP_FIRST_SIZE;
	struct hmap_entry **buckets = mem_zalloc(size * sizeof(struct hmap_entry *));

	for (size_t i = 0; i < m->size; i++) {
		struct hmap_entry *e = m->buckets[i];

		while (e != NULL) {
			struct hmap_entry *next = e->next;
			struct hmap_entry **slot = &buckets[e->hash & (size - 1)];

			e->next = *slot;
			*slot = e;
			e = next;
		}
	}
	mem_free(m->buckets);
	m->buckets = buckets;
	m->size = size;
}

/* Where the pointer to the entry of `key` stands, or the NULL at the end of its chain. */
static struct hmap_entry **
hmap_slot(const struct hmap *m, struct span key, uint64_t hash)
{
	struct hmap_entry **slot = &m->buckets[hash & (m->size - 1)];

	while (*slot != NULL &&
	       ((*slot)->hash != hash || !span_equal(span_of((*slot)->key, (*slot)->len), key)))
		slot = &(*slot)->next;
	return slot;
}

void
hmap_done(struct hmap *m)
{
	for (size_t i = 0; i < m->size; i++) {
		struct hmap_entry *e = m->buckets[i];

		while (e != NULL) {
			struct hmap_entry *next = e->next;

			mem_free(e);
			e = next;
		}
	}
	mem_free(m->buckets);
	*m = (struct hmap){0};
}

void *
hmap_get(const struct hmap *m, struct span key)
{
	struct hmap_entry *e;

	if (m->count == 0)
		return NULL;
	e = *hmap_slot(m, key, hmap_hash(key));
	return e != NULL ? e->value : NULL;
}

void *
hmap_put(struct hmap *m, struct span key, void *value)
{
	uint64_t hash = hmap_hash(key);
	struct hmap_entry **slot;
	struct hmap_entry *e;

	MUST(value != NULL);
	if (m->count >= m->size)
		hmap_grow(m);
	slot = hmap_slot(m, key, hash);
	if (*slot != NULL) {
		void *old = (*slot)->value;

		(*slot)->value = value;
		return old;
	}
	e = mem_alloc(sizeof(*e) + key.len);
	*e = (struct hmap_entry){.hash = hash, .value = value, .len = key.len};
	if (key.len != 0)
		memcpy(e->key, key.ptr, key.len);
	*slot = e;
	m->count++;
	return NULL;
}

void *
hmap_remove(struct hmap *m, struct span key)
{
	struct hmap_entry **slot;
	struct hmap_entry *e;
	void *value;

	if (m->count == 0)
		return NULL;
	slot = hmap_slot(m, key, hmap_hash(key));
	e = *slot;
	if (e == NULL)
		return NULL;
	*slot = e->next;
	value = e->value;
	mem_free(e);
	m->count--;
	return value;
}

bool
hmap_next(const struct hmap *m, struct hmap_cursor *cursor, struct span *ret_key, void **ret_value)
{
	struct hmap_entry *e = cursor->next;

	while (e == NULL) {
		if (cursor->bucket >= m->size)
			return false;
		e = m->buckets[cursor->bucket++];
	}
	cursor->next = e->next;
	*ret_key = span_of(e->key, e->len);
	*ret_value = e->value;
	return true;
}

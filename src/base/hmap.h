/*
 * hmap.h - hash table from byte strings to pointers. Keys are copied; values are borrowed (the table never frees
 * them). Seeded per process, so that a peer cannot choose colliding keys. `struct hmap m = {0};` is empty and valid.
 */
#ifndef BASE_HMAP_H
#define BASE_HMAP_H

#include "base/base.h"
#include "base/span.h"

struct hmap_entry;

struct hmap {
	struct hmap_entry **buckets; /* owned; a power of two of them, or NULL */
	size_t size;                 /* number of buckets */
	size_t count;                /* number of keys */
};

/* Releases keys and table, not the values. */
void hmap_done(struct hmap *m);

/* The value under `key`, or NULL. */
void *hmap_get(const struct hmap *m, struct span key);

/* Stores `value` (not NULL) under `key` and returns the value it replaces, or NULL. */
void *hmap_put(struct hmap *m, struct span key, void *value);

/* Removes `key` and returns its value, or NULL if it was not there. */
void *hmap_remove(struct hmap *m, struct span key);

/*
 * Walks over all entries in no order: `struct hmap_cursor at = {0}; while (hmap_next(m, &at, &key, &value))`. Removing the
 * entry just returned is allowed; adding is not.
 */
struct hmap_cursor {
	size_t bucket;
	struct hmap_entry *next;
};
bool hmap_next(
    const struct hmap *m, struct hmap_cursor *cursor, struct span *ret_key, void **ret_value);

/* Tables keyed by a number: the key's bytes. */
#define HMAP_KEY(v) span_of((const char *)&(v), sizeof(v))

#endif

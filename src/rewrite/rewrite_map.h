/*
 * rewrite_map.h - what the administrator's tables make of the addresses of new mail: canonical tables, masquerading, virtual
 * aliases, copies (cleanup(8), ADDRESS_REWRITING_README). Addresses in internal, standard form, results in the caller's
 * arena. Everything here may wait for tables. Trouble is ERR_TEMP with the reply that Postfix gives; it has been logged with
 * the queue id.
 */
#ifndef REWRITE_REWRITE_MAP_H
#define REWRITE_REWRITE_MAP_H

#include "base/arena.h"
#include "base/base.h"
#include "base/err.h"
#include "conf/conf.h"

struct rewrite;
struct rewrite_map;

/* Opens the tables. `rewrite` is borrowed and must outlive it. */
struct rewrite_map *rewrite_map_new(struct conf *conf, const struct rewrite *rewrite);
void rewrite_map_free(struct rewrite_map **m);

/* Where an address stands; in the order of the words of canonical_classes. */
enum rewrite_place {
	REWRITE_ENVELOPE_SENDER,
	REWRITE_ENVELOPE_RECIPIENT,
	REWRITE_HEADER_SENDER,
	REWRITE_HEADER_RECIPIENT,
};

/* Does anything change addresses in headers? */
bool rewrite_map_touches_headers(const struct rewrite_map *m);

/* Sender or recipient canonical table, canonical_maps, masquerade_domains, each for its classes. */
bool rewrite_map_address(const struct rewrite_map *m, struct arena *arena, const char *queue_id,
    enum rewrite_place place, const char *addr, const char **ret, struct err *err) MUST_CHECK;

struct rewrite_addresses {
	const char **list; /* in the arena */
	size_t count;
	bool nobody; /* "<>" was among them: 0 addresses are an answer */
};

/* virtual_alias_maps, again and again, until nothing changes or a limit is reached. None: the recipient is nobody. */
bool rewrite_map_aliases(const struct rewrite_map *m, struct arena *arena, const char *queue_id,
    const char *addr, struct rewrite_addresses *ret, struct err *err) MUST_CHECK;

enum rewrite_bcc {
	REWRITE_BCC_ALWAYS,
	REWRITE_BCC_SENDER,
	REWRITE_BCC_RECIPIENT,
};

/* Who gets a copy because of `addr`, as written; NULL: nobody. */
bool rewrite_map_bcc(const struct rewrite_map *m, struct arena *arena, const char *queue_id,
    enum rewrite_bcc why, const char *addr, const char **ret, struct err *err) MUST_CHECK;

#endif

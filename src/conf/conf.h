/*
 * conf.h - the settings of main.cf, as Postfix means them. `struct conf` is one loaded configuration: it never changes
 * after loading and is counted, so a session keeps the one it began with while a reload puts a new one beside it.
 *
 * Every parameter is a row of conf/params.def; its value is reached by its constant: conf_int(c, CONF_smtpd_recipient_limit).
 * All values are expanded and checked while loading, so getters cannot fail; asking with the wrong type is a bug (MUST).
 * Nothing here waits, except conf_load() for files and, for host names in inet_interfaces, for the resolver: it is
 * called at start and on reload only.
 */
#ifndef CONF_CONF_H
#define CONF_CONF_H

#include "base/base.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/span.h"
#include "conf/macro.h"

/* CONF_myhostname, CONF_2bounce_notice_recipient, ...: one constant a row, in the order of the table. */
enum conf_param {
#define CONF_STR(id, def, status, text)          CONF_##id,
#define CONF_RAW(id, def, status, text)          CONF_##id,
#define CONF_ENUM(id, def, values, status, text) CONF_##id,
#define CONF_SET(id, def, values, status, text)  CONF_##id,
#define CONF_BOOL(id, def, status, text)         CONF_##id,
#define CONF_INT(id, def, lo, hi, status, text)  CONF_##id,
#define CONF_TIME(id, def, lo, hi, status, text) CONF_##id,
#include "conf/params.def"
	CONF_COUNT
};

struct conf;

/* `-o name=value` of a command line or of a master.cf line. */
struct conf_override {
	const char *name;
	const char *value;
};

/* What to load. Zero-filled except for `dir` is enough for a command. */
struct conf_source {
	const char *dir; /* configuration directory, with main.cf: becomes $config_directory */
	const char *main_text; /* the text of main.cf; NULL: read DIR/main.cf. For tests. */
	const char *program;   /* $process_name; NULL: "" */
	const char *service;   /* $service_name: field 1 of the master.cf line; NULL: "" */
	const struct conf_override *overrides; /* later ones win; borrowed for the call */
	size_t override_count;
};

/*
 * Loads, expands and checks. On failure `err` (ERR_CONFIG) names file and line, in Postfix's words where Postfix has
 * some. The result starts with one reference.
 */
bool conf_load(
    const struct conf_source *source, struct conf **ret_conf, struct err *err) MUST_CHECK;

/* For unit tests of other rooms: main.cf is `main_text` and nothing else; a mistake in it is a bug. */
struct conf *conf_from_text(const char *main_text);

struct conf *conf_ref(struct conf *c);
void conf_unref(struct conf **c);

/*
 * Values. Text is valid as long as the reference.
 *   conf_str   STR, ENUM, SET: expanded text; RAW: the text as written, for macro_expand() at the time of use
 *   conf_bool  BOOL
 *   conf_int   INT whose limits fit an int
 *   conf_size  INT, as a size (what is below zero counts as 0, mostly "no limit")
 *   conf_time  TIME, in microseconds
 *   conf_is    ENUM, STR: true when the value is `word`, letters of either case
 *   conf_has   SET, STR: true when the list (separated by comma or white space) holds `word`, letters of either case
 */
const char *conf_str(const struct conf *c, enum conf_param p);
bool conf_bool(const struct conf *c, enum conf_param p);
int conf_int(const struct conf *c, enum conf_param p);
size_t conf_size(const struct conf *c, enum conf_param p);
int64_t conf_time(const struct conf *c, enum conf_param p);
bool conf_is(const struct conf *c, enum conf_param p, const char *word);
bool conf_has(const struct conf *c, enum conf_param p, const char *word);

/* The value as written in main.cf or the table, unexpanded, whatever the type. */
const char *conf_written(const struct conf *c, enum conf_param p);

/* True when main.cf or an override sets it, even to its default. */
bool conf_is_set(const struct conf *c, enum conf_param p);

/*
 * Parameters of one delivery service: <service>_<suffix>, where `p` is the table's row transport_<suffix>:
 *	conf_service_int(c, "smtp", CONF_transport_destination_concurrency_limit)
 * is smtp_destination_concurrency_limit if that is set or has a default of its own, else default_destination_...
 * The value is checked now: a bad one fails with ERR_CONFIG.
 */
bool conf_service_int(const struct conf *c, const char *service, enum conf_param p, int *ret,
    struct err *err) MUST_CHECK;
bool conf_service_time(const struct conf *c, const char *service, enum conf_param p, int64_t *ret,
    struct err *err) MUST_CHECK;
bool conf_service_str(const struct conf *c, const char *service, enum conf_param p, struct buf *ret,
    struct err *err) MUST_CHECK;

/*
 * Any parameter by name, those included that only main.cf knows (restriction classes, NAME_time_limit, settings of
 * lookup tables). Appends the expanded value to `ret`. False without touching `err` when there is no such name;
 * false with `err` set when it cannot be expanded: call err_clear() first.
 */
bool conf_lookup(
    const struct conf *c, struct span name, struct buf *ret, struct err *err) MUST_CHECK;

/* The same, unexpanded; NULL when there is no such name. */
const char *conf_lookup_written(const struct conf *c, struct span name);

/*
 * Appends `text` with its $name expanded: first `extra` is asked (NULL: nobody), then the parameters. An unknown name
 * gives nothing.
 */
bool conf_expand(const struct conf *c, struct span text, const struct macro_source *extra,
    struct buf *out, struct err *err) MUST_CHECK;

/* $config_directory, without a trailing slash. */
const char *conf_dir(const struct conf *c);

#endif

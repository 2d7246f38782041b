/*
 * service_database.c - see service_database.h.
 */
#include "service/service_database.h"

#include <stdio.h>
#include <string.h>
#include <sys/un.h>

#include "base/span.h"
#include "db/db.h"

#define BLANKS " \t\r\n"

/* The longest name that PostgreSQL makes below its socket directory. */
#define SOCKET_NAME "/.s.PGSQL.5432.lock"

bool
service_database_next(struct span *rest, struct span *ret_item)
{
	struct span item;

	while (rest->len > 0 && strchr(BLANKS ",", rest->ptr[0]) != NULL)
		*rest = span_from(*rest, 1);
	if (rest->len == 0)
		return false;
	if (rest->ptr[0] == '{') {
		size_t end = span_find(*rest, '}');

		*ret_item = span_trim(span_from(span_head(*rest, end), 1));
		*rest = span_from(*rest, end + 1);
		return true;
	}
	if (!span_word(rest, BLANKS, &item))
		return false;
	while (item.len > 0 && item.ptr[item.len - 1] == ',')
		item.len--;
	*ret_item = item;
	return true;
}

bool
service_database_is_embedded(const struct conf *c)
{
	struct span rest = span_str(conf_str(c, CONF_queue_databases));
	struct span item;

	return !service_database_next(&rest, &item);
}

size_t
service_database_count(const struct conf *c)
{
	struct span rest = span_str(conf_str(c, CONF_queue_databases));
	struct span item;
	size_t count = 0;

	while (service_database_next(&rest, &item))
		count++;
	return MAX(count, 1);
}

/* A value of a keyword string: quoted, with ' and \ escaped. */
static void
add_value(struct buf *b, const char *value)
{
	buf_add_char(b, '\'');
	for (; *value != '\0'; value++) {
		if (*value == '\'' || *value == '\\')
			buf_add_char(b, '\\');
		buf_add_char(b, *value);
	}
	buf_add_char(b, '\'');
}

static void
embedded_conninfo(const struct conf *c, enum service_privilege p, struct buf *ret)
{
	struct buf dir CLEANUP(buf_done) = {0};

	service_database_socket_dir(c, &dir);
	buf_add_str(ret, "host=");
	add_value(ret, buf_str(&dir));
	buf_printf(ret, " port=%d dbname=%s user=", SERVICE_DATABASE_PORT, SERVICE_DATABASE_NAME);
	add_value(ret, service_privilege_user(c, p));
	/* data_directory may belong to a user who must not pose as the database. */
	buf_add_str(ret, " requirepeer=");
	add_value(ret, service_privilege_user(c, SERVICE_DATABASE));
}

void
service_database_conninfo(
    const struct conf *c, enum service_privilege p, size_t shard, struct buf *ret)
{
	struct span rest = span_str(conf_str(c, CONF_queue_databases));
	struct span item;
	size_t at = 0;

	if (service_database_is_embedded(c)) {
		embedded_conninfo(c, p, ret);
		return;
	}
	while (service_database_next(&rest, &item)) {
		if (at++ == shard) {
			buf_add_span(ret, item);
			return;
		}
	}
	UNREACHED();
}

void
service_database_settings(const struct conf *c, struct db_settings *ret)
{
	*ret = (struct db_settings){
	    .pooler = conf_bool(c, CONF_queue_database_pooler),
	    .connect_timeout = conf_time(c, CONF_queue_database_connect_timeout),
	    .statement_timeout = conf_time(c, CONF_queue_database_timeout),
	    .backoff_min = conf_time(c, CONF_queue_database_retry_min_time),
	    .backoff_max = conf_time(c, CONF_queue_database_retry_max_time),
	};
}

/* FNV-1a: only to tell installations apart. */
static uint64_t
hash_text(const char *text)
{
	uint64_t h = UINT64_C(14695981039346656037);

	for (; *text != '\0'; text++)
		h = (h ^ (unsigned char)*text) * UINT64_C(1099511628211);
	return h;
}

void
service_database_socket_dir(const struct conf *c, struct buf *ret)
{
	const char *dir = conf_str(c, CONF_database_socket_directory);
	const struct sockaddr_un *sa = NULL;

	if (strlen(dir) + sizeof(SOCKET_NAME) <= sizeof(sa->sun_path))
		buf_add_str(ret, dir);
	else
		buf_printf(ret, "/run/rowpost-%016llx", (unsigned long long)hash_text(dir));
}

/*
 * domain_list.c - see domain_list.h. Patterns that need a lookup table (type:table) are refused with a clear error: a list
 * that silently matched less than it says would turn mail away.
 */
#include "rewrite/domain_list.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"

#define DOMAIN_LIST_SEPARATORS ", \t\r\n"
#define DOMAIN_LIST_FILE_MAX   (16u << 20)

struct domain_pattern {
	char *name; /* owned */
	bool negated;
};

struct domain_list {
	struct domain_pattern *patterns; /* owned */
	size_t count;
	enum domain_list_parents parents;
};

static bool
domain_list_read_file(const char *path, struct buf *out, struct err *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = 0;

	if (fd < 0)
		return err_set(err, ERR_CONFIG, "4.3.5", "open %s: %s", path, strerror(errno));
	do {
		char *room = buf_room(out, 65536);

		n = read(fd, room, 65536);
		if (n > 0)
			buf_added(out, (size_t)n);
	} while (n > 0 && out->len <= DOMAIN_LIST_FILE_MAX);
	(void)close(fd);
	if (n < 0)
		return err_set(err, ERR_CONFIG, "4.3.5", "read %s: %s", path, strerror(errno));
	if (out->len > DOMAIN_LIST_FILE_MAX)
		return err_set(err, ERR_CONFIG, "4.3.5", "%s: file too large for a list", path);
	return true;
}

static void
domain_list_add(struct domain_list *list, struct span name, bool negated)
{
	list->patterns = mem_resize(list->patterns, list->count + 1, sizeof(*list->patterns));
	list->patterns[list->count++] = (struct domain_pattern){span_dup(name), negated};
}

/* The names in a file: '#' starts a comment line; no files within files. */
static bool
domain_list_add_file(
    struct domain_list *list, struct span path, bool negated, const char *what, struct err *err)
{
	struct buf text CLEANUP(buf_done) = {0};
	char *name CLEANUP(mem_free_str) = span_dup(path);
	struct span rest;
	struct span line;

	if (!domain_list_read_file(name, &text, err))
		return err_prefix(err, "%s", what);
	rest = buf_span(&text);
	while (span_word(&rest, "\r\n", &line)) {
		struct span word;

		if (span_starts(span_trim(line), "#"))
			continue;
		while (span_word(&line, DOMAIN_LIST_SEPARATORS, &word))
			domain_list_add(list, word, negated);
	}
	return true;
}

static bool
domain_list_add_word(struct domain_list *list, struct span word, const char *what, struct err *err)
{
	bool negated = false;

	while (span_starts(word, "!")) {
		negated = !negated;
		word = span_from(word, 1);
	}
	if (word.len == 0)
		return err_set(err, ERR_CONFIG, "4.3.5", "%s: no domain after \"!\"", what);
	if (word.ptr[0] == '/')
		return domain_list_add_file(list, word, negated, what, err);
	if (word.ptr[0] != '[' && span_find(word, ':') < word.len)
		return err_set(err, ERR_CONFIG, "4.3.5",
		    "%s: lookup table \"%.*s\" cannot be used here yet", what, SPAN_ARG(word));
	domain_list_add(list, word, negated);
	return true;
}

bool
domain_list_parse(const char *text, const char *what, enum domain_list_parents parents,
    struct domain_list **ret, struct err *err)
{
	struct domain_list *list = mem_new(struct domain_list);
	struct span rest = span_str(text);
	struct span word;

	list->parents = parents;
	while (span_word(&rest, DOMAIN_LIST_SEPARATORS, &word)) {
		if (!domain_list_add_word(list, word, what, err)) {
			domain_list_free(&list);
			return false;
		}
	}
	*ret = list;
	return true;
}

void
domain_list_free(struct domain_list **list)
{
	if (*list == NULL)
		return;
	for (size_t i = 0; i < (*list)->count; i++)
		mem_free((*list)->patterns[i].name);
	mem_free((*list)->patterns);
	mem_free(*list);
	*list = NULL;
}

static bool
domain_pattern_matches(
    const struct domain_pattern *p, enum domain_list_parents parents, struct span domain)
{
	struct span name = span_str(p->name);

	if (span_equal_nocase(name, domain))
		return true;
	if (parents == DOMAIN_LIST_EXACT)
		return name.ptr[0] == '.' && domain.len > name.len &&
		       span_ends_nocase(domain, p->name);
	return domain.len > name.len + 1 && domain.ptr[domain.len - name.len - 1] == '.' &&
	       span_ends_nocase(domain, p->name);
}

bool
domain_list_has(const struct domain_list *list, struct span domain)
{
	for (size_t i = 0; i < list->count; i++)
		if (domain_pattern_matches(&list->patterns[i], list->parents, domain))
			return !list->patterns[i].negated;
	return false;
}

bool
domain_list_is_empty(const struct domain_list *list)
{
	return list->count == 0;
}

/*
 * access_list.c - from the words of a restriction list to items with their tables opened. What is wrong in a list is said when
 * the list is used, as in Postfix: a mistake must not stop the service, and must not let anything through.
 */
#include "access/access_int.h"
#include "base/log.h"
#include "base/mem.h"

bool
access_list_word(struct span *rest, struct span *ret_word)
{
	struct span s = *rest;
	size_t depth = 0;
	size_t len = 0;

	while (s.len != 0 && strchr(", \t\r\n", s.ptr[0]) != NULL)
		s = span_from(s, 1);
	for (; len < s.len && (depth > 0 || strchr(", \t\r\n", s.ptr[len]) == NULL); len++) {
		if (s.ptr[len] == '{')
			depth++;
		else if (s.ptr[len] == '}' && depth > 0)
			depth--;
	}
	*ret_word = span_head(s, len);
	*rest = span_from(s, len);
	return len != 0;
}

static const struct access_class *
access_class_find(const struct access *a, struct span name)
{
	for (size_t i = 0; i < a->class_count; i++)
		if (span_equal_str(name, a->classes[i].name))
			return &a->classes[i];
	return NULL;
}

/* The argument, as far as there is one. */
static void
access_item_argument(const struct access *a, struct access_item *item, struct span *rest)
{
	enum access_argument kind = item->restriction->argument;
	struct span word;

	if (kind == ACCESS_ARGUMENT_NONE)
		return;
	item->broken = true;
	if (!access_list_word(rest, &word))
		return;
	item->argument = span_dup(word);
	if (kind == ACCESS_ARGUMENT_TABLE && span_find(word, ':') == word.len)
		return;
	item->broken = false;
	if (kind == ACCESS_ARGUMENT_TABLE)
		item->tables = table_list_open(a->conf, item->argument, item->word, 0);
}

/* type:table alone: the table of the list's own kind. */
static void
access_item_table(const struct access *a, struct access_item *item, enum access_thing thing)
{
	item->restriction = access_restriction_for_table(thing);
	if (item->restriction == NULL)
		return;
	item->argument = mem_strdup(item->word);
	item->tables = table_list_open(a->conf, item->argument, item->restriction->name, 0);
}

void
access_list_compile(
    const struct access *a, enum access_thing thing, struct span text, struct access_list *list)
{
	struct span word;

	while (access_list_word(&text, &word)) {
		struct access_item item = {
		    .restriction = access_restriction_find(word),
		    .warn_if_reject = span_equal_nocase_str(word, "warn_if_reject"),
		    .word = span_dup(word),
		};

		if (item.restriction != NULL)
			access_item_argument(a, &item, &text);
		else if (span_find(word, ':') < word.len)
			access_item_table(a, &item, thing);
		else
			item.class = access_class_find(a, word);
		list->items = mem_resize(list->items, list->count + 1, sizeof(*list->items));
		list->items[list->count++] = item;
	}
}

void
access_list_done(struct access_list *list)
{
	for (size_t i = 0; i < list->count; i++) {
		mem_free(list->items[i].word);
		mem_free(list->items[i].argument);
		table_list_close(&list->items[i].tables);
	}
	mem_free(list->items);
	*list = (struct access_list){0};
}

/*
 * list.h - intrusive doubly linked lists. The head is a node too; zero is not a valid head: list_init() first.
 * A node knows by itself whether it is linked (list_is_linked), and may be removed twice.
 */
#ifndef BASE_LIST_H
#define BASE_LIST_H

#include "base/base.h"

struct list {
	struct list *next;
	struct list *prev;
};

static inline void
list_init(struct list *head)
{
	head->next = head->prev = head;
}

/* True for a head with nothing in it. */
static inline bool
list_is_empty(const struct list *head)
{
	return head->next == head;
}

/* True for a node that is in a list; zero-filled nodes and removed ones are not. */
static inline bool
list_is_linked(const struct list *node)
{
	return node->next != NULL && node->next != node;
}

static inline void
list_insert_before(struct list *at, struct list *node)
{
	MUST(!list_is_linked(node));
	node->prev = at->prev;
	node->next = at;
	at->prev->next = node;
	at->prev = node;
}

/* Adds at the end / at the front of the list `head`. */
static inline void
list_add(struct list *head, struct list *node)
{
	list_insert_before(head, node);
}

static inline void
list_add_front(struct list *head, struct list *node)
{
	list_insert_before(head->next, node);
}

static inline void
list_remove(struct list *node)
{
	if (!list_is_linked(node))
		return;
	node->prev->next = node->next;
	node->next->prev = node->prev;
	node->next = node->prev = NULL;
}

/* Moves all of `from` to the end of `to`. */
static inline void
list_splice(struct list *to, struct list *from)
{
	if (list_is_empty(from))
		return;
	from->next->prev = to->prev;
	to->prev->next = from->next;
	from->prev->next = to;
	to->prev = from->prev;
	list_init(from);
}

/* The struct of `type` that holds the first node, or NULL. */
#define LIST_FIRST(head, type, member)                                                             \
	(list_is_empty(head) ? NULL : CONTAINER_OF((head)->next, type, member))

#define LIST_FOREACH(item, head, type, member)                                                     \
	for (type *item = CONTAINER_OF((head)->next, type, member); &item->member != (head);       \
	     item = CONTAINER_OF(item->member.next, type, member))

/* The body may remove (and free) `item`, nothing else. */
#define LIST_FOREACH_SAFE(item, head, type, member)                                                \
	for (type *item = CONTAINER_OF((head)->next, type, member),                                \
		  *item##_next = CONTAINER_OF(item->member.next, type, member);                    \
	     &item->member != (head);                                                              \
	     item = item##_next, item##_next = CONTAINER_OF(item->member.next, type, member))

#endif

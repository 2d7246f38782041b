/*
 * macro.h - Postfix's $name expansion, pure: main.cf values, commands, templates and replies share it.
 *
 *	$name ${name} $(name)     the value
 *	${name?text} ${name?{text}}   text if name has a value that is not empty
 *	${name:text} ${name:{text}}   text if name has no value or an empty one
 *	${name?{a}:{b}}               one or the other
 *	${{a} == {b} ? {x} : {y}}     == != < <= >= > : as numbers when both are all digits, else as text;
 *	                              ==level !=level <level <=level >=level >level : as compatibility levels
 *	$$                            a dollar sign
 */
#ifndef CONF_MACRO_H
#define CONF_MACRO_H

#include "base/base.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/span.h"

/* Where values come from. */
struct macro_source {
	/* The value of `name`, borrowed until the next call; NULL: no such name. */
	const char *(*lookup)(void *arg, struct span name);
	void *arg;
	/* Characters a value may hold, others become '_' (command_expansion_filter); NULL: all. */
	const char *filter;
	/* Values hold $name themselves and are expanded too, as in main.cf. Never where peers decide the values. */
	bool recursive;
	/* Asked for names that this one does not know; NULL: nobody. Its own filter and recursive count then. */
	const struct macro_source *fallback;
	/* Told of each name that nobody knew, for postconf's warnings; may be NULL. */
	void (*undefined)(void *arg, struct span name);
};

/*
 * Appends the expansion of `text` to `out`. False with ERR_CONFIG for text that cannot be parsed or that refers to
 * itself; `out` then holds a part. An unknown name gives nothing.
 */
bool macro_expand(struct span text, const struct macro_source *source, struct buf *out,
    struct err *err) MUST_CHECK;

/* Calls `found` for each name that `text` mentions, in conditions and branches too. */
void macro_names(struct span text, void (*found)(void *arg, struct span name), void *arg);

#endif

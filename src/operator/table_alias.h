/*
 * table_alias.h - the lines of an alias file, "name: value, value" (aliases(5)), as postalias stores them.
 */
#ifndef OPERATOR_TABLE_ALIAS_H
#define OPERATOR_TABLE_ALIAS_H

#include "base/base.h"
#include "base/buf.h"
#include "base/span.h"

enum table_alias_result {
	TABLE_ALIAS_OK,
	TABLE_ALIAS_NO_PAIR,   /* no colon, no name or no value */
	TABLE_ALIAS_NOT_LOCAL, /* the name holds an '@' or '%' */
};

/*
 * Appends the name without quotes, and the value with one space behind commas and between words. A character behind a
 * backslash is taken for itself; what then needs quotes has them.
 */
enum table_alias_result table_alias_parse(struct span line, struct buf *name, struct buf *value);

#endif

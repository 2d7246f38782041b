/*
 * conf_value.h - from the expanded text of a value to what it means, with its limits. The messages are Postfix's.
 */
#ifndef CONF_CONF_VALUE_H
#define CONF_CONF_VALUE_H

#include "base/base.h"
#include "base/err.h"
#include "base/span.h"
#include "conf/conf_param.h"

/*
 * Checks `text` against the row. The number is: BOOL 0 or 1, INT the number, TIME microseconds, all else 0. `name` is
 * the parameter's name for messages: that of a service (smtp_destination_rate_delay) where `info` is a template.
 */
bool conf_value_parse(const struct conf_param_info *info, const char *name, const char *text,
    int64_t *ret_number, struct err *err) MUST_CHECK;

/* "5d", "300s", "2" (counted in `unit`: one of smhdw), "20ms": microseconds. */
bool conf_value_time(struct span text, char unit, int64_t *ret_us) MUST_CHECK;

/*
 * The next item of a list separated by comma or white space; white space inside { } does not separate. The braces
 * stay. False at the end.
 */
bool conf_value_item(struct span *rest, struct span *ret_item) MUST_CHECK;

#endif

/*
 * conf_level.h - compatibility levels: "2", "3.6", "3.11.1", compared by their parts (3.10 is above 3.9).
 */
#ifndef CONF_CONF_LEVEL_H
#define CONF_CONF_LEVEL_H

#include "base/base.h"
#include "base/span.h"

/* The level as a number that orders as levels do. False when it is none. White space around it is allowed. */
bool conf_level_parse(struct span text, int64_t *ret_level) MUST_CHECK;

#endif

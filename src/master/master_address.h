/*
 * master_address.h - from the first column of an inet service ("smtp", "587", "127.0.0.1:2525", "[::1]:smtp") and
 * inet_interfaces and inet_protocols to the sockets to listen on.
 */
#ifndef MASTER_MASTER_ADDRESS_H
#define MASTER_MASTER_ADDRESS_H

#include "base/base.h"
#include "base/err.h"
#include "conf/conf.h"
#include "master/master_plan.h"

/* Appends the sockets of `name` to *wants (grown) and *count. False with ERR_CONFIG, nothing appended. Blocks in the resolver. */
bool master_address_wants(const struct conf *c, const char *name, struct master_want **wants,
    size_t *count, struct err *err) MUST_CHECK;

#endif

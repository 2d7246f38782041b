/*
 * table_nets.h - lists of clients as in mynetworks, smtpd_authorized_xclient_hosts: the networks and names of conf_net_list.h,
 * and type:table items with the tables behind them.
 */
#ifndef TABLE_TABLE_NETS_H
#define TABLE_TABLE_NETS_H

#include <sys/socket.h>

#include "base/base.h"
#include "base/err.h"
#include "base/span.h"
#include "conf/conf.h"
#include "table/table.h"

struct table_nets;

/*
 * Parses the value of the parameter `p` and opens its tables. ERR_CONFIG names what cannot be understood; a table that cannot
 * be used makes matching fail instead.
 */
bool table_nets_of(
    struct conf *conf, enum conf_param p, struct table_nets **ret, struct err *err) MUST_CHECK;
void table_nets_free(struct table_nets **n);

/* Is the address in the list? TABLE_ERROR: a table could not be asked, it is not known. May wait. */
enum table_result table_nets_match(
    struct table_nets *n, const struct sockaddr *address, struct err *err) MUST_CHECK;

/* The same for a client with a verified name too, which may be empty or "unknown"; the address as text. */
enum table_result table_nets_match_client(
    struct table_nets *n, struct span name, struct span address, struct err *err) MUST_CHECK;

#endif

/*
 * operator_table.h - postmap(1) and postalias(1): their work, done where tables that are asked over a network can wait.
 */
#ifndef OPERATOR_OPERATOR_TABLE_H
#define OPERATOR_OPERATOR_TABLE_H

#include "base/base.h"

/* The whole program, from its command line to its exit status. `aliases`: postalias. */
int operator_table_main(int argc, char **argv, bool aliases);

#endif

/*
 * postmap.c - build and query lookup tables (postmap(1)).
 */
#include "operator/operator_table.h"

int
main(int argc, char **argv)
{
	return operator_table_main(argc, argv, false);
}

/*
 * postalias.c - build and query alias databases (postalias(1)).
 */
#include "operator/operator_table.h"

int
main(int argc, char **argv)
{
	return operator_table_main(argc, argv, true);
}

#!/bin/sh
# sql.sh - SQL text stands only in src/queue, src/cluster and schema/: no other room knows a table. What pgsql_table(5) and
# mysql_table(5) ask in databases of the administrator's is made of his settings, in src/table and src/backend.
set -u
statement='"[[:space:]]*(SELECT|INSERT[[:space:]]+INTO|UPDATE[[:space:]]+[a-z_.]+[[:space:]]+SET|DELETE[[:space:]]+FROM'
statement="$statement|TRUNCATE|CREATE[[:space:]]+(TABLE|INDEX|VIEW|FUNCTION|SCHEMA|ROLE)|ALTER[[:space:]]+TABLE|LOCK[[:space:]]+TABLE|WITH[[:space:]]+[a-z_]+[[:space:]]+AS)"
if grep -rnE "$statement" src --include='*.[ch]' | grep -vE '^src/(queue|cluster|table/table_query|backend/table_pgsql)[_a-z]*[./]'; then
	echo "SQL text outside src/queue, src/cluster and schema/"
	exit 1
fi
echo "sql ok"

#!/bin/sh
# sql.sh - SQL text stands only in src/queue, src/cluster and schema/: no other room knows a table.
set -u
statement='"[[:space:]]*(SELECT|INSERT[[:space:]]+INTO|UPDATE[[:space:]]+[a-z_.]+[[:space:]]+SET|DELETE[[:space:]]+FROM'
statement="$statement|TRUNCATE|CREATE[[:space:]]+(TABLE|INDEX|VIEW|FUNCTION|SCHEMA|ROLE)|ALTER[[:space:]]+TABLE|LOCK[[:space:]]+TABLE|WITH[[:space:]]+[a-z_]+[[:space:]]+AS)"
if grep -rnE "$statement" src --include='*.[ch]' | grep -vE '^src/(queue|cluster)/'; then
	echo "SQL text outside src/queue, src/cluster and schema/"
	exit 1
fi
echo "sql ok"

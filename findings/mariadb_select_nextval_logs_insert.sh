#!/usr/bin/env bash
# MariaDB: a SELECT of a sequence's next value is an INSERT in the log, again and again into the same row.
# Expected: a SELECT leaves no rows in the log, and a table that gets INSERTs gets more rows.
# Found:    each time that the cache of a sequence is used up, NEXTVAL logs an INSERT for the sequence, whose one row is
#           thereby replaced. Neither the row event nor its table map tells a sequence from a table; information_schema
#           does.
# Matters:  readers that take each row event for a table's: they meet the same row inserted again and again.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

root=$(mariadb_11_8)
server m "$root"
sql m "CREATE DATABASE d; CREATE SEQUENCE d.s CACHE 2"
for value in 1 2 3 4 5; do
  seen "$(version m): value $value" "$value" "$(sql m 'SELECT NEXTVAL(d.s)')"
done
seen "rows of the sequence; its type" "1
SEQUENCE" "$(sql m "SELECT COUNT(*) FROM d.s; SELECT table_type FROM information_schema.tables WHERE table_schema = 'd'")"
seen "in the log (the first three columns)" "INSERT @1=3 @2=1 @3=9223372036854775806
INSERT @1=5 @2=1 @3=9223372036854775806
INSERT @1=7 @2=1 @3=9223372036854775806" "$(images m | cut -d' ' -f1-4)"
verdict

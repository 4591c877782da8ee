#!/usr/bin/env bash
# MariaDB: a DELETE from a system-versioned table is an UPDATE in the log, of columns that no catalogue shows.
# Expected: a DELETE event, since the row is gone for every query that does not ask for history.
# Found:    DELETE is logged as an UPDATE that ends the row's period; UPDATE as an UPDATE and an INSERT of the old row
#           with the same primary key. The period's two columns are the images' last ones, and information_schema has
#           neither.
# Matters:  readers that go by the kind of event keep deleted rows and meet duplicate keys.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

root=$(mariadb_11_8)
server m "$root"
sql m "CREATE DATABASE d; CREATE TABLE d.t (id INT PRIMARY KEY, a INT) WITH SYSTEM VERSIONING;
  INSERT INTO d.t VALUES (1, 10); UPDATE d.t SET a = 11; DELETE FROM d.t"
seen "$(version m): the table's columns, and rows left" "id,a
0" "$(columns m t; sql m 'SELECT COUNT(*) FROM d.t')"
seen "INSERT, UPDATE and DELETE of one row in the log (NOW: a time stamp of this run)" \
  "INSERT @1=1 @2=10 @3=NOW @4=4294967295.999999
UPDATE @1=1 @2=10 @3=NOW @4=4294967295.999999 -> @1=1 @2=11 @3=NOW @4=4294967295.999999
INSERT @1=1 @2=10 @3=NOW @4=NOW
UPDATE @1=1 @2=11 @3=NOW @4=4294967295.999999 -> @1=1 @2=11 @3=NOW @4=NOW" \
  "$(images m | sed 's/=1[0-9]\{9\}\.[0-9]*/=NOW/g')"
verdict

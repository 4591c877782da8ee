#!/usr/bin/env bash
# MariaDB: a UNIQUE key on a TEXT column puts a column into the log that no catalogue shows.
# Expected: a row image has the columns of information_schema.COLUMNS.
# Found:    10.11 logs a third value of a two column table, the hash that the key rests on, in every image. 11.8 logs it in
#           INSERTs and leaves it out of UPDATEs and DELETEs, so the images of one table have different widths.
# Matters:  readers that pair the log's columns with the catalogue's by number, or refuse a row whose width is not the table's.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

images() { # NAME: a line for each image of the log, with the number of its columns
  logged "$1" | sed -n 's/^### //p' | awk '
    function put() { if (kind) print kind ": " width " columns" }
    /^(INSERT|UPDATE|DELETE|WHERE|SET)/ { if ($1 == "WHERE" || $1 == "SET") { put(); kind = verb " " $1; width = 0 } else { put(); kind = ""; verb = $1 } }
    /^  @/ { width++ }
    END { put() }'
}

for version in 10_11 11_8; do
  root=$(mariadb_$version)
  server m$version "$root"
  sql m$version "CREATE DATABASE d; CREATE TABLE d.t (id INT PRIMARY KEY, name TEXT, UNIQUE KEY (name));
    INSERT INTO d.t VALUES (1, 'a'); UPDATE d.t SET name = 'b'; DELETE FROM d.t"
  seen "MariaDB ${version/_/.}: the table's columns" "id,name" \
    "$(sql m$version "SELECT GROUP_CONCAT(column_name ORDER BY ordinal_position) FROM information_schema.columns WHERE table_name = 't' AND table_schema = 'd'")"
done
seen "MariaDB 10.11: INSERT, UPDATE, DELETE in the log" "INSERT SET: 3 columns
UPDATE WHERE: 3 columns
UPDATE SET: 3 columns
DELETE WHERE: 3 columns" "$(images m10_11)"
seen "MariaDB 11.8: INSERT, UPDATE, DELETE in the log" "INSERT SET: 3 columns
UPDATE WHERE: 2 columns
UPDATE SET: 2 columns
DELETE WHERE: 2 columns" "$(images m11_8)"
verdict

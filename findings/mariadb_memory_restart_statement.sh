#!/usr/bin/env bash
# MariaDB: a restart empties a MEMORY table, and the log tells it by a statement, another one in each version.
# Expected: with binlog_format=ROW the loss of rows is in the log as row events, or not at all.
# Found:    the first use after the restart, even a SELECT, logs a statement: 10.5 a DELETE FROM, 10.11 and 11.8 a
#           TRUNCATE TABLE.
# Matters:  readers that pass over statements of a ROW log that are no DDL (10.5), or that refuse them: the target keeps
#           the rows.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

reader=$(mariadb_11_8)
for version in 10_5 10_11 11_8; do
  root=$(mariadb_$version)
  server m$version "$root"
  sql m$version "CREATE DATABASE d; CREATE TABLE d.t (id INT PRIMARY KEY) ENGINE=MEMORY; INSERT INTO d.t VALUES (1)"
  restart m$version
  statement="TRUNCATE TABLE"
  [[ $version != 10_5 ]] || statement="DELETE FROM"
  seen "$(version m$version): format and rows after a restart, and what the SELECT has logged" "ROW	0
$statement \`d\`.\`t\`" "$(sql m$version 'SELECT @@binlog_format, COUNT(*) FROM d.t'
    logged m$version "$reader" | grep -o -e '^DELETE FROM `d`.`t`' -e '^TRUNCATE TABLE `d`.`t`')"
done
verdict

#!/usr/bin/env bash
# MariaDB: a UNIQUE key on a TEXT column puts a column into the log that no catalogue shows.
# Expected: a row image has the columns of information_schema.COLUMNS.
# Found:    10.11 logs a third value of a two column table, the hash that the key rests on, in every image. 11.8 logs it
#           in INSERTs and leaves it out of UPDATEs and DELETEs, so the images of one table have different widths.
# Matters:  readers that pair the log's columns with the catalogue's by number, or refuse a row whose width is not the
#           table's.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

for version in 10_11 11_8; do
  root=$(mariadb_$version)
  server m$version "$root"
  sql m$version "CREATE DATABASE d; CREATE TABLE d.t (id INT PRIMARY KEY, name TEXT, UNIQUE KEY (name));
    INSERT INTO d.t VALUES (1, 'a'); UPDATE d.t SET name = 'b'; DELETE FROM d.t"
  seen "$(version m$version): the table's columns" "id,name" "$(columns m$version t)"
done
seen "10.11: the images in the log" "INSERT @1=1 @2='a' @3=HASH
UPDATE @1=1 @2='a' @3=HASH -> @1=1 @2='b' @3=HASH
DELETE @1=1 @2='b' @3=HASH" "$(images m10_11 | sed 's/@3=[0-9]*/@3=HASH/g')"
seen "11.8: the images in the log" "INSERT @1=1 @2='a' @3=HASH
UPDATE @1=1 @2='a' -> @1=1 @2='b'
DELETE @1=1 @2='b'" "$(images m11_8 | sed 's/@3=[0-9]*/@3=HASH/g')"
verdict

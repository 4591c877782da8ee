#!/usr/bin/env bash
# MySQL 9.7: MD5() is no function any more, the error speaks of a database, and what brings it back does not for tables.
# Expected: MD5('a'), which MySQL and MariaDB have long had, or an error that names the function.
# Found:    the name is looked up as a stored function: "No database selected" (1046), or "FUNCTION d.MD5 does not
#           exist" once one is chosen. With component_classic_hashing a SELECT has MD5 again, but generated columns,
#           defaults, checks and indexes still refuse it as a function that is not allowed.
# Matters:  a source's table with an MD5 column cannot be created on a MySQL 9.7 target as it is; comparisons of source
#           and target by MD5 fail there, with a message that leads to the connection's settings.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

mysql=$(mysql_9_7)
mariadb=$(mariadb_11_8)
server mysql "$mysql"
server mariadb "$mariadb"
sql mysql "CREATE DATABASE d"
seen "$(version mysql): MD5('a')" "ERROR 1046 (3D000): No database selected" "$(answer mysql "SELECT MD5('a')")"
seen "with a database" "ERROR 1305 (42000): FUNCTION d.MD5 does not exist" "$(answer mysql "USE d; SELECT MD5('a')")"
sql mysql "INSTALL COMPONENT 'file://component_classic_hashing'"
seen "with the component" "0cc175b9c0f1b6a831c399e269772661" "$(answer mysql "SELECT MD5('a')")"
seen "as a generated column, a default, a check and an index" \
  "ERROR 3763 (HY000): Expression of generated column 'h' contains a disallowed function: md5.
ERROR 3770 (HY000): Default value expression of column 'h' contains a disallowed function: md5.
ERROR 3814 (HY000): An expression of a check constraint 'c' contains disallowed function: md5.
ERROR 3758 (HY000): Expression of functional index 'k' contains a disallowed function." "$(
    answer mysql "CREATE TABLE d.t (a INT, h CHAR(32) AS (MD5(a)) STORED)"
    answer mysql "CREATE TABLE d.t (a INT, h CHAR(32) DEFAULT (MD5(a)))"
    answer mysql "CREATE TABLE d.t (a INT, CONSTRAINT c CHECK (MD5(a) <> ''))"
    answer mysql "CREATE TABLE d.t (a INT, KEY k ((MD5(a))))"
  )"
seen "$(version mariadb): the generated column" "0cc175b9c0f1b6a831c399e269772661" "$(answer mariadb "CREATE DATABASE d;
  CREATE TABLE d.t (a VARCHAR(9), h CHAR(32) AS (MD5(a)) STORED); INSERT INTO d.t (a) VALUES ('a'); SELECT h FROM d.t")"
verdict

#!/usr/bin/env bash
# MySQL: the log's text of a CREATE TABLE ... SELECT makes no table when it is run by itself.
# Expected: a logged CREATE TABLE creates the table, or fails.
# Found:    the text ends in START TRANSACTION, which nobody wrote. MySQL answers OK, has no table until a COMMIT, and forgets it if
#           the session ends. MariaDB refuses the text as a syntax error.
# Matters:  readers that apply logged DDL one by one: no error, no table, and then rows for it.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

mysql=$(mysql_9_7)
mariadb=$(mariadb_11_8)
server source "$mysql"
server mysql "$mysql"
server mariadb "$mariadb"
sql source "CREATE DATABASE d; CREATE TABLE d.a (id INT PRIMARY KEY); INSERT INTO d.a VALUES (1), (2); FLUSH LOGS; CREATE TABLE d.b SELECT * FROM d.a"
text=$(logged source | sed -n '/^CREATE TABLE/,/^\/\*!\*\//p' | sed '$d')
seen "MySQL $(sql source 'SELECT @@version') logs CREATE TABLE d.b SELECT * FROM d.a as" 'CREATE TABLE `d`.`b` (
  `id` int NOT NULL
) START TRANSACTION' "$text"
seen "MySQL runs this text: answer, and tables afterwards" "OK" "$(sql mysql "CREATE DATABASE d" && sql mysql "$text" && echo OK && sql mysql 'SHOW TABLES IN d')"
seen "MySQL, with a COMMIT in the same session" "OK
b" "$(sql mysql "$text; COMMIT" && echo OK && sql mysql 'SHOW TABLES IN d')"
seen "MariaDB $(sql mariadb 'SELECT @@version') runs this text" "ERROR 1064 (42000) near 'START TRANSACTION'" \
  "$(sql mariadb 'CREATE DATABASE d'; sql mariadb "$text" 2>&1 | sed -n "s/at line.*near/near/; s/'START.*/'START TRANSACTION'/; /^ERROR/p")"
verdict

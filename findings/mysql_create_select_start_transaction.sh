#!/usr/bin/env bash
# MySQL: the log's text of a CREATE TABLE ... SELECT makes no table when it is run by itself.
# Expected: a logged CREATE TABLE creates the table, or fails.
# Found:    the text ends in START TRANSACTION, which nobody wrote. MySQL answers OK, has no table until a COMMIT, and
#           forgets it if the session ends. MariaDB refuses the text as a syntax error.
# Matters:  readers that apply logged DDL one by one: no error, no table, and then rows for it.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

mysql=$(mysql_9_7)
mariadb=$(mariadb_11_8)
server source "$mysql"
server mysql "$mysql"
server mariadb "$mariadb"
sql source "CREATE DATABASE d; CREATE TABLE d.a (id INT PRIMARY KEY); FLUSH LOGS; CREATE TABLE d.b SELECT * FROM d.a"
text=$(logged source | sed -n '/^CREATE TABLE/,/^\/\*!\*\//p' | sed '$d')
seen "$(version source) logs CREATE TABLE d.b SELECT * FROM d.a as" 'CREATE TABLE `d`.`b` (
  `id` int NOT NULL
) START TRANSACTION' "$text"
tables="SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = 'd'"
for name in mysql mariadb; do sql $name "CREATE DATABASE d"; done
seen "MySQL runs this text: answer, and number of tables afterwards" "OK
0" "$(answer mysql "$text"; sql mysql "$tables")"
seen "MySQL, with a COMMIT in the same session" "OK
1" "$(answer mysql "$text; COMMIT"; sql mysql "$tables")"
seen "$(version mariadb) runs this text" "ERROR 1064 (42000): syntax error near 'START TRANSACTION'" \
  "$(answer mariadb "$text" | sed "s/: You have .* near/: syntax error near/; s/TRANSACTION.*/TRANSACTION'/")"
verdict

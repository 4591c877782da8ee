#!/usr/bin/env bash
# MySQL and MariaDB: SHOW CREATE TABLE of an ENUM with characters beyond U+FFFF makes another table, or none.
# Expected: the text that SHOW CREATE TABLE prints, and mysqldump dumps, makes the same table again.
# Found:    each such character of a label is printed as '?', while rows still hold and read the right label. One label:
#           the copy has the label '?'. Two: the copy is refused, since both are '?'. MariaDB 10.11 refuses two of them
#           from the start.
# Matters:  whatever creates target tables from the source's own text. The log has the labels
#           (binlog_row_metadata=FULL).
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

mysql=$(mysql_9_7)
mariadb=$(mariadb_11_8)
older=$(mariadb_10_11)
server mysql "$mysql"
server mariadb "$mariadb"
server older "$older"
two="CREATE TABLE d.two (kanji ENUM('a', '𠮷', '𠀋') CHARACTER SET utf8mb4)"
shown() { sql "$1" "SHOW CREATE TABLE d.$2" | cut -f2 | sed 's/\\n/ /g'; }
for name in mysql mariadb; do
  sql $name "CREATE DATABASE d; CREATE DATABASE copy; $two; INSERT INTO d.two VALUES ('𠮷'), ('𠀋');
    CREATE TABLE d.one (kanji ENUM('a', '𠮷') CHARACTER SET utf8mb4)"
  seen "$(version $name): rows, and SHOW CREATE TABLE" "𠮷
𠀋
enum('a','?','?')" "$(sql $name 'SELECT kanji FROM d.two'; shown $name two | grep -o "enum([^)]*)")"
  seen "the table made from this text" "ERROR 1291 (HY000): Column 'kanji' has duplicated value '?' in ENUM" \
    "$(answer $name "USE copy; $(shown $name two)")"
  seen "the text of a table with one such label makes a table that refuses the label" "OK
ERROR 1265 (01000): Data truncated for column 'kanji' at row 1" "$(answer $name "USE copy; $(shown $name one)"
    answer $name "SET sql_mode = 'STRICT_ALL_TABLES'; INSERT INTO copy.one VALUES ('𠮷')")"
done
seen "$(version older): the original table with both labels" \
  "ERROR 1291 (HY000): Column 'kanji' has duplicated value '?' in ENUM" "$(answer older "CREATE DATABASE d; $two")"
verdict

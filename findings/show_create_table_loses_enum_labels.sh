#!/usr/bin/env bash
# MySQL and MariaDB: SHOW CREATE TABLE of an ENUM with characters beyond U+FFFF makes another table, or none.
# Expected: the text that SHOW CREATE TABLE prints, and mysqldump dumps, makes the same table again.
# Found:    each such character of a label is printed as '?', while rows still hold and read the right label. One label: the copy has
#           the label '?'. Two: the copy is refused, since both are '?'. MariaDB 10.11 refuses two of them from the start.
# Matters:  whatever creates target tables from the source's own text. The log has the labels (binlog_row_metadata=FULL).
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

mysql=$(mysql_9_7)
mariadb=$(mariadb_11_8)
older=$(mariadb_10_11)
server mysql "$mysql"
server mariadb "$mariadb"
server older "$older"
for name in mysql mariadb; do
  sql $name "CREATE DATABASE d; CREATE TABLE d.t (kanji ENUM('a', '𠮷', '𠀋') CHARACTER SET utf8mb4); INSERT INTO d.t VALUES ('𠮷'), ('𠀋');
    CREATE TABLE d.one (kanji ENUM('a', '𠮷') CHARACTER SET utf8mb4)"
  version=$(sql $name 'SELECT @@version')
  seen "$version: rows" "𠮷
𠀋" "$(sql $name 'SELECT kanji FROM d.t')"
  text=$(sql $name 'SHOW CREATE TABLE d.t' | cut -f2 | sed 's/\\n/ /g')
  seen "$version: SHOW CREATE TABLE" "enum('a','?','?')" "$(grep -o "enum([^)]*)" <<<"$text")"
  seen "$version: the table made from this text" "ERROR 1291 (HY000) at line 1: Column 'kanji' has duplicated value '?' in ENUM" \
    "$(sql $name "CREATE DATABASE copy; USE copy; $text" 2>&1 | grep ERROR || true)"
  text=$(sql $name 'SHOW CREATE TABLE d.one' | cut -f2 | sed 's/\\n/ /g')
  seen "$version: with one such label the text makes a table that cannot hold the label" "OK
ERROR 1265 (01000) Data truncated for column 'kanji' at row 1" \
    "$(sql $name "USE copy; $text" && echo OK && sql $name "SET sql_mode = 'STRICT_ALL_TABLES'; INSERT INTO copy.one VALUES ('𠮷')" 2>&1 | sed -n 's/at line 1: //; /^ERROR/p')"
done
seen "$(sql older 'SELECT @@version'): the original table with both labels" "ERROR 1291 (HY000) at line 1: Column 'kanji' has duplicated value '?' in ENUM" \
  "$(sql older "CREATE DATABASE d; CREATE TABLE d.t (kanji ENUM('a', '𠮷', '𠀋') CHARACTER SET utf8mb4)" 2>&1 | grep ERROR || true)"
verdict

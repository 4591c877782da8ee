#!/usr/bin/env bash
# MySQL: a server that is killed during an ALTER TABLE loses the table, if its name has other characters than letters.
# Expected: after the restart the table is as it was before the ALTER, or as after it (definitions are atomic since 8.0).
# Found:    now and then a table `a-b` is there in the catalogue, and each use of it fails: "Tablespace is missing". A
#           table `ab` is never lost. Everything is synced (sync_binlog=1, innodb_flush_log_at_trx_commit=1).
# Matters:  a target whose tables are altered as their source is: only DROP TABLE and a new copy mend it.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

SYNCED=(--sync-binlog=1 --innodb-flush-log-at-trx-commit=1 --innodb-flush-method=fsync)
server mysql "$(mysql_9_7)" "${SYNCED[@]}"
version mysql
sql mysql 'CREATE DATABASE d'

# altered_and_killed TABLE WAIT: kill the server while it alters the table, and start it again.
altered_and_killed() {
  local command statements='' number alters
  for number in {1..200}; do statements+="ALTER TABLE d.\`$1\` MODIFY a BIGINT; ALTER TABLE d.\`$1\` MODIFY a INT;"; done
  sql mysql "DROP TABLE IF EXISTS d.\`$1\`; CREATE TABLE d.\`$1\` (id INT PRIMARY KEY, a INT); INSERT INTO d.\`$1\` VALUES (1, 1)"
  sql mysql "$statements" >/dev/null 2>&1 &
  alters=$!
  sleep "$2"
  kill -9 "$(<"$TEMP/mysql.pid")"
  { wait "$(<"$TEMP/mysql.pid")" "$alters" || true; } 2>/dev/null
  rm -f "$TEMP/mysql.sock"
  mapfile -d '' command <"$TEMP/mysql.command"
  start mysql "${command[@]}"
}

# state_of TABLE TRIES: what becomes of it in so many tries; ends with the first loss.
state_of() {
  local try found
  for ((try = 1; try <= $2; try++)); do
    altered_and_killed "$1" "0.$((RANDOM % 9))$((RANDOM % 9 + 1))"
    found=$(answer mysql "SELECT * FROM d.\`$1\`")
    [[ $found == $'1\t1' ]] || break
  done
  echo "$found"
}

seen 'a table `a-b` after a kill' 'ERROR 1812 (HY000): Tablespace is missing for table `d`.`a-b`.' "$(state_of a-b 30)"
seen 'the catalogue still has it' 1 "$(sql mysql "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema='d'")"
seen 'DROP TABLE works' OK "$(answer mysql 'DROP TABLE d.`a-b`')"
seen 'a table `ab` after ten kills' $'1\t1' "$(state_of ab 10)"
verdict

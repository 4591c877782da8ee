#!/usr/bin/env bash
# mydumper 0.10.1: a dump of MySQL 9 lacks its log position, without a word.
# Expected: the file `metadata` has the position that the dump belongs to, or the dump fails.
# Found:    MySQL has no SHOW MASTER STATUS any more. mydumper takes the error for a server without a log: the metadata
#           has a start and an end time and no position, and the exit code is 0.
# Matters:  a replica or a reader that is to go on after the dump: there is no point to start at, and this shows only
#           then.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

mysql=$(mysql_9_7)
mariadb=$(mariadb_11_8)
tool=$(debian sid mydumper=0.10.1-2)
MARIADB_PLUGIN_DIR=$(printf %s "$tool"/usr/lib/*/libmariadb3/plugin)
export MARIADB_PLUGIN_DIR
server mysql "$mysql"
server mariadb "$mariadb"
for name in mysql mariadb; do
  sql $name "CREATE DATABASE d; CREATE TABLE d.t (id INT PRIMARY KEY); INSERT INTO d.t VALUES (1)"
  status=0 log=$TEMP/mydumper-$name.log
  in_root "$tool" bin/mydumper -u root -S "$TEMP/$name.sock" -B d -o "$TEMP/dump-$name" >"$log" 2>&1 || status=$?
  echo "exit code $status, $(grep -ci -e warn -e critical -e error "$log" || true) warnings" >"$TEMP/status-$name"
  sed -i 's/at: .*/at: .../; s/[Ll]og.0000.*/FILE/; s/Pos: .*/Pos: N/; s/GTID:.*/GTID: .../; /^$/d' "$TEMP/dump-$name/metadata"
done
seen "mydumper 0.10.1-2, $(version mysql); metadata" "Started dump at: ...
Finished dump at: ..." "$(<"$TEMP/dump-mysql/metadata")"
seen "$(version mariadb); metadata" "Started dump at: ...
SHOW MASTER STATUS:
	Log: FILE
	Pos: N
	GTID: ...
Finished dump at: ..." "$(<"$TEMP/dump-mariadb/metadata")"
seen "exit codes and warnings" "exit code 0, 0 warnings
exit code 0, 0 warnings" "$(cat "$TEMP/status-mysql" "$TEMP/status-mariadb")"
verdict

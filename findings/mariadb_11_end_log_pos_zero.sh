#!/usr/bin/env bash
# MariaDB 11.8: events within a transaction have end_log_pos 0, in the file and in a dump.
# Expected: each event tells where it ends, as in 10.11 and in MySQL.
# Found:    between a transaction's GTID event and its end every event says 0. (10.11 has the positions.)
# Matters:  readers that store the position of the last row that they applied: they would store 0.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

kinds() {
  sed -n 's/.*end_log_pos \([0-9]*\) .*\(GTID\|Annotate\|Table_map\|Write_rows\|Xid\).*/\1 \2/p' |
    sed 's/^[1-9][0-9]* /N /' | tail -n 5
}

python=$(pypi mysql-replication==1.0.17 PyMySQL==1.2.4)
for version in 10_11 11_8; do
  root=$(mariadb_$version)
  server m$version "$root"
  sql m$version "CREATE DATABASE d; CREATE TABLE d.t (id INT PRIMARY KEY); INSERT INTO d.t VALUES (1)"
done
seen "$(version m10_11), the file: end_log_pos (N: not 0)" "N GTID
N Annotate
N Table_map
N Write_rows
N Xid" "$(logged m10_11 | kinds)"
seen "$(version m11_8), the file" "N GTID
0 Annotate
0 Table_map
0 Write_rows
N Xid" "$(logged m11_8 | kinds)"
seen "11.8, a dump that mysql-replication 1.0.17 reads: the row event's position" 0 "$("$python" - "$TEMP/m11_8.sock" <<'PY'
import sys

from pymysqlreplication import BinLogStreamReader
from pymysqlreplication.row_event import WriteRowsEvent

settings = {"unix_socket": sys.argv[1], "user": "root"}
stream = BinLogStreamReader(settings, server_id=9, is_mariadb=True, resume_stream=True, log_file="log.000001", log_pos=4)
print([event.packet.log_pos for event in stream if isinstance(event, WriteRowsEvent)][0])
PY
)"
verdict

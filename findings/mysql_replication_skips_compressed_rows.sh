#!/usr/bin/env bash
# mysql-replication 1.0.17: rows that the server logged compressed are passed over in silence, on both servers.
# Expected: the reader yields the rows, or an error, or at least an event of an unknown kind.
# Found:    of a MySQL transaction with binlog_transaction_compression only the GTID event comes, of a MariaDB one with
#           log_bin_compress all but the rows. The position moves on, so the rows are never met again.
# Matters:  each setting may be switched on for one session (MySQL) or at any time (MariaDB); the reader then loses
#           those writes.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

python=$(pypi mysql-replication==1.0.17 PyMySQL==1.2.4 cryptography==48.0.0)
mysql=$(mysql_9_7)
mariadb=$(mariadb_11_8)
server mysql "$mysql"
server mariadb "$mariadb"
create="CREATE DATABASE d; CREATE TABLE d.t (id INT PRIMARY KEY, a VARCHAR(400));"
sql mysql "$create INSERT INTO d.t VALUES (1, 'plain');
  SET SESSION binlog_transaction_compression = ON; INSERT INTO d.t VALUES (2, REPEAT('a', 400));
  SET SESSION binlog_transaction_compression = OFF; INSERT INTO d.t VALUES (3, 'plain')"
sql mariadb "$create INSERT INTO d.t VALUES (1, 'plain');
  SET GLOBAL log_bin_compress = ON; INSERT INTO d.t VALUES (2, REPEAT('a', 400));
  SET GLOBAL log_bin_compress = OFF; INSERT INTO d.t VALUES (3, 'plain')"
cat >"$TEMP/read.py" <<'PY'
import logging
import sys

from pymysqlreplication import BinLogStreamReader

logging.disable()  # A hint about binlog_row_metadata, which is not meant here.
path, flavour = sys.argv[1:]
stream = BinLogStreamReader(
    {"unix_socket": path, "user": "root"},
    server_id=9,
    is_mariadb=flavour == "mariadb",
    resume_stream=True,
    log_file="log.000001",
    log_pos=4,
)
for event in stream:
    name = type(event).__name__
    if name == "WriteRowsEvent":
        print(name, *(next(iter(row["values"].values())) for row in event.rows))
    elif name in ("GtidEvent", "MariadbGtidEvent", "XidEvent"):
        print(name)
PY
for name in mysql mariadb; do
  seen "$(version $name): ids in the table, the second one logged compressed" "1,2,3" \
    "$(sql $name 'SELECT GROUP_CONCAT(id) FROM d.t')"
done
seen "MySQL, the last events" "GtidEvent
WriteRowsEvent 1
XidEvent
GtidEvent
GtidEvent
WriteRowsEvent 3
XidEvent" "$("$python" "$TEMP/read.py" "$TEMP/mysql.sock" mysql | tail -n 7)"
seen "MariaDB, the last events" "MariadbGtidEvent
WriteRowsEvent 1
XidEvent
MariadbGtidEvent
XidEvent
MariadbGtidEvent
WriteRowsEvent 3
XidEvent" "$("$python" "$TEMP/read.py" "$TEMP/mariadb.sock" mariadb | tail -n 8)"
verdict

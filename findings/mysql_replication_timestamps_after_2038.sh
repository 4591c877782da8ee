#!/usr/bin/env bash
# mysql-replication 1.0.17: a TIMESTAMP of MariaDB 11.8 after January 2038 arrives as a moment before 1902.
# Expected: the moment that the server prints. MariaDB takes TIMESTAMPs up to 2106 since 11.5, in the same four bytes,
#           unsigned.
# Found:    the reader takes the four bytes for signed, and yields a date 136 years earlier, without an error.
# Matters:  contracts, expiry dates and "for ever" values that a source of 11.5 or later holds.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

python=$(pypi mysql-replication==1.0.17 PyMySQL==1.2.4)
root=$(mariadb_11_8)
server m "$root"
sql m "CREATE DATABASE d; CREATE TABLE d.t (id INT PRIMARY KEY, moment TIMESTAMP NULL); SET time_zone = '+00:00';
  INSERT INTO d.t VALUES (1, '2038-01-19 03:14:07'), (2, '2038-01-19 03:14:08'), (3, '2099-12-31 23:59:59')"
seen "$(version m) has" "2038-01-19 03:14:07
2038-01-19 03:14:08
2099-12-31 23:59:59" "$(sql m "SET time_zone = '+00:00'; SELECT moment FROM d.t ORDER BY id")"
seen "mysql-replication 1.0.17 yields" "2038-01-19 03:14:07
1901-12-13 20:45:52
1963-11-25 17:31:43" "$(TZ=UTC "$python" - "$TEMP/m.sock" <<'PY'
import logging
import sys

from pymysqlreplication import BinLogStreamReader
from pymysqlreplication.row_event import WriteRowsEvent

logging.disable()
settings = {"unix_socket": sys.argv[1], "user": "root"}
stream = BinLogStreamReader(settings, server_id=9, is_mariadb=True, resume_stream=True, log_file="log.000001", log_pos=4)
for event in stream:
    if isinstance(event, WriteRowsEvent):
        print(*(list(row["values"].values())[1] for row in event.rows), sep="\n")
PY
)"
verdict

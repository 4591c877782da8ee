#!/usr/bin/env bash
# mysql-replication 1.0.17: a negative TIME within a JSON document arrives positive, and a DATE as a DATETIME.
# Expected: a JSON document from the log is the document that the server prints.
# Found:    MySQL keeps TIME and DATE inside of JSON in a binary form of its own. The reader drops the sign of the TIME,
#           and makes the DATE a moment at midnight. The document's keys are bytes, too.
# Matters:  JSON columns that applications fill from columns (JSON_OBJECT, JSON_ARRAYAGG), as audit and outbox tables
#           do.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

python=$(pypi mysql-replication==1.0.17 PyMySQL==1.2.4 cryptography==48.0.0)
root=$(mysql_9_7)
server m "$root"
sql m "CREATE DATABASE d; CREATE TABLE d.t (id INT PRIMARY KEY, j JSON);
  INSERT INTO d.t VALUES (1, JSON_OBJECT('late', TIME'-01:02:03', 'day', DATE'2026-01-02'))"
seen "$(version m) has" '{"day": "2026-01-02", "late": "-01:02:03.000000"}' "$(sql m 'SELECT j FROM d.t')"
seen "mysql-replication 1.0.17 yields" \
  "{b'day': datetime.datetime(2026, 1, 2, 0, 0), b'late': datetime.time(1, 2, 3)}" "$("$python" - "$TEMP/m.sock" <<'PY'
import logging
import sys

from pymysqlreplication import BinLogStreamReader
from pymysqlreplication.row_event import WriteRowsEvent

logging.disable()
settings = {"unix_socket": sys.argv[1], "user": "root"}
stream = BinLogStreamReader(settings, server_id=9, resume_stream=True, log_file="log.000001", log_pos=4)
print([list(event.rows[0]["values"].values())[1] for event in stream if isinstance(event, WriteRowsEvent)][0])
PY
)"
verdict

#!/usr/bin/env bash
# MariaDB: ALTER TABLE ... ADD ... DEFAULT (UUID()) is logged as a statement, so each reader makes up other values.
# Expected: with binlog_format=ROW the values of one server reach the other. MySQL refuses the statement for this reason.
# Found:    MariaDB logs the text and no rows, with neither an error nor a warning. Whoever runs it fills the old rows with
#           values of its own, and the two servers differ from then on.
# Matters:  every replica, and every reader that applies logged DDL: the table has to be copied again.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

root=$(mariadb_11_8)
mysql=$(mysql_9_7)
server source "$root"
server copy "$root"
server mysql "$mysql"
sql source "CREATE DATABASE d; CREATE TABLE d.t (id INT PRIMARY KEY); INSERT INTO d.t VALUES (1), (2)"
seen "MariaDB $(sql source 'SELECT @@version, @@binlog_format'): warnings of the ALTER" "" \
  "$(sql source "ALTER TABLE d.t ADD token CHAR(36) DEFAULT (UUID()); SHOW WARNINGS")"
seen "what the log has of it" "ALTER TABLE d.t ADD token CHAR(36) DEFAULT (UUID())" "$(logged source | grep -A99 '^ALTER' | grep -e ALTER -e '^###')"
in_root "$root" bin/mariadb-binlog --no-defaults "$TEMP"/source/log.000001 >"$TEMP/log.sql"
in_root "$root" bin/mariadb --no-defaults --skip-ssl -u root -S "$TEMP/copy.sock" <"$TEMP/log.sql"
seen "rows of the source that a second server has after it has run the log: with their id, and whole" "2 0" \
  "$(sort <(sql source 'SELECT id FROM d.t') <(sql copy 'SELECT id FROM d.t') | uniq -d | wc -l) $(sort <(sql source 'SELECT * FROM d.t') <(sql copy 'SELECT * FROM d.t') | uniq -d | wc -l)"
seen "MySQL $(sql mysql 'SELECT @@version'), the same ALTER" "ERROR 1674 (HY000) at line 1: Statement is unsafe because it uses a system function that may return a different value on the replica." \
  "$(sql mysql "CREATE DATABASE d; CREATE TABLE d.t (id INT PRIMARY KEY); INSERT INTO d.t VALUES (1), (2); ALTER TABLE d.t ADD token CHAR(36) DEFAULT (UUID())" 2>&1 || true)"
verdict

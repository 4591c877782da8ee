#!/usr/bin/env bash
# MariaDB: ALTER TABLE ... ADD ... DEFAULT (UUID()) is logged as a statement, so each reader makes up other values.
# Expected: with binlog_format=ROW the values of one server reach the other. MySQL refuses the statement for this
#           reason.
# Found:    MariaDB logs the text and no rows, with neither an error nor a warning. Whoever runs it fills the old rows
#           with values of its own, and the two servers differ from then on.
# Matters:  every replica, and every reader that applies logged DDL: the table has to be copied again.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

root=$(mariadb_11_8)
mysql=$(mysql_9_7)
server source "$root"
server copy "$root"
server mysql "$mysql"
create="CREATE DATABASE d; CREATE TABLE d.t (id INT PRIMARY KEY); INSERT INTO d.t VALUES (1), (2)"
alter="ALTER TABLE d.t ADD token CHAR(36) DEFAULT (UUID())"
sql source "$create"
seen "$(version source), $(sql source 'SELECT @@binlog_format'): $alter; SHOW WARNINGS" "OK" \
  "$(answer source "$alter; SHOW WARNINGS")"
seen "what the log has of it" "$alter" "$(logged source | grep -A99 '^ALTER' | grep -e ALTER -e '^###')"
in_root "$root" bin/mariadb-binlog --no-defaults "$TEMP"/source/log.000001 >"$TEMP/log.sql"
in_root "$root" bin/mariadb --no-defaults --skip-ssl -u root -S "$TEMP/copy.sock" <"$TEMP/log.sql"
both() { sort <(sql source "$1") <(sql copy "$1") | uniq -d | wc -l; }
seen "ids, and rows, that a second server has in common after it has run the log" "2 0" \
  "$(both 'SELECT id FROM d.t') $(both 'SELECT * FROM d.t')"
sql mysql "$create"
seen "$(version mysql), the same ALTER" "ERROR 1674 (HY000): Statement is unsafe because it uses a system function that may \
return a different value on the replica." "$(answer mysql "$alter")"
verdict

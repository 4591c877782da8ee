#!/usr/bin/env bash
# MySQL and MariaDB: after a BINLOG statement the session's clock stands still at the time of the events.
# Expected: BINLOG applies its events, and NOW() is the time of day afterwards.
# Found:    NOW() stays at the time of the last event for the rest of the session, until SET TIMESTAMP = DEFAULT.
#           SYSDATE() goes on.
# Matters:  whoever applies rows by BINLOG statements and writes rows of his own in the same session: defaults, "last
#           seen" columns and waits that rest on NOW() are as old as the source's events.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

mysql=$(mysql_9_7)
mariadb=$(mariadb_11_8)
server mysql "$mysql" --gtid-mode=OFF
server mariadb "$mariadb"
for name in mysql mariadb; do
  sql $name "CREATE DATABASE d; CREATE TABLE d.t (id INT PRIMARY KEY); SET TIMESTAMP = 1500000000; INSERT INTO d.t VALUES (1)"
  program=bin/mysqlbinlog
  [[ $name == mysql ]] || program=bin/mariadb-binlog
  in_root "${!name}" $program --no-defaults "$TEMP/$name/log.000001" >"$TEMP/log.sql"
  sed -n "/^BINLOG '/,/^'/p" "$TEMP/log.sql" | sed "s#^'.*#';#" >"$TEMP/binlog.sql"
  now=$(date +%s)
  seen "$(version $name): rows after BINLOG; are NOW(), SYSDATE() and, after SET TIMESTAMP = DEFAULT, NOW() of today" \
    "1
2017-07-14 02:40:00
yes
yes" \
    "$(sql $name "DELETE FROM d.t; SET time_zone = '+00:00'; $(<"$TEMP/binlog.sql") SELECT COUNT(*) FROM d.t;
      SELECT IF(UNIX_TIMESTAMP(NOW()) >= $now, 'yes', NOW()); SELECT IF(UNIX_TIMESTAMP(SYSDATE()) >= $now, 'yes', SYSDATE());
      SET TIMESTAMP = DEFAULT; SELECT IF(UNIX_TIMESTAMP(NOW()) >= $now, 'yes', NOW())")"
done
verdict

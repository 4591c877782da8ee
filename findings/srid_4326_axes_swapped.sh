#!/usr/bin/env bash
# MySQL and MariaDB: the same text of a point with SRID 4326 is stored as other bytes.
# Expected: ST_GeomFromText('POINT(10 20)', 4326) stores one value on both servers.
# Found:    MySQL reads latitude first in SRID 4326 and stores longitude first, MariaDB stores as it reads. So text that
#           goes from one to the other swaps the bytes, and bytes that go across swap the text. ST_X means latitude on
#           MySQL, and the first number on MariaDB. With SRID 0 the two agree.
# Matters:  a copy by text (WKT, ST_AsText) and a copy by bytes (the log) put the same row at two places on earth.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

mysql=$(mysql_9_7)
mariadb=$(mariadb_11_8)
server mysql "$mysql"
server mariadb "$mariadb"
point="SELECT HEX(p), ST_AsText(p), ST_X(p) FROM (SELECT ST_GeomFromText('POINT(10 20)', 4326) AS p) AS t"
seen "$(version mysql): bytes, text and ST_X of POINT(10 20), SRID 4326" \
  "E6100000010100000000000000000034400000000000002440	POINT(10 20)	10" "$(sql mysql "$point")"
seen "$(version mariadb): the same" \
  "E6100000010100000000000000000024400000000000003440	POINT(10 20)	10" "$(sql mariadb "$point")"
bytes=$(sql mysql "$point" | cut -f1)
sql mariadb "CREATE DATABASE d; CREATE TABLE d.t (p POINT); INSERT INTO d.t VALUES (x'$bytes')"
seen "MySQL's bytes on MariaDB" "POINT(20 10)	20" "$(sql mariadb 'SELECT ST_AsText(p), ST_X(p) FROM d.t')"
seen "SRID 0 on both" "00000000010100000000000000000024400000000000003440
00000000010100000000000000000024400000000000003440" "$(
  for name in mysql mariadb; do sql $name "SELECT HEX(ST_GeomFromText('POINT(10 20)'))"; done
)"
verdict

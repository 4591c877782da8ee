#!/usr/bin/env bash
# mydumper 0.10.1: data of INVISIBLE columns is left out of the dump, and loads without an error.
# Expected: a dump has every value, as mariadb-dump's has, or says what it lacks.
# Found:    rows are dumped as `SELECT *` has them, without the invisible column, and loaded as `INSERT INTO t VALUES
#           (...)`, which fits the table's visible columns. The copy has the column's default; dump and load end with 0.
# Matters:  a target that is filled with mydumper before replication starts at its position.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

root=$(mariadb_11_8)
tool=$(debian sid mydumper=0.10.1-2)
server source "$root"
server copy "$root"
sql source "CREATE DATABASE d; CREATE TABLE d.t (id INT PRIMARY KEY, secret VARCHAR(9) INVISIBLE);
  INSERT INTO d.t (id, secret) VALUES (1, 'kept?')"
status=0
in_root "$tool" bin/mydumper -u root -S "$TEMP/source.sock" -B d -o "$TEMP/dump" >"$TEMP/mydumper.log" 2>&1 || status=$?
seen "mydumper 0.10.1-2 on $(version source): exit code, and warnings" "0 0" \
  "$status $(grep -ci -e warn -e critical -e error "$TEMP/mydumper.log")"
seen "the dump" "INSERT INTO \`t\` VALUES
(1);" "$(grep -A1 INSERT "$TEMP/dump/d.t.sql")"
status=0
in_root "$tool" bin/myloader -u root -S "$TEMP/copy.sock" -d "$TEMP/dump" >"$TEMP/myloader.log" 2>&1 || status=$?
seen "myloader: exit code; the row in the source and in the copy" "0
1	kept?
1	NULL" "$status
$(sql source 'SELECT id, secret FROM d.t')
$(sql copy 'SELECT id, secret FROM d.t')"
seen "mariadb-dump's row" "INSERT INTO \`t\` (\`id\`, \`secret\`) VALUES (1,'kept?');" \
  "$(in_root "$root" bin/mariadb-dump --no-defaults --skip-ssl -u root -S "$TEMP/source.sock" d | grep INSERT)"
verdict

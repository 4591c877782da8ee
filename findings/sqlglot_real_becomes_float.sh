#!/usr/bin/env bash
# sqlglot 30.30.0: a MySQL REAL is written back as FLOAT, which has half of its bits.
# Expected: MySQL's REAL is DOUBLE (unless sql_mode says otherwise), and text that sqlglot reads and writes as MySQL means the same.
# Found:    `r REAL` comes back as `r FLOAT`; the server then keeps six digits of the sixteen.
# Matters:  tools that carry logged DDL to a target through sqlglot.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

python=$(pypi sqlglot==30.30.0)
mysql=$(mysql_9_7)
server mysql "$mysql"
text='CREATE TABLE t (r REAL)'
written=$("$python" -c 'import sys, sqlglot; print(sqlglot.transpile(sys.argv[1], read="mysql", write="mysql")[0])' "$text")
seen "sqlglot 30.30.0, from MySQL to MySQL: $text" 'CREATE TABLE t (r FLOAT)' "$written"
sql mysql "CREATE DATABASE before_it; CREATE DATABASE after_it; USE before_it; $text; USE after_it; $written"
seen "MySQL $(sql mysql 'SELECT @@version'): the column, and what it makes of 16777217, before and after sqlglot" "double 16777217
float 16777216" "$(for name in before_it after_it; do
  sql mysql "INSERT INTO $name.t VALUES (16777217); SELECT CONCAT(data_type, ' ', (SELECT CAST(r AS DOUBLE) FROM $name.t)) FROM information_schema.columns WHERE table_schema = '$name'"
done)"
verdict

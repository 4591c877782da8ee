#!/usr/bin/env bash
# sqlglot 30.30.0: a MySQL REAL is written back as FLOAT, which has half of its bits.
# Expected: MySQL's REAL is DOUBLE (unless sql_mode says otherwise), and text that sqlglot reads and writes as MySQL
#           means the same.
# Found:    `r REAL` comes back as `r FLOAT`; the server then keeps six digits of the sixteen.
# Matters:  tools that carry logged DDL to a target through sqlglot.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

python=$(pypi sqlglot==30.30.0)
mysql=$(mysql_9_7)
server mysql "$mysql"
text='CREATE TABLE t (r REAL)'
written=$("$python" -c 'import sys, sqlglot; print(*sqlglot.transpile(sys.argv[1], read="mysql", write="mysql"))' "$text")
seen "sqlglot 30.30.0, from MySQL to MySQL: $text" 'CREATE TABLE t (r FLOAT)' "$written"
column="SELECT data_type FROM information_schema.columns WHERE table_name = 't' AND table_schema = DATABASE()"
made() { answer mysql "CREATE DATABASE $1; USE $1; $2; INSERT INTO t VALUES (16777217); $column; SELECT CAST(r AS DOUBLE) FROM t"; }
seen "$(version mysql): the column that the first text makes, and 16777217 in it" "double
16777217" "$(made before_it "$text")"
seen "the column that sqlglot's text makes, and 16777217 in it" "float
16777216" "$(made after_it "$written")"
verdict

#!/usr/bin/env bash
# sqlglot 30.30.0: what a server prints as /*!80023 ... */ is turned into a comment that no server carries out.
# Expected: MySQL's conditional comments are code for MySQL: they are parsed, or at least written back as they were.
# Found:    one after a column is written back with a space before the '!', as an ordinary comment; one after the
#           table's options is left out. The text of MySQL's own SHOW CREATE TABLE loses its partitions, invisible
#           columns become visible, and it runs without an error.
# Matters:  tools that carry a source's SHOW CREATE TABLE or logged DDL to a target through sqlglot.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

python=$(pypi sqlglot==30.30.0)
mysql=$(mysql_9_7)
server mysql "$mysql"
sql mysql "CREATE DATABASE before_it; CREATE DATABASE after_it;
  CREATE TABLE before_it.t (id INT PRIMARY KEY, secret INT INVISIBLE) PARTITION BY HASH (id) PARTITIONS 2"
text=$(sql mysql 'SHOW CREATE TABLE before_it.t' | cut -f2 | sed 's/\\n/ /g')
written=$("$python" -c 'import sys, sqlglot; print(*sqlglot.transpile(sys.argv[1], read="mysql", write="mysql"))' "$text")
seen "$(version mysql), SHOW CREATE TABLE" '/*!80023 INVISIBLE */
/*!50100 PARTITION BY HASH (`id`) PARTITIONS 2 */' "$(grep -o '/\*[^/]*\*/' <<<"$text")"
seen "sqlglot 30.30.0 reads and writes it as MySQL" '/* !80023 INVISIBLE */' "$(grep -o '/\*[^/]*\*/' <<<"$written")"
sql mysql "USE after_it; $written"
table() {
  sql mysql "SELECT COUNT(*) FROM information_schema.partitions WHERE table_schema = '$1';
    SELECT COUNT(*) FROM information_schema.columns WHERE table_schema = '$1' AND extra NOT LIKE '%INVISIBLE%'"
}
seen "partitions, and visible columns, of the source's table" "2
1" "$(table before_it)"
seen "of the table that sqlglot's text makes" "1
2" "$(table after_it)"
verdict

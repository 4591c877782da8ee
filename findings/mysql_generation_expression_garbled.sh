#!/usr/bin/env bash
# MySQL: information_schema.COLUMNS.GENERATION_EXPRESSION is no expression that the server would take.
# Expected: the column has the expression, as in MariaDB, where it can be put into a CREATE TABLE.
# Found:    quotes are escaped once more, and letters beyond ASCII are read as Latin-1 and written as UTF-8 (é as Ã©).
#           CHECK_CLAUSE of CHECK_CONSTRAINTS has the same. SHOW CREATE TABLE is right.
# Matters:  whatever builds a target's generated columns or checks from information_schema.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

mysql=$(mysql_9_7)
mariadb=$(mariadb_11_8)
server mysql "$mysql"
server mariadb "$mariadb"
for name in mysql mariadb; do
  sql $name "CREATE DATABASE d; CREATE TABLE d.t (a VARCHAR(20), b VARCHAR(20) AS (CONCAT(a, 'é')) STORED, CHECK (a <> 'é'))"
done
expression="generation_expression FROM information_schema.columns WHERE table_schema = 'd' AND column_name = 'b'"
check="SELECT check_clause FROM information_schema.check_constraints WHERE constraint_schema = 'd'"
again="SELECT CONCAT('CREATE TABLE d.again (a VARCHAR(20), b VARCHAR(20) AS (', generation_expression, ') STORED)') INTO @text
  ${expression#* }; PREPARE again FROM @text; EXECUTE again; SELECT 'made'"
seen "$(version mysql): GENERATION_EXPRESSION and CHECK_CLAUSE" "concat(\`a\`,_utf8mb4\\'Ã©\\')
(\`a\` <> _utf8mb4\\'Ã©\\')" "$(sql mysql "SELECT $expression; $check" | sed 's/\\\\/\\/g')"
seen "SHOW CREATE TABLE" "(concat(\`a\`,_utf8mb4'é')) STORED" "$(sql mysql 'SHOW CREATE TABLE d.t' | grep -o '(concat.*STORED')"
seen "a table made with GENERATION_EXPRESSION" "ERROR 1064 (42000)" "$(answer mysql "$again" | cut -d: -f1)"
seen "$(version mariadb): GENERATION_EXPRESSION, and a table made with it" "concat(\`a\`,'é')
made" "$(sql mariadb "SELECT $expression; $again")"
verdict

#!/usr/bin/env bash
# SQLAlchemy 2.1.9: a table with a VECTOR column cannot be reflected, nor can the schema that holds it.
# Expected: a type that SQLAlchemy does not know becomes NullType, with a warning, and the other columns are there.
# Found:    the warning comes; then the length in VECTOR(3) is handed to NullType, which takes none. Not one table of
#           the schema is reflected, on either server.
# Matters:  MetaData.reflect() of a whole schema, as tools for copying and comparing do it, fails for one column of one
#           table.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

python=$(pypi SQLAlchemy==2.1.9 PyMySQL==1.2.4 cryptography==48.0.0)
mysql=$(mysql_9_7)
mariadb=$(mariadb_11_8)
server mysql "$mysql"
server mariadb "$mariadb"
cat >"$TEMP/reflect.py" <<'PY'
import sys
import warnings

import sqlalchemy

engine = sqlalchemy.create_engine("mysql+pymysql://root@/d?unix_socket=" + sys.argv[1])
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    metadata = sqlalchemy.MetaData()
    try:
        metadata.reflect(engine)
    except Exception as error:
        print(f"{type(error).__name__}: {error}")
    print("tables:", sorted(metadata.tables))
    print("warnings:", [str(warning.message) for warning in caught])
PY
for name in mysql mariadb; do
  sql $name "CREATE DATABASE d; CREATE TABLE d.plain (id INT PRIMARY KEY); CREATE TABLE d.v (id INT PRIMARY KEY, v VECTOR(3))"
done
for name in mysql mariadb; do
  seen "$(version $name)" "TypeError: NullType() takes no arguments
tables: []
warnings: [\"Did not recognize type 'vector' of column 'v'\"]" "$("$python" "$TEMP/reflect.py" "$TEMP/$name.sock")"
done
verdict

#!/usr/bin/env bash
# pandas 3.1.1 with PyMySQL 1.2.4: read_sql makes two DECIMAL keys one, and a BIGINT beside a NULL another number.
# Expected: PyMySQL hands over Decimal and int, exactly; pandas keeps them, or says that it rounds.
# Found:    read_sql's default coerce_float=True turns Decimal columns into float64, and a BIGINT column with a NULL becomes
#           float64 with either value. Nothing warns; the column merely has another dtype.
# Matters:  comparing source and target, or moving rows, with data frames: differences vanish, keys collide.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

python=$(pypi pandas==3.1.1 PyMySQL==1.2.4)
root=$(mariadb_11_8)
server m "$root"
sql m "CREATE DATABASE d; CREATE TABLE d.t (k DECIMAL(20,0) PRIMARY KEY, n BIGINT);
  INSERT INTO d.t VALUES (12345678901234567890, NULL), (12345678901234567891, 9007199254740993)"
seen "keys as PyMySQL and as pandas have them (distinct, type); the BIGINT by each" "PyMySQL 2 Decimal 9007199254740993
coerce_float=True 1 float64 9007199254740992
coerce_float=False 2 object 9007199254740992
warnings 0" "$("$python" - "$TEMP/m.sock" <<'PY'
import sys
import warnings

import pandas
import pymysql

connection = pymysql.connect(unix_socket=sys.argv[1], user="root", database="d")
cursor = connection.cursor()
cursor.execute("SELECT * FROM t ORDER BY k")
rows = cursor.fetchall()
print("PyMySQL", len({key for key, _ in rows}), type(rows[0][0]).__name__, rows[1][1])
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for coerce_float in (True, False):
        frame = pandas.read_sql("SELECT * FROM t ORDER BY k", connection, coerce_float=coerce_float)
        print(f"{coerce_float=!s}", frame["k"].nunique(), frame["k"].dtype, int(frame["n"][1]))
# pandas warns of every connection that is not SQLAlchemy's; that is not meant here.
print("warnings", sum("SQLAlchemy" not in str(warning.message) for warning in caught))
PY
)"
verdict

#!/usr/bin/env bash
# MySQL and MariaDB: a collation of the same name takes other texts for equal.
# Expected: utf8mb4_0900_ai_ci on MariaDB 11.8, which has taken the name from MySQL, compares as on MySQL; so does
#           croatian_ci, which both have had for long.
# Found:    MariaDB's 0900 names stand for its own collations of a later Unicode version: Georgian capital and small
#           letters are equal there and differ on MySQL. Croatian 'lJ' equals the digraph 'Ǉ' on MySQL and differs on
#           MariaDB.
# Matters:  a UNIQUE key with the same definition on both sides: two rows of the one server are one key on the other.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

mysql=$(mysql_9_7)
mariadb=$(mariadb_11_8)
server mysql "$mysql"
server mariadb "$mariadb"
keys() { # NAME COLLATION TEXT TEXT: how many of the two texts a unique key of this collation holds
  sql "$1" "CREATE DATABASE IF NOT EXISTS d; DROP TABLE IF EXISTS d.t;
    CREATE TABLE d.t (k VARCHAR(20) COLLATE $2 PRIMARY KEY); INSERT IGNORE INTO d.t VALUES ('$3'), ('$4'); SELECT COUNT(*) FROM d.t"
}
seen "$(version mysql): utf8mb4_0900_ai_ci, keys out of 'თბილისი' and 'ᲗᲑᲘᲚᲘᲡᲘ'" 2 \
  "$(keys mysql utf8mb4_0900_ai_ci თბილისი ᲗᲑᲘᲚᲘᲡᲘ)"
seen "$(version mariadb): the same" 1 "$(keys mariadb utf8mb4_0900_ai_ci თბილისი ᲗᲑᲘᲚᲘᲡᲘ)"
seen "MySQL: utf8mb4_croatian_ci, keys out of 'lJ' and 'Ǉ'" 1 "$(keys mysql utf8mb4_croatian_ci lJ Ǉ)"
seen "MariaDB: the same" 2 "$(keys mariadb utf8mb4_croatian_ci lJ Ǉ)"
verdict

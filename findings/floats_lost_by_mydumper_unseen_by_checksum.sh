#!/usr/bin/env bash
# mydumper 0.10.1 and pt-table-checksum 3.7.1: FLOATs that the one loses the other does not see.
# Expected: a dump and load gives the same numbers, or pt-table-checksum tells that the tables differ.
# Found:    both ask for the column as text, and the servers print a FLOAT with six digits. 16777216 arrives as
#           16777200, and both tables have the same checksum.
# Matters:  a target that was filled by a dump, and every comparison of source and target that rests on printed FLOATs.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

root=$(mariadb_11_8)
dumper=$(debian sid mydumper=0.10.1-2)
toolkit=$(debian sid percona-toolkit=3.7.1-5)
server source "$root"
server copy "$root"
sql source "CREATE DATABASE d; CREATE TABLE d.t (id INT PRIMARY KEY, f FLOAT); INSERT INTO d.t VALUES (1, 16777216)"
in_root "$dumper" bin/mydumper -u root -S "$TEMP/source.sock" -B d -o "$TEMP/dump" >"$TEMP/mydumper.log" 2>&1
in_root "$dumper" bin/myloader -u root -S "$TEMP/copy.sock" -d "$TEMP/dump" >"$TEMP/myloader.log" 2>&1
seen "the number (as a DOUBLE) in the source and, after mydumper 0.10.1-2 and myloader, in the copy" "16777216
16777200" "$(for name in source copy; do sql $name 'SELECT CAST(f AS DOUBLE) FROM d.t'; done)"

modules=("$toolkit"/usr/{share/perl5,lib/*/perl5/5.*,share/perl/5.*,lib/*/perl/5.*,lib/*/perl-base})
checksum() { # NAME: the checksum of d.t by pt-table-checksum
  PERL5LIB=$(IFS=: && echo "${modules[*]}") in_root "$toolkit" bin/perl "$toolkit/usr/bin/pt-table-checksum" --no-version-check \
    --no-check-binlog-format --no-check-replication-filters -d d --replicate=d.checksums \
    "S=$TEMP/$1.sock,u=root" >"$TEMP/checksum.log" 2>&1 || true # It misses a replica.
  sql "$1" "SELECT this_cnt, this_crc FROM d.checksums WHERE tbl = 't'"
}
seen "pt-table-checksum 3.7.1-5: rows and checksum of the source and of the copy" "1	5d5f423b
1	5d5f423b" "$(checksum source; checksum copy)"
verdict

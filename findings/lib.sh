# What the scripts of this folder share: pinned packages, private servers, and the verdict.
# Needs bash, Python 3.11 or newer with venv, apt-get and dpkg; no root, and nothing of the system is changed.
# FINDINGS_CACHE=DIR keeps fetched packages for the next script; without it all ends up in a temp folder.
# Exit codes: 0 as found, 1 CHANGED, 2 or others the script failed, 3 the pinned packages cannot be had (any more).
set -euo pipefail
export LC_ALL=C.UTF-8 PYTHONUTF8=1 PYTHONDONTWRITEBYTECODE=1

TEMP=$(mktemp -d /tmp/find.XXXXXX) # Short: the path of a socket has 107 bytes at most.
CACHE=${FINDINGS_CACHE:-$TEMP/cache}
MIRROR=${DEBIAN_MIRROR:-http://deb.debian.org/debian}
CHANGES=0
CONCLUDED=
mkdir -p "$CACHE"

tidy() {
  local status=$? file
  for file in "$TEMP"/*.pid; do
    [[ -e $file ]] || continue
    kill -9 "$(<"$file")" 2>/dev/null && wait "$(<"$file")" 2>/dev/null || true
  done
  rm -rf "$TEMP"
  if [[ $status == 1 && ! $CONCLUDED ]]; then # A command failed, which is no verdict.
    echo "THE SCRIPT FAILED" >&2
    exit 2
  fi
}
trap tidy EXIT

# unavailable WHAT LOG: end with the code that says nothing about the behaviour.
unavailable() {
  echo "CANNOT BE HAD (ANY MORE): $1" >&2
  tail -n 3 "$2" | cut -c 1-200 >&2 || true
  exit 3
}

# debian SUITE NAME=VERSION…: fetch packages with all that they depend on, unpack them, print the folder.
debian() {
  local suite=$1 work folder apt option package
  shift
  folder=$CACHE/$suite-${1//[^a-z0-9.+-]/_}-$(cksum <<<"$*" | cut -d' ' -f1)
  if [[ ! -d $folder ]]; then
    work=$(mktemp -d "$TEMP/apt.XXXXXX")
    mkdir -p "$work"/{state/lists,cache/archives}/partial "$work/root"
    touch "$work/status"
    local keyring=(/usr/share/keyrings/debian-archive-keyring.*)
    echo "deb [signed-by=${keyring[0]}] $MIRROR $suite main" >"$work/sources"
    apt=(apt-get -q -y)
    for option in Dir::State="$work/state" Dir::State::status="$work/status" Dir::Cache="$work/cache" \
      Dir::Etc::sourcelist="$work/sources" Dir::Etc::sourceparts=/dev/null Dir::Etc::preferences=/dev/null \
      Dir::Etc::preferencesparts=/dev/null Acquire::Check-Valid-Until=false Acquire::Languages=none \
      APT::Install-Recommends=false APT::Sandbox::User=root APT::Update::Error-Mode=any; do
      apt+=(-o "$option")
    done
    "${apt[@]}" update >"$TEMP/apt.log" 2>&1 || unavailable "Debian's $suite" "$TEMP/apt.log"
    "${apt[@]}" install --download-only "$@" >"$TEMP/apt.log" 2>&1 || unavailable "$*" "$TEMP/apt.log"
    for package in "$work"/cache/archives/*.deb; do dpkg -x "$package" "$work/root"; done
    mv "$work/root" "$folder"
    rm -rf "$work"
  fi
  echo "$folder"
}

# The servers, each with its own client and log reader.
mariadb_10_5() { debian bullseye mariadb-server-core-10.5=1:10.5.23-0+deb11u1 mariadb-client-10.5=1:10.5.23-0+deb11u1; }
mariadb_10_11() { debian bookworm mariadb-server-core=1:10.11.18-0+deb12u1 mariadb-client=1:10.11.18-0+deb12u1; }
mariadb_11_8() { debian trixie mariadb-server-core=1:11.8.9+ds-0+deb13u1 mariadb-client=1:11.8.9+ds-0+deb13u1; }
mysql_9_7() { debian sid mysql-server-core=9.7.4-2 mysql-client=9.7.4-2; }

# pypi NAME==VERSION…: a virtual environment with these packages; prints its Python.
pypi() {
  local folder=$CACHE/python-${*//[^a-zA-Z0-9.=-]/_}
  folder=${folder// /,}
  if [[ ! -e $folder/complete ]]; then
    python3 -m venv "$folder"
    "$folder/bin/pip" install -q --disable-pip-version-check "$@" >"$TEMP/pip.log" 2>&1 ||
      unavailable "$*" "$TEMP/pip.log"
    touch "$folder/complete"
  fi
  echo "$folder/bin/python"
}

# loader ROOT: the packages bring their own C library, which only their own loader can load. Sets LOADER.
loader() {
  local file paths=("$1"/{usr/lib,lib}/*-linux-gnu* "$1"/usr/lib/mysql/private)
  for file in "$1"/{usr/lib,lib}/*/ld-linux*.so.*; do
    [[ -e $file ]] || continue
    LOADER=("$file" --library-path "$(IFS=: && echo "${paths[*]}")")
    return
  done
  echo "no loader in $1" >&2
  return 1
}

# in_root ROOT PROGRAM ARGUMENT…: run a program of debian()'s folder.
in_root() {
  local root=$1 program=$2
  shift 2
  loader "$root"
  "${LOADER[@]}" "$root/usr/$program" "$@"
}

# server NAME ROOT OPTION…: start the folder's server with a new datadir; its socket is $TEMP/NAME.sock.
server() {
  local name=$1 root=$2 share=$2/usr/share/mysql program=$2/usr/sbin/mysqld options part
  shift 2
  [[ -e $share/english ]] || share=$root/usr/share/mariadb
  [[ ! -e $root/usr/sbin/mariadbd ]] || program=$root/usr/sbin/mariadbd
  options=(--no-defaults --lc-messages-dir="$share" --character-sets-dir="$share/charsets"
    --plugin-dir="$root/usr/lib/mysql/plugin" --skip-networking)
  [[ $EUID -ne 0 ]] || options+=(--user=root)
  [[ $program == *mariadbd ]] || options+=(--mysqlx=OFF --secure-file-priv=NULL)
  loader "$root"
  options=("${LOADER[@]}" "$program" "${options[@]}")
  if [[ ! -d $root/datadir ]]; then
    mkdir "$TEMP/new"
    if [[ $program == *mariadbd ]]; then
      mkdir "$TEMP/new/mysql"
      {
        printf '%s\n' 'create database if not exists mysql;' 'use mysql;'
        for part in system_tables performance_tables system_tables_data; do cat "$share"/m*_$part.sql; done
      } | "${options[@]}" --datadir="$TEMP/new" --bootstrap >"$TEMP/new.log" 2>&1
    else
      "${options[@]}" --datadir="$TEMP/new" --initialize-insecure --skip-log-bin >"$TEMP/new.log" 2>&1
      rm -f "$TEMP/new/auto.cnf" # Each copy needs a server_uuid of its own.
    fi || { tail -n 5 "$TEMP/new.log" >&2 && return 1; }
    mv "$TEMP/new" "$root/datadir"
  fi
  cp -a "$root/datadir" "$TEMP/$name"
  echo "$root" >"$TEMP/$name.root"
  start "$name" "${options[@]}" --datadir="$TEMP/$name" --socket="$TEMP/$name.sock" --pid-file="$TEMP/$name/pid" \
    --log-bin="$TEMP/$name/log" --server-id=1 --binlog-format=ROW --character-set-server=utf8mb4 --sync-binlog=0 \
    --innodb-flush-log-at-trx-commit=0 "$@"
}

# start NAME COMMAND…: run a server and wait until it answers; `restart NAME` runs the same command again.
start() {
  local name=$1 attempt
  shift
  printf '%s\0' "$@" >"$TEMP/$name.command"
  "$@" >>"$TEMP/$name.log" 2>&1 &
  echo $! >"$TEMP/$name.pid"
  for attempt in {1..240}; do
    [[ -S $TEMP/$name.sock ]] && sql "$name" 'SELECT 1' >/dev/null 2>&1 && return
    kill -0 "$(<"$TEMP/$name.pid")" 2>/dev/null || break
    sleep 0.5
  done
  echo "server $name did not start" >&2
  tail -n 5 "$TEMP/$name.log" >&2
  return 1
}

stop() { # NAME: end a server in order.
  kill "$(<"$TEMP/$1.pid")"
  wait "$(<"$TEMP/$1.pid")" || true
  rm -f "$TEMP/$1.pid" "$TEMP/$1.sock"
}

restart() {
  local command
  mapfile -d '' command <"$TEMP/$1.command"
  stop "$1"
  start "$1" "${command[@]}"
}

# sql NAME STATEMENTS: run them as root with the server's own client, print the rows with tabs.
sql() {
  local root client
  root=$(<"$TEMP/$1.root")
  client=(bin/mysql --no-defaults)
  [[ ! -e $root/usr/bin/mariadb ]] || client=(bin/mariadb --no-defaults --skip-ssl)
  in_root "$root" "${client[@]}" -u root -S "$TEMP/$1.sock" -N -B --default-character-set=utf8mb4 -e "$2"
}

version() { sql "$1" "SELECT CONCAT(IF(@@version LIKE '%MariaDB%', '', 'MySQL '), @@version)"; }

# logged NAME [ROOT]: what the server's current log says, as its own program, or that of ROOT, shows it.
logged() {
  local root=${2:-$(<"$TEMP/$1.root")} logs program=bin/mysqlbinlog
  [[ ! -e $root/usr/bin/mariadb-binlog ]] || program=bin/mariadb-binlog
  logs=("$TEMP/$1"/log.[0-9][0-9][0-9][0-9][0-9][0-9])
  in_root "$root" "$program" --no-defaults -v --base64-output=DECODE-ROWS "${logs[-1]}"
}

# images NAME: the rows of the current log, a line for each event's row: its columns, for an UPDATE before -> after.
images() {
  logged "$1" | sed -n 's/^### //p' | awk '
    /^(INSERT|UPDATE|DELETE)/ { if (line) print line; line = $1; next }
    /^(WHERE|SET)/ { if ($1 == "SET" && line ~ /^UPDATE/) line = line " ->"; next }
    { line = line " " $1 }
    END { if (line) print line }'
}

# columns NAME TABLE: the columns of d.TABLE as information_schema has them.
columns() {
  sql "$1" "SELECT GROUP_CONCAT(column_name ORDER BY ordinal_position) FROM information_schema.columns
    WHERE table_schema = 'd' AND table_name = '$2'"
}

# answer NAME STATEMENTS: what they select, or the server's error.
answer() {
  local output
  output=$(sql "$1" "$2" 2>&1) || output=$(sed -n 's/ at line [0-9]*//; /^ERROR/p' <<<"$output")
  echo "${output:-OK}"
}

# seen WHAT FOUND NOW: print what came out, and note it if it is not what was found.
seen() {
  printf '%s\n' "-- $1" "$3" | sed '2,$s/^/   /'
  [[ $2 == "$3" ]] && return
  CHANGES=$((CHANGES + 1))
  printf '%s\n' "   WAS:" "$2" | sed '2,$s/^/   /'
}

verdict() {
  CONCLUDED=yes
  if ((CHANGES)); then
    echo "CHANGED ($CHANGES)"
    exit 1
  fi
  echo "as found"
}

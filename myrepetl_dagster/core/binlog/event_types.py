"""The types of binlog events: which are understood, which change no row, which nobody could follow."""

QUERY, STOP, ROTATE, FORMAT_DESCRIPTION, XID, TABLE_MAP = 2, 3, 4, 15, 16, 19
HEARTBEAT, HEARTBEAT_V2, GTID, ANONYMOUS_GTID, XA_PREPARE = 27, 41, 33, 34, 38
TRANSACTION_PAYLOAD, TAGGED_GTID = 40, 42
MARIADB_GTID, MARIADB_QUERY_COMPRESSED = 162, 165
GTIDS = frozenset({GTID, ANONYMOUS_GTID, TAGGED_GTID, MARIADB_GTID})
HEARTBEATS = frozenset({HEARTBEAT, HEARTBEAT_V2})
# They carry no row: statement context (INTVAR, RAND, USER_VAR), comments, previous GTIDs, group replication,
# MariaDB's annotations, checkpoints, GTID lists and note of encryption (what is sent is decrypted). A QUERY event
# tells what a statement changes.
WITHOUT_ROWS = frozenset({STOP, 5, 13, 14, 28, 29, 35, 36, 37, HEARTBEAT, HEARTBEAT_V2, 160, 161, 163, 164})
STOPPING = {
    17: "LOAD DATA in statement format (BEGIN_LOAD_QUERY); set binlog_format=ROW",
    18: "LOAD DATA in statement format (EXECUTE_LOAD_QUERY); set binlog_format=ROW",
    26: "an INCIDENT: the source itself lost events",
    172: "a rows event in fragments (MariaDB 12.3); set binlog_row_event_fragment_threshold above the largest row",
}

"""What each error number means for a replication. It is decided in this one table.

Numbers and symbols are those of the MySQL 9 and MariaDB 11 error references. Exception classes tell nothing: PyMySQL
raises OperationalError for nearly every number. Message texts are translated, and they change. So the number decides,
and the text only where one number has several meanings (1236, 1290, 1030 …).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum


class ErrorClass(StrEnum):
    """What has to happen after an error."""

    TRANSIENT = "transient"  # the connection is usable; replay the transaction
    NEW_CONNECTION = "new connection"  # discard the connection, start from the checkpoint
    AMBIGUOUS_COMMIT = "ambiguous commit"  # as above; a COMMIT under way may have taken effect
    FAILOVER = "failover"  # this server does not take writes now; resolve the host again
    POSITION_LOST = "position lost"  # the log does not hold what the checkpoint needs
    DATA = "data"  # the server refused a row
    SCHEMA = "schema"  # a table or column is not what was planned for
    CONFIGURATION = "configuration"  # a person has to change something


@dataclass(frozen=True, slots=True)
class ErrorCode:
    code: int
    symbol: str
    error_class: ErrorClass
    hint: str = ""


_T, _N, _A = ErrorClass.TRANSIENT, ErrorClass.NEW_CONNECTION, ErrorClass.AMBIGUOUS_COMMIT
_F, _P = ErrorClass.FAILOVER, ErrorClass.POSITION_LOST
_D, _S, _X = ErrorClass.DATA, ErrorClass.SCHEMA, ErrorClass.CONFIGURATION

_GRANT = "Grant what is missing (README, section Grants), or correct user and password."
_DISK = "Free space on the server; the run goes on by itself when there is room."
_FILES = "The server cannot create a file; its error log says why."
_VALUE = "Make the target's column wide enough for what the source holds, or map it with a transform."
_SERVER_ID = "Another reader uses this server_id: choose another replication.server_id."
_PRIMARY = "The server is read only; is it the primary?"
_BY_HAND = "The target cannot have this table as the source has it: create it by hand, as the target can."
_READ_ONLY = "Transactions are read only unless they ask (transaction_read_only, tx_read_only); is it the primary?"
_ENGINE = "Unset enforce_storage_engine on the target: our tables are InnoDB's, since they need its transactions."
_LOST = "The server has lost the table's file: in the target, drop the table, then run the `snapshot` job."
_COLUMN = "Compare the table with the mapping; run `myrepetl test-connection`."

_ROWS: tuple[tuple[int, str, ErrorClass, str], ...] = (
    # The client library's own numbers
    (2002, "CR_CONNECTION_ERROR", _N, "Is the server running, and is unix_socket its socket?"),
    (2003, "CR_CONN_HOST_ERROR", _N, "Is the server running, and are host and port right?"),
    (2005, "CR_UNKNOWN_HOST", _N, "Check the host name."),
    (2006, "CR_SERVER_GONE_ERROR", _A, ""),
    (2013, "CR_SERVER_LOST", _A, ""),
    (2055, "CR_SERVER_LOST_EXTENDED", _A, ""),
    (2014, "CR_COMMANDS_OUT_OF_SYNC", _N, ""),
    (2027, "CR_MALFORMED_PACKET", _A, ""),
    (2026, "CR_SSL_CONNECTION_ERROR", _X, "Check ssl_ca, ssl_cert, ssl_key, the host name and the server's TLS."),
    (2059, "CR_AUTH_PLUGIN_CANNOT_LOAD", _X, "The account's authentication plugin is not supported."),
    (2061, "CR_AUTH_PLUGIN_ERR", _X, "The account's authentication plugin is not supported."),
    # Too much at once
    (1040, "ER_CON_COUNT_ERROR", _N, "Raise max_connections, or run fewer jobs at once."),
    (1203, "ER_TOO_MANY_USER_CONNECTIONS", _N, "Raise max_user_connections."),
    (1226, "ER_USER_LIMIT_REACHED", _N, "Raise the account's resource limits."),
    (1135, "ER_CANT_CREATE_THREAD", _N, "The server is out of threads or memory."),
    (1037, "ER_OUTOFMEMORY", _T, ""),
    (1038, "ER_OUT_OF_SORTMEMORY", _T, ""),
    (1041, "ER_OUT_OF_RESOURCES", _T, ""),
    (1206, "ER_LOCK_TABLE_FULL", _T, ""),
    (1637, "ER_TOO_MANY_CONCURRENT_TRXS", _T, ""),
    # The server or the network goes away
    (1053, "ER_SERVER_SHUTDOWN", _A, ""),
    (1077, "ER_NORMAL_SHUTDOWN", _A, ""),
    (1078, "ER_GOT_SIGNAL", _A, ""),
    (1079, "ER_SHUTDOWN_COMPLETE", _A, ""),
    (1080, "ER_FORCING_CLOSE", _A, ""),
    (1152, "ER_ABORTING_CONNECTION", _A, ""),
    (1184, "ER_NEW_ABORTING_CONNECTION", _A, ""),
    (1154, "ER_NET_READ_ERROR_FROM_PIPE", _A, ""),
    (1155, "ER_NET_FCNTL_ERROR", _A, ""),
    (1156, "ER_NET_PACKETS_OUT_OF_ORDER", _A, ""),
    (1157, "ER_NET_UNCOMPRESS_ERROR", _A, ""),
    (1158, "ER_NET_READ_ERROR", _A, ""),
    (1159, "ER_NET_READ_INTERRUPTED", _A, "Raise net_read_timeout on the server."),
    (1160, "ER_NET_ERROR_ON_WRITE", _A, ""),
    (1161, "ER_NET_WRITE_INTERRUPTED", _A, "Raise net_write_timeout on the server."),
    (1927, "ER_CONNECTION_KILLED", _A, ""),
    (3168, "ER_SERVER_ISNT_AVAILABLE", _A, ""),
    (3169, "ER_SESSION_WAS_KILLED", _A, ""),
    (4031, "ER_CLIENT_INTERACTION_TIMEOUT", _A, ""),
    (3032, "ER_SERVER_OFFLINE_MODE", _A, "The server is in offline mode."),
    (1180, "ER_ERROR_DURING_COMMIT", _A, ""),
    # Locks and interruptions
    (1205, "ER_LOCK_WAIT_TIMEOUT", _T, "Another session holds locks on the table."),
    (1213, "ER_LOCK_DEADLOCK", _T, ""),
    (1614, "ER_XA_RBDEADLOCK", _T, ""),
    (3572, "ER_LOCK_NOWAIT", _T, ""),
    (1223, "ER_CANT_UPDATE_WITH_READLOCK", _T, "Somebody holds a global read lock."),
    (1020, "ER_CHECKREAD", _T, ""),
    (3101, "ER_TRANSACTION_ROLLBACK_DURING_COMMIT", _T, ""),
    (3024, "ER_QUERY_TIMEOUT", _T, "Raise max_execution_time for this account."),
    (1969, "ER_STATEMENT_TIMEOUT", _T, "Raise max_statement_time for this account."),
    (1317, "ER_QUERY_INTERRUPTED", _T, ""),
    (1028, "ER_FILSORT_ABORT", _T, ""),
    # Space
    (1021, "ER_DISK_FULL", _T, _DISK),
    (1114, "ER_RECORD_FILE_FULL", _T, _DISK),
    (1026, "ER_ERROR_ON_WRITE", _T, _DISK),
    (1878, "ER_TEMP_FILE_WRITE_FAILURE", _T, _DISK),
    (3019, "ER_INNODB_UNDO_LOG_FULL", _T, _DISK),
    (3675, "ER_DISK_FULL_NOWAIT", _T, _DISK),
    (3, "EE_WRITE", _T, _DISK),
    (20, "EE_DISK_FULL", _T, _DISK),
    # The texts of these hold the system's errno, which is 28 if the disk is full (see `classify`).
    (1, "EE_CANTCREATEFILE", _X, _FILES),
    (1004, "ER_CANT_CREATE_FILE", _X, _FILES),
    (1005, "ER_CANT_CREATE_TABLE", _X, _FILES),
    # These hold the storage engine's, which is 165 where it is read only (innodb_read_only).
    (1015, "ER_CANT_LOCK", _X, "The server cannot lock a table; its error log says why."),
    (1030, "ER_GET_ERRNO", _T, "The storage engine failed; the server's error log says why."),
    (1197, "ER_TRANS_CACHE_FULL", _X, "Raise max_binlog_cache_size on the target."),
    # A server that does not take writes
    (1290, "ER_OPTION_PREVENTS_STATEMENT", _F, _PRIMARY),
    (1036, "ER_OPEN_AS_READONLY", _F, _PRIMARY),
    (1836, "ER_READ_ONLY_MODE", _F, _PRIMARY),
    (1792, "ER_CANT_EXECUTE_IN_READ_ONLY_TRANSACTION", _F, _READ_ONLY),
    # The log
    (1236, "ER_SOURCE_FATAL_ERROR_READING_BINLOG", _P, "Run the `snapshot` job for the mappings named here."),
    (1373, "ER_UNKNOWN_TARGET_BINLOG", _P, "Run the `snapshot` job for the mappings named here."),
    (1789, "ER_SOURCE_HAS_PURGED_REQUIRED_GTIDS", _P, "Run the `snapshot` job for the mappings named here."),
    (4052, "ER_SLAVE_SAME_ID", _X, _SERVER_ID),
    (1381, "ER_NO_BINARY_LOGGING", _X, "Start the source with --log-bin."),
    # Who may do what
    (1044, "ER_DBACCESS_DENIED_ERROR", _X, _GRANT),
    (1045, "ER_ACCESS_DENIED_ERROR", _X, _GRANT),
    (1142, "ER_TABLEACCESS_DENIED_ERROR", _X, _GRANT),
    (1143, "ER_COLUMNACCESS_DENIED_ERROR", _X, _GRANT),
    (1227, "ER_SPECIFIC_ACCESS_DENIED_ERROR", _X, _GRANT),
    (1370, "ER_PROCACCESS_DENIED_ERROR", _X, _GRANT),
    (1698, "ER_ACCESS_DENIED_NO_PASSWORD_ERROR", _X, _GRANT),
    (1129, "ER_HOST_IS_BLOCKED", _X, "FLUSH HOSTS on the server."),
    (1130, "ER_HOST_NOT_PRIVILEGED", _X, "The account may not connect from this host."),
    (1820, "ER_MUST_CHANGE_PASSWORD", _X, "The account's password has expired."),
    (1862, "ER_MUST_CHANGE_PASSWORD_LOGIN", _X, "The account's password has expired."),
    (3118, "ER_ACCOUNT_HAS_BEEN_LOCKED", _X, "Unlock the account."),
    (4151, "ER_ACCOUNT_HAS_BEEN_LOCKED", _X, "Unlock the account."),
    (3159, "ER_SECURE_TRANSPORT_REQUIRED", _X, "The server demands TLS: remove ssl_disabled."),
    (1251, "ER_NOT_SUPPORTED_AUTH_MODE", _X, "The account's authentication plugin is not supported."),
    (1046, "ER_NO_DB_ERROR", _X, "Set `database` for the connection."),
    (1049, "ER_BAD_DB_ERROR", _X, "Create the database, or correct `database`."),
    (1064, "ER_PARSE_ERROR", _X, "The server does not understand the statement; is init_query right?"),
    (1149, "ER_SYNTAX_ERROR", _X, ""),
    (1115, "ER_UNKNOWN_CHARACTER_SET", _X, ""),
    (1273, "ER_UNKNOWN_COLLATION", _X, ""),
    (1193, "ER_UNKNOWN_SYSTEM_VARIABLE", _X, ""),
    (1231, "ER_WRONG_VALUE_FOR_VAR", _X, ""),
    (1298, "ER_UNKNOWN_TIME_ZONE", _X, ""),
    (1812, "ER_TABLESPACE_MISSING", _X, _LOST),
    (1814, "ER_TABLESPACE_DISCARDED", _X, "The table has no data (DISCARD TABLESPACE): import it, or unmap the table."),
    (4078, "ER_ILLEGAL_PARAMETER_DATA_TYPES2_FOR_OPERATION", _X, "Give the mapping a key of columns that compare."),
    (1104, "ER_TOO_BIG_SELECT", _X, "Raise max_join_size, or leave sql_big_selects out of init_command."),
    (1305, "ER_SP_DOES_NOT_EXIST", _X, "The server has no such function; is init_query right?"),
    # Definitions
    (1059, "ER_TOO_LONG_IDENT", _X, _BY_HAND),
    (1071, "ER_TOO_LONG_KEY", _X, _BY_HAND),
    (1074, "ER_TOO_BIG_FIELDLENGTH", _X, _BY_HAND),
    (1103, "ER_WRONG_TABLE_NAME", _X, _BY_HAND),
    (1117, "ER_TOO_MANY_FIELDS", _X, "InnoDB takes 1,017 columns: choose some by column_mapping."),
    (1170, "ER_BLOB_KEY_WITHOUT_LENGTH", _X, _BY_HAND),
    (1709, "ER_INDEX_COLUMN_TOO_LONG", _X, _BY_HAND),
    (1818, "ER_INVALID_YEAR_COLUMN_LENGTH", _X, _BY_HAND),
    (1901, "ER_GENERATED_COLUMN_FUNCTION_IS_NOT_ALLOWED", _X, _BY_HAND),
    (3763, "ER_GENERATED_COLUMN_NAMED_FUNCTION_IS_NOT_ALLOWED", _X, _BY_HAND),
    (4161, "ER_UNKNOWN_DATA_TYPE", _X, "The target has no such type: create the table with another one by hand."),
    (1235, "ER_NOT_SUPPORTED_YET", _X, ""),
    # Tables and columns
    (1146, "ER_NO_SUCH_TABLE", _S, _COLUMN),
    (1051, "ER_BAD_TABLE_ERROR", _S, _COLUMN),
    (1050, "ER_TABLE_EXISTS_ERROR", _S, _COLUMN),
    (1054, "ER_BAD_FIELD_ERROR", _S, _COLUMN),
    (1060, "ER_DUP_FIELDNAME", _S, _COLUMN),
    (1091, "ER_CANT_DROP_FIELD_OR_KEY", _S, _COLUMN),
    (1136, "ER_WRONG_VALUE_COUNT_ON_ROW", _S, _COLUMN),
    (1412, "ER_TABLE_DEF_CHANGED", _S, ""),
    # Rows
    (1062, "ER_DUP_ENTRY", _D, "Another row of the target holds the same value in a unique key."),
    (1153, "ER_NET_PACKET_TOO_LARGE", _D, "Raise max_allowed_packet on the target."),
    (1118, "ER_TOO_BIG_ROWSIZE", _D, "The row does not fit a page of the target: make some columns TEXT or BLOB."),
    (1048, "ER_BAD_NULL_ERROR", _D, "The target's column is NOT NULL."),
    (3673, "ER_BAD_NULL_ERROR_NOT_IGNORED", _D, "The target's column is NOT NULL."),
    (1364, "ER_NO_DEFAULT_FOR_FIELD", _D, "Map the column, or give it a default in the target."),
    (1264, "ER_WARN_DATA_OUT_OF_RANGE", _D, _VALUE),
    (1265, "WARN_DATA_TRUNCATED", _D, _VALUE),
    (1292, "ER_TRUNCATED_WRONG_VALUE", _D, _VALUE),
    (1300, "ER_INVALID_CHARACTER_STRING", _D, _VALUE),
    (1366, "ER_TRUNCATED_WRONG_VALUE_FOR_FIELD", _D, _VALUE),
    (1367, "ER_ILLEGAL_VALUE_FOR_TYPE", _D, _VALUE),
    (1406, "ER_DATA_TOO_LONG", _D, _VALUE),
    (1411, "ER_WRONG_VALUE_FOR_TYPE", _D, _VALUE),
    (1416, "ER_CANT_CREATE_GEOMETRY_OBJECT", _D, _VALUE),
    (1690, "ER_DATA_OUT_OF_RANGE", _D, _VALUE),
    (1216, "ER_NO_REFERENCED_ROW", _D, ""),
    (1217, "ER_ROW_IS_REFERENCED", _D, ""),
    (1451, "ER_ROW_IS_REFERENCED_2", _D, ""),
    (1452, "ER_NO_REFERENCED_ROW_2", _D, ""),
    (1526, "ER_NO_PARTITION_FOR_GIVEN_VALUE", _D, "Add a partition for the value."),
    (1977, "ER_CONVERSION_ERROR", _D, _VALUE),
    (3105, "ER_NON_DEFAULT_VALUE_FOR_GENERATED_COLUMN", _D, "The target computes this column; do not map it."),
    (1906, "ER_WARNING_NON_DEFAULT_VALUE_FOR_GENERATED_COLUMN", _D, "The target computes this column."),
    (3140, "ER_INVALID_JSON_TEXT", _D, _VALUE),
    (3144, "ER_INVALID_JSON_CHARSET", _D, _VALUE),
    (3643, "ER_WRONG_SRID_FOR_COLUMN", _D, _VALUE),
    (3819, "ER_CHECK_CONSTRAINT_VIOLATED", _D, "The target's CHECK constraint refuses the row."),
    (4025, "ER_CONSTRAINT_FAILED", _D, "The target's CHECK constraint refuses the row."),
)

ERROR_CODES: dict[int, ErrorCode] = {row[0]: ErrorCode(*row) for row in _ROWS}

_LOG_1236 = (
    # (part of the server's text, class, hint), most specific first
    ("same server_uuid/server_id", _X, _SERVER_ID),
    ("same server_id", _X, _SERVER_ID),
    ("max_allowed_packet", _X, "Raise max_allowed_packet on the source."),
    ("binary log is not open", _X, "Start the source with --log-bin."),
    ("server_id was not set", _X, "Set server_id on the source."),
    ("server id was not set", _X, "Set server_id on the source."),
    ("could not open log file", _N, ""),
    ("memory allocation failed", _N, ""),
    ("i/o error reading", _N, ""),
    ("checksum", _N, ""),
)


# The account lacks a privilege.
ACCESS_DENIED = frozenset({1044, 1142, 1143, 1227})
# "OS errno 28 - No space left on device", "Errcode: 28", "Got error 28 from storage engine".
_WITH_ERRNO = frozenset({1, 1004, 1005, 1030})
_NO_SPACE = re.compile(r"err(?:no|code|or):? 28\b", re.IGNORECASE)
_WITH_ENGINE_ERRNO = frozenset({1005, 1015})
_ENGINE_TOO_WIDE = re.compile(r"errno:? 185\b", re.IGNORECASE)
_ENGINE_READ_ONLY = re.compile(r"errno:? 165\b", re.IGNORECASE)


def classify(code: int, text: str = "") -> ErrorCode:
    """The meaning of an error number.

    Args:
        text: looked at only if the number has several meanings.
    """
    known = ERROR_CODES.get(code)
    if known is None:
        hint = "This number is not in the table of known errors; it is not retried."
        return ErrorCode(code, "unclassified", ErrorClass.CONFIGURATION, hint)
    lowered = text.lower()
    if code == 1236:
        for part, error_class, hint in _LOG_1236:
            if part in lowered:
                return ErrorCode(code, known.symbol, error_class, hint)
    if code in _WITH_ERRNO and _NO_SPACE.search(text):
        return ErrorCode(code, known.symbol, ErrorClass.TRANSIENT, _DISK)
    if code in _WITH_ENGINE_ERRNO and _ENGINE_READ_ONLY.search(text):
        return ErrorCode(code, known.symbol, ErrorClass.FAILOVER, _PRIMARY)
    if code == 1005 and _ENGINE_TOO_WIDE.search(text):
        return ErrorCode(code, known.symbol, ErrorClass.CONFIGURATION, ERROR_CODES[1117].hint)
    if code == 1290 and "no_engine_substitution" in lowered:
        return ErrorCode(code, known.symbol, ErrorClass.CONFIGURATION, _ENGINE)
    if code == 1290 and "read-only" not in lowered and "read_only" not in lowered:
        return ErrorCode(code, known.symbol, ErrorClass.CONFIGURATION, "A server option forbids the statement.")
    return known

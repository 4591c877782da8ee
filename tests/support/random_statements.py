"""Random statements about tables, from a grammar of both flavours, spelled in every way that a session may choose.

Everything here is bytes in the disguise of text: one character for each byte, as latin-1 has it. So a statement may be
written in any character set, and a name may end in a byte that elsewhere is a quote.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random

from servers import Flavour

from myrepetl_dagster.core.values.charsets import SWE7

MODES = {
    "mysql": ("", "", "ANSI_QUOTES", "NO_BACKSLASH_ESCAPES", "ANSI,NO_BACKSLASH_ESCAPES", "IGNORE_SPACE", "TRADITIONAL"),
    "mariadb": ("", "", "ANSI_QUOTES", "NO_BACKSLASH_ESCAPES", "ANSI,NO_BACKSLASH_ESCAPES", "IGNORE_SPACE", "TRADITIONAL",
                "ORACLE", "MSSQL", "MSSQL,NO_BACKSLASH_ESCAPES", "DB2", "MAXDB", "POSTGRESQL", "EMPTY_STRING_IS_NULL"),
}  # fmt: skip
_CODECS = {"utf8mb4": "utf-8", "latin1": "cp1252", "gbk": "gbk", "big5": "big5", "sjis": "shift_jis", "cp932": "cp932",
           "gb18030": "gb18030", "cp866": "cp866", "binary": "utf-8"}  # fmt: skip
# Characters whose last byte is a backslash, a backquote, a bar or a brace in some character set.
_ODD_CHARACTERS = {"gbk": "誠縗臷", "big5": "功許蓋", "sjis": "表ソ能ポ", "cp932": "表ソ能ポ", "gb18030": "誠縗臷"}
_ODD_NAMES = ("a b", "a`b", 'a"b', "x'y", "c,d", "-- c", "/*x*/", "#h", "b\\s", "(p", ")", "[q", "q]r", "ADD COLUMN", "1t",
              "1e3", "_utf8", "$d", "primary_", "é", "Ü", "vector", "period", "system", "x;y", "0x1", "N", "b", "name.")  # fmt: skip
_TEXTS = ("", "x", "it's", 'say "no"', "C:\\", "\\'", "', ADD COLUMN zz INT, COMMENT '", '", DROP COLUMN a, COMMENT "',
          "a\\", "DEFAULT 5", ", RENAME TO zz", "/* no", "*/", "-- ", "% _", "NOT NULL", "\\n", "é", "`")  # fmt: skip
_TYPES = ("INT", "INT", "BIGINT", "INTEGER(11)", "SMALLINT UNSIGNED", "TINYINT SIGNED", "MEDIUMINT ZEROFILL", "BOOL", "DECIMAL(9,2)",
          "NUMERIC", "FLOAT", "DOUBLE", "DOUBLE PRECISION", "DOUBLE(7,3)", "REAL", "FLOAT(53)", "VARCHAR(20)",
          "VARCHAR(40)", "CHAR(5)", "CHAR", "CHARACTER VARYING(9)", "NATIONAL CHAR(5)", "NCHAR(3)", "TEXT", "TINYTEXT", "TEXT(300)",
          "LONG VARCHAR", "VARBINARY(9)", "BINARY(3)", "BINARY", "BLOB", "LONGBLOB", "CHAR(4) BYTE", "VARCHAR(9) BINARY", "DATE", "TIME",
          "DATETIME", "DATETIME(3)", "TIMESTAMP", "TIMESTAMP(6) NULL", "YEAR", "BIT", "BIT(9)", "JSON", "POINT", "SERIAL",
          "ENUM('a','b')", "SET('x','y')", "ENUM('it''s','DROP b')", "ENUM('a', 'b,c', 'NOT NULL')", "INT4", "FIXED(5,1)", "GEOMETRY")  # fmt: skip
_OF_MARIADB = ("UUID", "INET6", "VARCHAR2(9)", "NUMBER(5)", "CLOB", "RAW(4)")
_OF_MYSQL = ("VECTOR(3)", "GEOMCOLLECTION")
_CHARSETS = ("latin1", "utf8mb4", "utf8", "binary", "ascii", "gbk")
_COLLATIONS = ("latin1_bin", "utf8mb4_bin", "utf8_bin", "binary", "gbk_bin")
_DEFAULTS = ("NULL", "5", "-5", "+7", "1.5", "TRUE", "FALSE", "1e2", ".5", "0x41", "b'1'", "x'41'", "CURRENT_TIMESTAMP", "NOW()",
             "(1+2)", "(DEFAULT(id))", "'2024-01-02'", "DATE '2024-01-02'", "'a'", "N'a'", "_latin1'b'", "'a' 'b'", "''", "'12'", "'x'",
             "(uuid())", "concat('a','b')", "- 3", "CASE 1 WHEN 1 THEN 2 END")  # fmt: skip


@dataclass
class Session:
    """How a statement is spelled, and by which settings its server reads it."""

    sql_mode: str = ""
    charset: str = "utf8mb4"
    timestamps_explicit: bool = True

    @property
    def ansi_quotes(self) -> bool:
        return self.sql_mode.split(",")[0] in ("ANSI", "ANSI_QUOTES", "ORACLE", "MSSQL", "DB2", "MAXDB", "POSTGRESQL")

    @property
    def escapes(self) -> bool:
        return "NO_BACKSLASH_ESCAPES" not in self.sql_mode

    def encoded(self, text: str) -> str:
        """Raises UnicodeError: the character set lacks a character."""
        if self.charset == "swe7":
            back = {chr(code): chr(byte) for byte, code in SWE7.items()}
            if any(ord(c) in SWE7 or (ord(c) > 127 and c not in back) for c in text):
                raise UnicodeError
            return "".join(back.get(c, c) for c in text)
        return codecs.encode(text, _CODECS[self.charset]).decode("latin-1")


@dataclass
class Tables:
    """The names that there are: three tables, and the first one's columns and indexes."""

    plain: str
    partitioned: str
    twin: str  # of the partitioned one, for EXCHANGE
    columns: list[str] = field(default_factory=list)
    indexes: list[str] = field(default_factory=list)


class Grammar:
    """Makes statements. `words`: the server's own keywords, which serve as names, too."""

    def __init__(self, random: Random, flavour: Flavour, words: Sequence[str]) -> None:
        self.random = random
        self.mariadb = flavour == "mariadb"
        self.flavour = flavour
        self.words = [word for word in words if word.replace("_", "").isalnum()]
        self.session = Session()
        self.tables = Tables("t", "p", "u")

    # ---- sessions and names ----
    def new_session(self) -> Session:
        charsets = ["utf8mb4"] * 5 + [*_CODECS, "swe7"]
        if self.mariadb:
            charsets.remove("gb18030")
        pick = self.random.choice
        return Session(pick(MODES[self.flavour]), pick(charsets), self.random.random() < 0.8)

    def new_tables(self) -> Tables:
        first, second, third = (
            f"{self.new_name().replace('/', '')}{n}" if self.chance(0.5) else f"t{n}" for n in range(3)
        )
        names: list[str] = []
        while len(names) < 4:
            name = self.new_name()
            if name.casefold() not in {"id", "v", *(other.casefold() for other in names)}:
                names.append(name)
        return Tables(first, second, third, names, [self.new_name() + "_i", "ux"])

    def new_name(self) -> str:
        kind = self.random.random()
        if kind < 0.6:
            return self.random.choice([str.lower, str.upper, str.capitalize])(self.random.choice(self.words))
        if kind < 0.8:
            odd = _ODD_CHARACTERS.get(self.session.charset, "表")
            return self.random.choice([*_ODD_NAMES, self.random.choice(odd), self.random.choice(odd) + "x"])
        return f"n{self.random.randrange(1000)}"

    def name(self, text: str) -> str:
        """A name as the session may spell it. What its character set lacks is left out."""
        encoded = "".join(self._fitting(text)) or "n"
        bare = all(c.isalnum() or c in "_$" or c > "\x7f" for c in text) and self.chance(0.45) and text != "PRIMARY"
        if bare:
            return encoded
        pairs = [("`", "`")]
        if self.session.ansi_quotes:
            pairs.append(('"', '"'))
        if self.session.sql_mode.startswith("MSSQL"):
            pairs.append(("[", "]"))
        first, last = self.random.choice(pairs)
        return first + self._doubled(encoded, text, last) + last

    def _doubled(self, encoded: str, text: str, last: str) -> str:
        """With each character of the name doubled that is the quote, but no byte of another character."""
        if last not in text or self.session.charset == "swe7":
            return encoded
        return "".join(c * 2 if character == last else c for character in text for c in [self._or_none(character)])

    def _fitting(self, text: str) -> list[str]:
        return [self._or_none(c) for c in text]

    def _or_none(self, character: str) -> str:
        try:
            return self.session.encoded(character)
        except UnicodeError:
            return ""

    def table(self, text: str) -> str:
        name = self.name(text)
        kind = self.random.random()
        if kind < 0.2:
            return self.random.choice(["d", "`d`"]) + self.random.choice([".", " . "]) + name
        return "." + name if self.mariadb and kind < 0.25 else name

    def column(self) -> str:
        """A column that there is, mostly, in any letters; or a new one."""
        if self.chance(0.15):
            return self.name(self.new_name())
        text = self.random.choice([*self.tables.columns, "id"])
        return self.name(self.random.choice([text, text, text.swapcase()]))

    # ---- pieces ----
    def chance(self, share: float) -> bool:
        return self.random.random() < share

    def maybe(self, text: str, share: float = 0.3) -> str:
        return text if self.chance(share) else ""

    def pick(self, *choices: str) -> str:
        return self.random.choice(choices)

    def only(self, flavour: str, text: str) -> str:
        return text if flavour == self.flavour else ""

    def if_exists(self, words: str = "IF EXISTS") -> str:
        return self.maybe(words, 0.15) if self.mariadb else ""

    def text(self) -> str:
        """A string literal."""
        value = "".join(self._fitting(self.pick(*_TEXTS, *_ODD_CHARACTERS.get(self.session.charset, ""))))
        quote = "'" if self.session.ansi_quotes or self.chance(0.7) else '"'
        if self.session.charset in _ODD_CHARACTERS and any(c > "\x7f" for c in value):
            return quote + value + quote  # no byte of it shall be taken for a character
        if self.session.escapes:
            value = value.replace("\\", "\\\\")
            return quote + value.replace(quote, self.pick("\\" + quote, quote * 2)) + quote
        return quote + value.replace(quote, quote * 2) + quote

    def definition(self) -> str:
        parts = [self.pick(*_TYPES, *(_OF_MARIADB if self.mariadb else _OF_MYSQL))]
        text = 0.25 if any(word in parts[0] for word in ("CHAR", "TEXT", "ENUM", "SET")) else 0.01
        more = [
            self.maybe(f"{self.pick('CHARACTER SET', 'CHARSET', 'CHAR SET')} {self.pick(*_CHARSETS)}", text),
            self.maybe(f"COLLATE {self.pick(*_COLLATIONS)}", text / 2),
            self.maybe(f"DEFAULT {self.pick(*_DEFAULTS)}", 0.4),
            self.pick("", "", "NULL", "NOT NULL"),
            self.maybe(f"COMMENT {self.text()}", 0.3),
            self.maybe(self.pick("UNIQUE", "UNIQUE KEY", "PRIMARY KEY", "KEY"), 0.08),
            self.maybe("AUTO_INCREMENT", 0.04),
            self.maybe(self.pick("INVISIBLE", "VISIBLE", "COLUMN_FORMAT FIXED", "STORAGE DISK"), 0.05),
            self.maybe(self.pick("CHECK (1 > 0)", "CONSTRAINT k CHECK (2 > 1)", "CHECK (1 > 0)" + self.only("mysql", " NOT ENFORCED")), 0.08),
            self.maybe(self.pick("ON UPDATE CURRENT_TIMESTAMP", "REFERENCES d.zz (id)", "SRID 4326"), 0.03),
            self.maybe(self.only("mariadb", "WITHOUT SYSTEM VERSIONING"), 0.02),
        ]  # fmt: skip
        if self.chance(0.2):
            self.random.shuffle(more)
        if self.chance(0.06):
            more = [
                f"{self.maybe('GENERATED ALWAYS', 0.5)} AS (id + 1) {self.pick('', 'VIRTUAL', 'STORED', 'PERSISTENT')}"
            ]
        return " ".join([*parts, *(part for part in more if part)])

    def place(self) -> str:
        return self.pick("", "", "", "FIRST", f"AFTER {self.column()}")

    def keyed(self) -> str:
        """What ADD may add beside columns."""
        part = self.pick(self.column(), self.column(), f"{self.column()}(3)", "id", "id DESC")
        name = self.maybe(self.name(self.new_name()), 0.5)
        return self.pick(
            f"PRIMARY KEY (id, {self.column()})", f"PRIMARY KEY {self.maybe('USING BTREE')} ({part})",
            f"CONSTRAINT {name} PRIMARY KEY ({part})", f"CONSTRAINT {name} UNIQUE ({part})",
            f"{self.pick('INDEX', 'KEY')} {self.if_exists('IF NOT EXISTS')} {name} ({part})",
            f"UNIQUE {self.pick('', 'INDEX', 'KEY')} {name} ({part}, {self.column()}) COMMENT {self.text()}",
            f"FULLTEXT {self.pick('', 'KEY')} {name} ({self.column()})", f"CONSTRAINT {name} CHECK (id > -9)",
            f"SPATIAL INDEX {name} ({self.column()})", "CHECK (id > -9)",
            f"CONSTRAINT {name} FOREIGN KEY ({self.column()}) REFERENCES d.zz (id) ON DELETE SET NULL",
        )  # fmt: skip

    def option(self) -> str:
        """A table option."""
        equals = self.pick("=", " ", " = ")
        return self.pick(
            f"COMMENT{equals}{self.text()}", f"COMMENT{equals}{self.text()}", f"ENGINE{equals}InnoDB", f"ENGINE{equals}MyISAM",
            f"AUTO_INCREMENT{equals}50", f"ROW_FORMAT{equals}DYNAMIC", f"DEFAULT CHARSET{equals}latin1",
            f"{self.maybe('DEFAULT')} CHARACTER SET{equals}utf8mb4", f"COLLATE{equals}utf8mb4_bin", f"ENGINE{equals}BLACKHOLE",
            f"STATS_PERSISTENT{equals}1", f"MAX_ROWS{equals}100", f"KEY_BLOCK_SIZE{equals}8", f"PACK_KEYS{equals}1",
            f"CHECKSUM{equals}1", f"DELAY_KEY_WRITE{equals}0", f"CONNECTION{equals}'x'", f"AVG_ROW_LENGTH{equals}9",
            f"ENGINE{equals}MEMORY", f"STATS_SAMPLE_PAGES{equals}9",
        )  # fmt: skip

    def clause(self) -> str:
        column, new = self.column, self.name(self.new_name())
        word = self.maybe("COLUMN", 0.5)
        index = self.name(self.random.choice([*self.tables.indexes, "PRIMARY"]))
        kinds = (
            (5, lambda: f"ADD {word} {self.if_exists('IF NOT EXISTS')} {new} {self.definition()} {self.place()}"),
            (1, lambda: f"ADD {word} ({new} {self.definition()}, {column()} {self.definition()})"),
            (1, lambda: f"ADD ({new} {self.definition()}, {self.keyed()})"),
            (3, lambda: f"ADD {self.keyed()}"),
            (4, lambda: f"DROP {word} {self.if_exists()} {column()} {self.maybe('RESTRICT', 0.1)}"),
            (1, lambda: "DROP PRIMARY KEY"),
            (1, lambda: f"DROP PRIMARY KEY, ADD PRIMARY KEY (id, {column()})"),
            (2, lambda: f"DROP {self.pick('INDEX', 'KEY')} {self.if_exists()} {index}"),
            (1, lambda: f"DROP CONSTRAINT {index}"),
            (1, lambda: f"DROP {self.pick('FOREIGN KEY', 'CHECK')} {index}"),
            (4, lambda: f"MODIFY {word} {self.if_exists()} {column()} {self.definition()} {self.place()}"),
            (4, lambda: f"CHANGE {word} {self.if_exists()} {column()} {self.pick(new, new, column())} {self.definition()} {self.place()}"),
            (3, lambda: f"RENAME COLUMN {self.if_exists()} {column()} TO {self.pick(new, new, column())}"),
            (1, lambda: f"RENAME {self.pick('INDEX', 'KEY')} {index} TO {new}"),
            (1, lambda: f"RENAME {self.pick('', 'TO', 'AS', '=')} {self.pick('', 'e.')}{self.name(self.new_name())}"),
            (1, lambda: f"ALTER {word} {column()} {self.pick('SET DEFAULT 4', 'DROP DEFAULT', self.only('mysql', 'SET INVISIBLE') or 'DROP DEFAULT')}"),
            (1, lambda: f"ALTER INDEX {index} {self.only('mysql', 'INVISIBLE') or 'IGNORED'}"),
            (1, lambda: f"CONVERT TO {self.pick('CHARACTER SET', 'CHARSET', 'CHAR SET')} {self.pick(*_CHARSETS, 'DEFAULT')}"),
            (5, self.option),
            (1, lambda: f"{self.option()} {self.option()}"),
            (1, lambda: self.pick("FORCE", "DISABLE KEYS", "ENABLE KEYS", "ALGORITHM=COPY", "ALGORITHM INPLACE", "LOCK=NONE")),
            (1, lambda: f"ORDER BY {column()}, {column()} DESC"),
            (1, lambda: self.pick("ADD SYSTEM VERSIONING", "ADD PERIOD FOR pp (a, b)", "WITH VALIDATION", "IMPORT TABLESPACE")),
        )  # fmt: skip
        return self.one_of(kinds)

    def one_of(self, kinds: Sequence[tuple[int, Callable[[], str]]]) -> str:
        return self.random.choices([make for _, make in kinds], [weight for weight, _ in kinds])[0]()

    def partition_clause(self) -> str:
        return self.pick(
            "DROP PARTITION p0", "DROP PARTITION p0, p1", "TRUNCATE PARTITION p1", "TRUNCATE PARTITION ALL", "REMOVE PARTITIONING",
            "ADD PARTITION (PARTITION p9 VALUES LESS THAN (900))", "REORGANIZE PARTITION p0, p1 INTO (PARTITION p0 VALUES LESS THAN (20))",
            "REBUILD PARTITION p0", "ANALYZE PARTITION ALL", "CHECK PARTITION p1", "OPTIMIZE PARTITION p0", "COALESCE PARTITION 1",
            f"EXCHANGE PARTITION p0 WITH TABLE {self.table(self.tables.twin)} {self.pick('', 'WITHOUT VALIDATION')}",
            f"EXCHANGE PARTITION p0 WITH TABLE {self.table(self.tables.twin)}", "PARTITION BY HASH (id) PARTITIONS 2",
            f"CONVERT PARTITION p1 TO TABLE {self.table(self.new_name())}",
            f"CONVERT TABLE {self.table(self.tables.twin)} TO PARTITION p8 VALUES LESS THAN (800)",
            f"ADD COLUMN {self.name(self.new_name())} {self.definition()} PARTITION BY KEY (id) PARTITIONS 3",
            f"ADD {self.name(self.new_name())} {self.definition()} REMOVE PARTITIONING", f"{self.option()} REMOVE PARTITIONING",
            "DROP v PARTITION BY LINEAR KEY ALGORITHM=2 (id) PARTITIONS 2", f"ADD (w INT) {self.pick('PARTITION BY HASH (id)', '')}",
        )  # fmt: skip

    # ---- statements ----
    def statement(self) -> str:
        tables, table = self.tables, self.table
        some = self.random.choice([tables.plain, tables.plain, tables.partitioned, tables.twin])
        wait = self.maybe(self.pick("WAIT 5", "NOWAIT"), 0.1) if self.mariadb else ""
        index = self.name(self.random.choice([*tables.indexes, "PRIMARY"]))
        new = self.name(self.new_name())
        replace = self.maybe("OR REPLACE", 0.4) if self.mariadb else ""
        kinds = (
            (60, lambda: f"ALTER {self.modifier()} TABLE {self.if_exists()} {table(tables.plain)} {wait} {self.clauses()}"),
            (8, lambda: f"ALTER TABLE {table(tables.partitioned)} {self.partition_clause()}"),
            (5, lambda: f"DROP INDEX {self.if_exists()} {index} ON {table(tables.plain)} {wait or self.pick('', '', 'ALGORITHM=COPY')}"),
            (3, lambda: f"CREATE {replace} {self.pick('', 'UNIQUE')} INDEX {index} {self.maybe('USING BTREE', 0.2)} ON {table(tables.plain)} (id, {self.column()})"),
            (1, lambda: f"CREATE INDEX {new} ON {table(tables.plain)} ({self.column()})"),
            (2, lambda: f"TRUNCATE {self.maybe('TABLE')} {table(some)} {wait}"),
            (1, lambda: f"DROP TABLE {self.maybe('IF EXISTS')} {table(some)} {self.pick('', 'CASCADE')}"),
            (1, lambda: f"DROP TABLES IF EXISTS {table(tables.twin)}, {table(self.new_name())}"),
            (2, lambda: f"RENAME {self.pick('TABLE', 'TABLES')} {self.if_exists()} {table(some)} {wait} TO {self.pick('', 'e.')}{new}"),
            (2, lambda: f"RENAME TABLE {table(tables.plain)} TO zz1, {table(tables.twin)} TO {table(tables.plain)}, zz1 TO {table(tables.twin)}"),
            (1, lambda: f"CREATE {replace} TABLE {self.maybe('IF NOT EXISTS')} {table(self.random.choice([some, self.new_name()]))} (id INT PRIMARY KEY, {new} {self.definition()})"),
            (1, lambda: f"CREATE {replace} TABLE {table(self.new_name())} LIKE {table(some)}"),
            (1, lambda: f"CREATE TABLE {table(self.new_name())} {self.pick('', 'AS')} SELECT * FROM {table(some)}"),
            (1, lambda: f"CREATE TEMPORARY TABLE {new} (id INT)"),
            (1, lambda: f"CREATE OR REPLACE VIEW {table(self.new_name())} AS SELECT 1 AS x"),
            (1, lambda: f"{self.pick('ANALYZE', 'OPTIMIZE', 'CHECK', 'REPAIR')} TABLE {table(some)}"),
            (int(self.mariadb), lambda: f"SET STATEMENT {self.pick('max_statement_time=9', 'lock_wait_timeout=9, max_statement_time=9')} FOR ALTER TABLE {table(tables.plain)} {self.clauses()}"),
            (1, lambda: f"CREATE TRIGGER {new} BEFORE INSERT ON {table(tables.plain)} FOR EACH ROW SET @a = 1"),
        )  # fmt: skip
        return self.spaced(self.one_of(kinds)) + self.pick("", "", "", ";", " ;  ", " -- the end", "\n# it's the end")

    def modifier(self) -> str:
        return self.pick(*[""] * 8, "ONLINE", "IGNORE") if self.mariadb else ""

    def clauses(self) -> str:
        found = [self.clause() for _ in range(self.random.choice((1, 1, 1, 2, 2, 3)))]
        if self.chance(0.12):
            version = self.pick(
                "!", "!50000", "!50701", "!080000", "!99999", "M!", "M!100000", "M!999999", "m!", "!40101"
            )
            found.append(f"{found.pop()} /*{version} , {self.clause()} */")
        return ", ".join(found)

    def spaced(self, text: str) -> str:
        """The text with other white space and comments where it has spaces outside of quotes, and in other letters."""
        parts, quote = [], ""
        for character in text:
            if quote:
                quote = "" if character == quote else quote
            elif character in "'\"`[":
                quote = "]" if character == "[" else character
            elif character == " " and self.chance(0.12):
                character = self.space()
            parts.append(character)
        return "".join(parts)

    def space(self) -> str:
        space = {"latin1": ["\xa0"], "cp866": ["\xff"]}.get(self.session.charset, ["\t"])
        odd = "\x81\\" if self.session.charset in _ODD_CHARACTERS else "\x85"
        return self.pick(
            "\n", "\t ", "\r\n", " /**/ ", "/* it's */", " /* , DROP COLUMN id, */ ", " -- it's \"\n", "#`\n", " /*+ hint */ ", "\x0b",
            f" /* {odd} */ ", " --\t\\\n", " /* a `b */", "/* /*! */", *space,
        )  # fmt: skip

"""A statement is planned once for a session, whatever becomes of the transactions."""

from conftest import Installation

from systemscripts import db_config, prepared


def test_a_statement_is_prepared_once_a_session_also_when_it_is_rolled_back(etl: Installation) -> None:
    made = []

    def statement() -> str:
        made.append(1)
        return "SELECT $1 + $2, $3"

    for _ in range(2):
        with db_config.session() as connection, connection.cursor() as cursor:
            for number in range(3):
                prepared.execute(cursor, "sum", statement, "integer, integer, text", (number, 2, "a'%s$1"))
                assert cursor.fetchone() == (number + 2, "a'%s$1")
                connection.rollback()
            prepared.execute(cursor, "other", lambda: "SELECT $1::date", "date", ("2026-03-02",))
            assert str(cursor.fetchone()) == "(datetime.date(2026, 3, 2),)"
    assert len(made) == 2

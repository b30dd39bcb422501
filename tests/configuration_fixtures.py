"""Installations and cursors for the tests of the configuration as a file."""

import contextlib
import secrets
from collections.abc import Iterator
from typing import Any

import pytest
from conftest import TEMPLATE, Installation


@pytest.fixture
def other(etl: Installation, administrator: Installation) -> Iterator[Installation]:
    """A second installation, as the set-up leaves it."""
    name = f"test_{secrets.token_hex(6)}"
    administrator.query(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE} STRATEGY FILE_COPY")
    installation = Installation(etl.home, {**etl.variables, "PGDATABASE": name})
    yield installation
    installation.leave()
    administrator.query(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def owner(etl: Installation) -> Iterator[Any]:
    """A cursor of the owner in a transaction that is rolled back."""
    with contextlib.closing(etl.connect("etl_owner")) as connection:
        connection.autocommit = False
        with connection.cursor() as cursor:
            yield cursor
        connection.rollback()

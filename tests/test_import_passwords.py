"""Protected files are opened with a password that stands in the settings, and shows nowhere."""

import base64
import io
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest
import pyzipper
from conftest import Installation
from msoffcrypto.format.ooxml import OOXMLFile
from spreadsheet_samples import openpyxl_book
from test_generic_import import add_import, drop_file, loaded, run

from systemscripts import known_secrets, settings, xls_to_csv
from systemscripts.importing.config import ConfigurationError

PASSWORD = "battery-staple"
CSV = b"a,b\n1,x\n2,y\n"
ROWS = [("1", "x"), ("2", "y")]

# Made by: zip -P battery-staple list.zip a.csv
OLD_ZIP = base64.b64decode(
    "UEsDBAoACQAAAMqcfF3Cln6dGAAAAAwAAAAFABwAYS5jc3ZVVAkAA6stC2urLQtrdXgLAAEEAAAAAAQAAAAAsHgrgAhxcYAOmW8xtBzR"
    "DJEMQnRvn0jrUEsHCMKWfp0YAAAADAAAAFBLAQIeAwoACQAAAMqcfF3Cln6dGAAAAAwAAAAFABgAAAAAAAEAAACkgQAAAABhLmNzdlVU"
    "BQADqy0La3V4CwABBAAAAAAEAAAAAFBLBQYAAAAAAQABAEsAAABnAAAAAAA="
)


def aes_zip(*names: str, password: str = PASSWORD) -> bytes:
    buffer = io.BytesIO()
    with pyzipper.AESZipFile(buffer, "w", compression=zipfile.ZIP_DEFLATED, encryption=pyzipper.WZ_AES) as archive:
        archive.setpassword(password.encode())
        for name in names:
            archive.writestr(name, CSV)
    return buffer.getvalue()


def protected_book(password: str = PASSWORD) -> bytes:
    buffer = io.BytesIO()
    plain = io.BytesIO(openpyxl_book([["a", "b"], ["1", "x"], ["2", "y"]]))
    OOXMLFile(plain).encrypt(password, buffer)
    return buffer.getvalue()


FILES = {
    "a zip archive with AES": ("CSV", aes_zip("a.csv")),
    "a zip archive of the old kind": ("CSV", OLD_ZIP),
    "a workbook": ("XLSX", protected_book()),
}


@pytest.fixture
def password(monkeypatch: pytest.MonkeyPatch) -> str:
    for known in ("_texts", "_bytes"):
        monkeypatch.setattr(known_secrets, known, [])
    monkeypatch.setenv("ETL_FILE_PASSWORD_ACME", PASSWORD)
    return PASSWORD


@pytest.mark.parametrize(("kind", "content"), FILES.values(), ids=FILES)
def test_a_protected_file_is_loaded_and_its_password_shows_nowhere(
    etl: Installation,
    kind: str,
    content: bytes,
    password: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    calls: list[Any] = []
    start = subprocess.Popen

    def watched(*args: Any, **kwargs: Any) -> Any:
        calls.append((args, kwargs["env"]))
        return start(*args, **kwargs)

    monkeypatch.setattr(xls_to_csv.subprocess, "Popen", watched)
    caplog.set_level("DEBUG")
    add_import(etl, file_type=kind, file_pattern="clients_*", password_name="ACME")
    drop_file(etl, content)
    assert run(dry_run=True).counts() == {"Would load": 1}
    assert run().counts() == {"Loaded": 1}
    assert loaded(etl, "a, b") == ROWS
    assert password not in str(calls) + caplog.text + str(etl.query("SELECT * FROM dba.timportfile"))
    assert settings.mask(f"it is {password}") == "it is ****"


@pytest.mark.parametrize(("kind", "content"), FILES.values(), ids=FILES)
def test_without_the_right_password_a_protected_file_is_refused_with_what_to_set(
    etl: Installation, kind: str, content: bytes, password: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_import(etl, file_type=kind, file_pattern="clients_*")
    drop_file(etl, content)
    (outcome,) = run().files
    assert "it is protected with a password" in outcome.detail
    assert "password_name" in outcome.detail

    etl.query("UPDATE dba.timportconfig SET password_name = 'ACME'")
    monkeypatch.setenv("ETL_FILE_PASSWORD_ACME", "some other")
    drop_file(etl, content)
    (outcome,) = run().files
    assert "another password than the one that password_name stands for" in outcome.detail
    assert "some other" not in outcome.detail

    monkeypatch.delenv("ETL_FILE_PASSWORD_ACME")
    file = drop_file(etl, content)
    with pytest.raises(ConfigurationError, match="write ETL_FILE_PASSWORD_ACME=… into /"):
        run()
    assert file.exists()
    assert etl.value("SELECT count(*) FROM dba.tdataset") == 0


def test_files_without_protection_are_read_as_ever(etl: Installation, password: str) -> None:
    add_import(etl, file_type="XLSX", file_pattern="clients_*", password_name="ACME")
    drop_file(etl, openpyxl_book([["a", "b"], ["1", "x"], ["2", "y"]]))
    assert run().counts() == {"Loaded": 1}


def test_a_workbook_that_excel_opens_without_asking_is_loaded_without_asking(etl: Installation) -> None:
    add_import(etl, file_type="XLSX", file_pattern="clients_*")
    drop_file(etl, protected_book("VelvetSweatshop"))
    assert run().counts() == {"Loaded": 1}


def test_the_files_of_a_protected_archive_have_one_password(etl: Installation, password: str) -> None:
    add_import(
        etl,
        file_pattern="daily_*",
        member_pattern="*.csv",
        datelocation="0",
        password_name="ACME",
        duplicate_scope="dataset",
    )
    drop_file(etl, aes_zip("20260301.csv", "20260302.csv", "20260303.csv"), "daily_1.zip")
    assert run().counts() == {"Loaded": 3}


def test_an_archive_that_was_changed_after_it_was_protected_is_refused(etl: Installation, password: str) -> None:
    add_import(etl, password_name="ACME")
    content = aes_zip("a.csv")
    place = content.index(b"a.csv") + 5 + 11 + 16 + 2 + 6
    drop_file(etl, content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    (outcome,) = run().files
    assert "or it is damaged" in outcome.detail


@pytest.mark.parametrize(
    "name", ["password_2002_128_strong.xls", "password_2002_40_dss.xls", "password_2002_128_enhrsasc.xls"]
)
def test_workbooks_of_older_programs_are_opened_too(
    etl: Installation, corpus_dir: Path, name: str, password: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ETL_FILE_PASSWORD_ACME", "password")
    add_import(etl, file_type="XLS", file_pattern="clients_*", password_name="ACME", headings=["a", "b"])
    drop_file(etl, (corpus_dir / "spreadsheets" / "sheetjs" / name).read_bytes())
    assert run().counts() == {"Loaded": 1}
    assert loaded(etl, "a, b") == [("1", None), ("2", "10"), ("3", None), ("4", None)]


def test_a_file_of_a_password_is_a_secret_before_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for known in ("_texts", "_bytes"):
        monkeypatch.setattr(known_secrets, known, [])
    (tmp_path / "acme").write_text("staple-battery\n")
    monkeypatch.setenv("ETL_FILE_PASSWORD_ACME", PASSWORD)
    monkeypatch.setenv("ETL_FILE_PASSWORD_OTHER_FILE", str(tmp_path / "acme"))
    settings.conceal_all()
    assert settings.mask(f"{PASSWORD} staple-battery {tmp_path}") == f"**** **** {tmp_path}"

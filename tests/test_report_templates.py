"""Templates that would take all memory or time: filled in a child process, with limits, and refused with the limit."""

import os
from pathlib import Path

import pytest

from systemscripts import limited_child
from systemscripts.reporting import template
from systemscripts.reporting.model import ReportError
from systemscripts.reporting.template import LONGEST_LINE, BodyTemplate, Shown, fill_line

CHAIN = f"|replace('a', '{'a' * 1000}')" * 3
LOOPS = "{% for a in '0123456789' %}" * 9 + "{% endfor %}" * 9


def filled(source: str, html: str = "<b>x</b>") -> tuple[str, str]:
    body = BodyTemplate(source, ("grid1",))
    return body.render({"grid1": Shown(2, html, "<pre>x</pre>")}, {}, {"timestamp": "now & then"}, "<p>note</p>")


def test_a_template_is_filled_in_both_forms() -> None:
    source = "<p>{timestamp}: {{ grid1|length }}</p>{% if grid1 %}{{grid1}}{% endif %}"
    assert filled(source) == ("<p>now &amp; then: 2</p><b>x</b><p>note</p>", "now & then: 2\n\nx\n\nnote\n")


@pytest.mark.parametrize(
    "source",
    [
        "{{ 'a'.ljust(600000000)|length }}",
        "{{ '{:600000000}'.format(1)|length }}",
        "{{ ['a']|batch(100000000, 'x')|list|length }}",
        f"{{{{ 'a'{CHAIN}|length }}}}",
    ],
)
def test_what_takes_all_memory_is_refused(source: str) -> None:
    with pytest.raises(ReportError, match="512 MiB of memory.* queries"):
        filled(source)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "a macro that calls itself without end"),
        ("{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}", "nested too deeply"),
        ("{{ 'x'.ljust(11000000) }}", "makes 22,000,0.. characters, but a mail may have at most 10,000,000"),
        ("{{ '\\ud800' }}", "surrogates not allowed"),
        ("{{ grid1['x'.ljust(100000)] }}", "^.{,400}$"),
    ],
)
def test_what_has_no_end_is_refused_in_one_sentence(source: str, said: str) -> None:
    with pytest.raises(ReportError, match=said):
        filled(source)


@pytest.mark.parametrize("patience", [0.01, 3])
def test_what_takes_too_long_is_ended(monkeypatch: pytest.MonkeyPatch, patience: float) -> None:
    monkeypatch.setattr(template, "MOST_SECONDS", 1)
    body = BodyTemplate(LOOPS, ())
    monkeypatch.setattr(template, "_PATIENCE", patience)
    with pytest.raises(ReportError, match="within 1 seconds.* queries"):
        body.render({}, {}, {})


def test_a_child_that_breaks_down_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    start = limited_child.start
    monkeypatch.setattr(limited_child, "start", lambda *_, **files: start("no_such_module", **files))
    monkeypatch.setattr(template, "MOST_MEMORY_MB", 77)
    with pytest.raises(ReportError, match=r"broke down \(status 1\).* 77 MiB"):
        filled("x")


def test_a_child_knows_nothing_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ETL_EMAIL_PASSWORD", "hunter2")
    with open(os.devnull, "rb") as nothing, (tmp_path / "out").open("wb") as stream:
        child = limited_child.start("sysconfig", stdin=nothing, stdout=stream)
        environment = Path(f"/proc/{child.pid}/environ").read_bytes()
        child.wait()
    assert b"hunter2" not in environment


def test_a_subject_or_file_name_stays_short() -> None:
    with pytest.raises(ReportError, match="subjectheader has 1,001 characters; 1,000"):
        fill_line("subjectheader", "x" * (LONGEST_LINE + 1), {})
    with pytest.raises(ReportError, match=r"\{client\}, .*longer than 1,000"):
        fill_line("subjectheader", "{client}", {"client": "x" * 1001})
    assert fill_line("subjectheader", "{timestamp}", {"timestamp": "now", "client": "x" * 1001}) == "now"

"""A diagnosis for other programs: JSON, SARIF 2.1.0, JUnit XML."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from unvanish.core.output import printable
from unvanish.diagnosis.checks import ALL
from unvanish.diagnosis.diagnosis import Diagnosis
from unvanish.diagnosis.rules import explanation

SARIF_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"


def as_json(diagnosis: Diagnosis, _where: str) -> str:
    return json.dumps(diagnosis.to_dict(), indent=2, ensure_ascii=False)


def as_sarif(diagnosis: Diagnosis, where: str) -> str:
    """Findings as results: sure causes are errors, consequences and what is not sure are notes.

    where   the file that the model comes from
    """
    here = Path(where).resolve()
    where = here.relative_to(Path.cwd()).as_posix() if here.is_relative_to(Path.cwd()) else here.as_uri()
    results = [
        {
            "ruleId": finding.code,
            "level": "error" if finding.sure and not finding.because_of else "note",
            "message": {"text": f"{finding.message}. What helps: {'; '.join(finding.advice)}."},
            "locations": [{"physicalLocation": {"artifactLocation": {"uri": where}, "region": {"startLine": 1}}}],
            "properties": {"layers": list(finding.layers), "certainty": finding.certainty, "kind": finding.kind},
        }
        for finding in diagnosis.findings
    ]
    rules = [
        {
            "id": check.code,
            "name": check.kind,
            "shortDescription": {"text": check.title},
            "fullDescription": {"text": explanation(check)},
        }
        for check in ALL
    ]
    driver = {"name": "unvanish", "rules": rules}
    log: dict[str, Any] = {
        "$schema": SARIF_SCHEMA,
        "version": "2.1.0",
        "runs": [{"tool": {"driver": driver}, "results": results, "columnKind": "unicodeCodePoints"}],
    }
    return json.dumps(log, indent=2, ensure_ascii=False)


def as_junit(diagnosis: Diagnosis, where: str) -> str:
    """A test case for each rule; those with a sure finding fail."""
    sure = {finding.kind: finding for finding in diagnosis.findings if finding.sure}
    suite = ElementTree.Element(
        "testsuite", name=f"unvanish {where}", tests=str(len(ALL)), failures=str(len(sure)), errors="0"
    )
    for check in ALL:
        case = ElementTree.SubElement(suite, "testcase", classname=where, name=f"{check.code} {check.title}")
        if check.kind in sure:
            failure = ElementTree.SubElement(case, "failure", message=sure[check.kind].message, type=check.kind)
            failure.text = str(diagnosis)
    ElementTree.indent(suite)
    for element in suite.iter():  # XML has no way to write control characters
        element.attrib.update({name: printable(value) for name, value in element.attrib.items()})
        element.text = element.text and printable(element.text)
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True)


def as_text(diagnosis: Diagnosis, _where: str) -> str:
    return printable(str(diagnosis))


FORMATS: dict[str, Callable[[Diagnosis, str], str]] = {
    "text": as_text,
    "json": as_json,
    "sarif": as_sarif,
    "junit": as_junit,
}

"""What comments and tests cite is in the tree: scripts/lint --citations, over this tree and over small ones with a wrong citation."""

import subprocess

import pytest
from harness import PATIENCE, ROOT

PROVIDERS = "# Providers\n\n## 0. Surprises\n\n1. One.\n\n## 2. Azure\n\n### 2.4 Files\n\ntext\n\n### 5.2 Batches\n\n103. A.\n104. B.\n"


ENTRA = "# Entra\n\n## 1. True\n\n1. One.\n16. Two.\n\n## 2. Wire\n\n### 2.4 Answers\n\n1. A spelling.\n"
TENANTS = "# Tenants\n\n## 2. Contract\n\n- **A45** One.\n- **A47** Another.\n"


def lint(root):
    return subprocess.run([ROOT / "scripts/citations", root], capture_output=True, text=True, timeout=PATIENCE * 5)


@pytest.fixture
def tree(tmp_path):
    """tree(text of a source) -> what the lint says of a checkout that consists of it and the providers' contract."""
    def make(source):
        (tmp_path / "common/upstream").mkdir(parents=True)
        (tmp_path / "common/upstream/README.md").write_text(PROVIDERS)
        (tmp_path / "server/tenants").mkdir(parents=True)
        (tmp_path / "server/tenants/README.md").write_text(TENANTS)
        (tmp_path / "common/entra").mkdir(parents=True)
        (tmp_path / "common/entra/README.md").write_text(ENTRA)
        (tmp_path / "a.c").write_text(source)
        for command in (["init", "-q"], ["add", "-A"]):
            subprocess.run(["git", "-C", tmp_path, *command], check=True, capture_output=True)
        return lint(tmp_path)

    return make


def test_every_citation_of_this_tree_exists():
    said = subprocess.run([ROOT / "scripts/lint", "--citations"], capture_output=True, text=True, timeout=PATIENCE * 5)
    assert (said.returncode, said.stdout) == (0, ""), said.stdout + said.stderr


@pytest.mark.parametrize("source", [
    "/* Azure counts files (providers 2.4). */",
    "/* It waits (providers statement 104), and both (providers statements 103, 104). */",
    "/* It goes on in the next\n * line (providers\n * 2.4 and 2). */",
    "/* (RFC 9110 section 8.6), (RFC 6761 section 6.3), https://fetch.spec.whatwg.org, section 3.2 */",
    "/* It is the team (tenants statement A47), or nobody (tenants statements A45 to A47). */",
    "/* It is thrown away (entra statement 16; entra statements 1 and 16), as told (entra 2.4), in one form (entra 2.4.1). */",
    "/* The first surprise (providers 0.1). Of 2 providers one is asked 7 times. */",
])
def test_a_citation_that_exists_passes(tree, source):
    said = tree(source + "\n")
    assert (said.returncode, said.stdout) == (0, "")


def test_a_document_names_no_file_that_is_not_there(tree, tmp_path):
    (tmp_path / "server/read/include/read").mkdir(parents=True)
    (tmp_path / "server/read/include/read/fetch.h").write_text("")
    (tmp_path / "CONTRIBUTING.md").write_text("`read/fetch`, `fetch.h`, `server/read` and `read/gone`\n`gone.c`, `v1/files`\n")
    said = tree("int x;\n")
    assert said.stdout.splitlines() == ["CONTRIBUTING.md:1: `read/gone` is not in this tree", "CONTRIBUTING.md:2: `gone.c` is not in this tree"]


@pytest.mark.parametrize("source, says", [
    ("/* Azure counts files (providers 2.9). */", "a.c:1: providers has no section 2.9"),
    ("int x;\n/* Both (providers 2.4 and 2.7). */", "a.c:2: providers has no section 2.7"),
    ("/* It waits (providers statement 105). */", "a.c:1: providers has no statement 105"),
    ("/* Of all (tenants statements A45 to A48), not these. */", "a.c:1: tenants has no statements A48"),
    ("/* It is none (entra statement 17). */", "a.c:1: entra has no statement 17"),
    ("/* An item of a form is none (entra statement 24), nor (entra 2.5). */", "a.c:1: entra has no statement 24\na.c:1: entra has no section 2.5"),
    ("/* A heading is no statement (providers statement 2). */", "a.c:1: providers has no statement 2"),
    ("/* Broken over\n * two lines (providers\n * 9.9). */", "a.c:2: providers has no section 9.9"),
    ("/* Of a document that is not there (front README 1.4). */", "a.c:1: front README has no section 1.4"),
    ("/* An old spelling (reference 2.4). */", 'a.c:1: "reference 2" cites what is not in this tree'),
    ("/* (statement 104) */", 'a.c:1: "statement 104" cites what is not in this tree'),
    ("/* (design other.md 1.2) */", 'a.c:1: "design other.md" cites what is not in this tree'),
])
def test_a_wrong_citation_is_told_with_its_line(tree, source, says):
    said = tree(source + "\n")
    assert said.returncode == 1
    assert said.stdout.splitlines() == says.splitlines()

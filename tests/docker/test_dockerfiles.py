"""The Dockerfiles: what runs is not root, the lock decides the versions, what they copy exists."""

import re
import shlex
import tomllib
from fnmatch import fnmatch
from importlib.util import find_spec

import pytest

from tests.docker.compose_file import ROOT
from tests.docker.image import copied, instructions, of

FILES = ("serving", "training")
KNOWN = {
    *("ARG", "CMD", "COPY", "ENV", "EXPOSE", "FROM", "HEALTHCHECK"),
    *("RUN", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR"),
}


@pytest.fixture(params=FILES)
def name(request):
    return request.param


def test_every_line_is_an_instruction(name):
    assert {word for word, _ in instructions(name)} <= KNOWN


def test_what_runs_is_not_root(name):
    words = [word for word, _ in instructions(name)]
    assert of(name, "USER") == ["10001:10001"]
    assert words.index("USER") > max(i for i, word in enumerate(words) if word in ("RUN", "COPY"))


def test_the_python_is_one_that_the_project_takes(name):
    (python,) = [rest for rest in of(name, "ARG") if rest.startswith("PYTHON=")]
    assert python == "PYTHON=3.11-slim-bookworm"
    assert of(name, "FROM") == ["python:${PYTHON} AS libraries", "python:${PYTHON}"]


def test_the_lock_decides_the_versions_and_the_extras_exist(name):
    (install,) = [rest for rest in of(name, "RUN") if "pip install" in rest]
    words = shlex.split(install)
    assert words[words.index("--constraint") + 1] == "requirements.lock"
    (extras,) = [rest for rest in of(name, "ARG") if rest.startswith("EXTRAS=")]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(extras.removeprefix("EXTRAS=").split(",")) <= set(project["optional-dependencies"])


def test_serving_has_no_library_of_training():
    (extras,) = [rest for rest in of("serving", "ARG") if rest.startswith("EXTRAS=")]
    assert extras == "EXTRAS=serving,postgres"
    assert 'LIBRARIES=""' in of("serving", "ARG")


def test_what_is_copied_exists_and_is_let_through(name):
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    let_through = [line[1:] for line in ignored if line.startswith("!")]
    for source in (*copied(name), *of(name, "COPY")[0].split()[:-1]):
        assert (ROOT / source).exists(), source
        assert any(fnmatch(source, pattern) for pattern in let_through), source
    assert ignored[1] == "*"


def test_no_instruction_holds_a_secret(name):
    said = " ".join(rest for word, rest in instructions(name) if word in ("ARG", "ENV"))
    assert not re.search(r"PASSWORD|SECRET|TOKEN|_KEY", said)


def test_the_command_is_a_module_that_its_folders_hold(name):
    command = of(name, "CMD")[-1]
    module = re.fullmatch(r'\["python", "-m", "([\w.]+)"\]', command)[1]
    assert find_spec(module) is not None
    assert module.split(".")[0] in copied(name)


def test_serving_tells_whether_it_is_ready():
    (check,) = of("serving", "HEALTHCHECK")
    code = re.search(r'CMD \["python", "-c", "(.*)"\]', check)[1]
    compile(code, "HEALTHCHECK", "exec")
    assert "/health/ready" in code

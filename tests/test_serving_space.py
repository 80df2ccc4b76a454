"""Dockerfile, compose.yaml and the folder of a Space; without Docker, what can be run of them."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml
from packaging.utils import canonicalize_name

from helpers import __main__ as cli
from helpers.serving import space

REFUSE = """
import sys
class Refuse:
    def find_spec(self, name, *_):
        if name in REFUSED:
            raise ModuleNotFoundError(f"the image has no {name}", name=name)
sys.meta_path.insert(0, Refuse())
"""


def steps(path: Path) -> list[tuple[str, str]]:
    """The instructions of a Dockerfile with their arguments."""
    text = re.sub(r"^#.*\n", "", path.read_text(encoding="utf-8"), flags=re.M)
    lines = re.sub(r"\\\n", " ", text).splitlines()
    return [(name, rest) for name, _, rest in (line.partition(" ") for line in lines) if name]


@pytest.fixture(scope="module")
def pushed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a Space."""
    folder = tmp_path_factory.mktemp("hub") / "my space"
    assert cli.main(["space", f"--to={folder}"]) == 0
    return folder


def faults(folder: Path) -> list[str]:
    """What is wrong with a Dockerfile, as text."""
    found, user = [], "root"
    for name, rest in steps(folder / "Dockerfile"):
        words = [word for word in rest.split() if not word.startswith("--")]
        if name == "FROM" and not re.search(r":\d+\.\d+\.\d+-slim-\w+$", words[0]):
            found.append(f"base image without an exact version: {words[0]}")
        if name == "ADD":
            found.append("ADD")
        if name == "COPY":
            found += [f"no {word}" for word in words[:-1] if not (folder / word).exists()]
        if name == "RUN" and re.search(r"pip install (?!.*--require-hashes)", rest):
            found.append(f"without hashes: {rest}")
        if name == "RUN" and re.search(r"\bsudo\b|curl|wget|https?://", rest):
            found.append(f"fetched by hand: {rest}")
        user = words[0].split(":")[0] if name == "USER" else user
    if user in ("root", "0"):
        found.append("runs as root")
    names = dict(steps(folder / "Dockerfile"))
    return found + [f"no {name}" for name in ("HEALTHCHECK", "CMD") if name not in names]


def test_the_dockerfile_has_no_fault(root: Path, pushed: Path) -> None:
    assert faults(root) == faults(pushed) == []
    assert dict(steps(root / "Dockerfile"))["USER"] == "1000:1000"  # the user of a Space


def test_a_bad_dockerfile_is_complained_about(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(
        "FROM python:latest\nADD https://example.org/x /x\nCOPY missing .\nRUN pip install x\n"
    )
    assert faults(tmp_path) == [
        "base image without an exact version: python:latest", "ADD", "no missing",
        "without hashes: pip install x", "runs as root", "no HEALTHCHECK", "no CMD",
    ]  # fmt: skip


def test_what_the_image_copies_is_not_ignored(root: Path) -> None:
    ignored = (root / ".dockerignore").read_text().split()
    copied = [word for name, rest in steps(root / "Dockerfile") if name == "COPY"
              for word in rest.split()[:-1]]  # fmt: skip
    assert ignored[0] == "*"
    assert {f"!{word.rstrip('/')}" for word in copied} <= set(ignored)


def test_a_space_has_its_header_and_no_data(root: Path, pushed: Path) -> None:
    header, text = (pushed / "README.md").read_text(encoding="utf-8").split("---\n")[1:]
    found = yaml.safe_load(header)
    ports = re.findall(r"--port=(\d+)", dict(steps(pushed / "Dockerfile"))["CMD"])
    assert (found["sdk"], [str(found["app_port"])]) == ("docker", ports)
    assert {"title", "emoji", "colorFrom", "colorTo", "license"} < set(found)
    assert "may not be redistributed" in text
    names = {path.relative_to(pushed).as_posix() for path in pushed.rglob("*") if path.is_file()}
    assert {name.partition("/")[0] for name in names} == {*space.PARTS, "README.md"}
    listed = subprocess.run(
        ["git", "ls-files", "helpers"], cwd=root, capture_output=True, text=True, check=True
    )
    assert {name for name in names if name.startswith("helpers/")} >= set(listed.stdout.split())
    assert not [name for name in names if "__pycache__" in name]
    assert sum(path.stat().st_size for path in pushed.rglob("*")) < 2_000_000


def test_a_folder_with_something_in_it_is_left_as_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    for target in (tmp_path, tmp_path / "mine.txt"):
        assert cli.main(["space", f"--to={target}"]) == 1
        assert "is not an empty folder; name a new one" in capsys.readouterr().err
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]


def test_an_unfinished_space_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(shutil, "copytree", full)
    assert cli.main(["space", f"--to={tmp_path / 'new'}"]) == 1
    assert list(tmp_path.iterdir()) == []


def test_compose_starts_what_there_is(root: Path) -> None:
    content = yaml.safe_load((root / "compose.yaml").read_text(encoding="utf-8"))
    services, parser = content["services"], cli._parser()
    assert set(services) == {"api", "redis", "refresh"}
    assert services["api"]["environment"] == ["API_KEY"]  # as it is where compose runs; else unset
    for name, service in services.items():
        assert set(service) <= {
            "build", "image", "command", "ports", "volumes", "depends_on", "healthcheck",
            "restart", "profiles", "environment",
        }  # fmt: skip
        image = service["image"]
        assert image == "implicit-als" or re.search(r":\d+\.\d+\.\d+-\w+$", image), image
        for volume in service.get("volumes", []):
            source = re.sub(r"\$\{\w+:-(.*?)\}", r"\1", volume).split(":")[0]
            assert source.startswith("./") or source in content["volumes"]
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:")
        for other, condition in service.get("depends_on", {}).items():
            assert condition == {"condition": "service_healthy"}
            assert "test" in services[other]["healthcheck"]
        if name != "redis":
            command = [re.sub(r"\$\{\w+:-(.*?)\}", r"\1", word) for word in service["command"]]
            assert parser.parse_args(command).command.__name__ == f"_{name.replace('api', 'serve')}"


def test_the_image_serves_the_dashboard(tmp_path: Path, pushed: Path) -> None:
    """Every step of the Dockerfile but apt's, in a folder of its own.

    The packages are resolved and not installed: this environment has them, and refuses all others.
    """
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    app, site = tmp_path / "app", tmp_path / "site"
    given = os.environ | {"PATH": path, "PYTHONPATH": str(site)}
    given["NUMBA_DISABLE_JIT"] = "1"  # a copy would compile its kernels again
    app.mkdir()
    site.mkdir()
    said = ""
    for name, rest in steps(pushed / "Dockerfile"):
        if name == "COPY":
            *sources, target = rest.split()
            for source in sources:
                copy = shutil.copytree if (pushed / source).is_dir() else shutil.copy
                copy(pushed / source, app / target)
        elif name == "RUN" and "apt-get" not in rest:  # that would change this machine
            step = rest.replace("-m pip install", "-m pip install --dry-run")
            step = step.replace("uv pip install", "uv pip install --dry-run --target=none")
            done = subprocess.run(
                ["sh", "-ec", step], cwd=app, env=given, capture_output=True, text=True
            )
            assert done.returncode == 0, done.stderr
            said += done.stderr
    installed = {canonicalize_name(name) for name in re.findall(r"^ \+ (.+)==", said, re.M)}
    assert {"implicit", "streamlit"} <= installed
    refused = {
        module
        for module, packages in packages_distributions().items()
        if installed.isdisjoint(map(canonicalize_name, packages))
    }
    assert {"pytest", "playwright"} <= refused
    (site / "sitecustomize.py").write_text(f"REFUSED = {refused - {'helpers'}}{REFUSE}")
    log = "".join(f"u{n},i{n % 5},1700000000\nu{n},i{n % 3},1700000001\n" for n in range(30))
    (app / "log.csv").write_text(f"user,item,time\n{log}")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    found = dict(steps(pushed / "Dockerfile"))
    command = [*json.loads(found["ENTRYPOINT"]), *json.loads(found["CMD"])]
    command = [word.replace("0.0.0.0", "127.0.0.1").replace("7860", port) for word in command]
    check = json.loads(found["HEALTHCHECK"].partition("CMD ")[2].replace("7860", port))
    server = subprocess.Popen([*command, "--dataset=log.csv"], cwd=app, env=given)
    try:
        for _ in range(120):
            healthy = subprocess.run(check, env=given, capture_output=True).returncode == 0
            if healthy or server.poll() is not None:
                break
            time.sleep(1)
        assert healthy
    finally:
        server.terminate()
        server.wait(30)
    assert subprocess.run(check, env=given, capture_output=True).returncode != 0
    assert (app / "data" / "serving" / "log" / "current").is_file()

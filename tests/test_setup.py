"""What a fresh machine meets first: the scripts and the lists of packages."""

import ast
import glob
import os
import pathlib
import re
import runpy
import shutil
import subprocess
import sys

import pytest
import setuptools

ROOT = pathlib.Path(__file__).resolve().parent.parent


def canonical(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def run_script(script, environment, cwd=ROOT):
    return subprocess.run(
        ["bash", "-c", f"source {script} && printf '%s\\n' \"$python\""],
        env=environment, cwd=cwd, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


@pytest.fixture
def copy(tmp_path):
    """What the scripts need of the repository, in a folder with a space in its name."""
    root = tmp_path / "a clone"
    (root / "launch").mkdir(parents=True)
    names = ["setup.py", "pyproject.toml", "requirements.lock", "launch/environment.sh"]
    for name in names:
        shutil.copy(ROOT / name, root / name)
    return root


def executable(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def recording_python(path, log):
    """A Python that notes how pip was called instead of installing anything."""
    executable(
        path,
        f'#!/bin/bash\nif [[ $* == *" install "* ]]; then echo "$*" >>"{log}"; exit 0; fi\n'
        f'exec "{sys.executable}" "$@"\n',
    )


def test_every_requirement_has_a_pinned_version():
    setup = (ROOT / "setup.py").read_text(encoding="utf-8")
    required = setup[setup.index("install_requires") : setup.index('"oracle"')]
    wanted = {canonical(name) for name in re.findall(r'"([\w.-]+)>=', required)}
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[\w.-]+==[\w.+!]+", pin) for pin in pins), pins
    assert len(wanted) > 18
    assert wanted <= {canonical(pin.split("==")[0]) for pin in pins}


def test_every_package_that_is_imported_is_required():
    names = {"cv2": "opencv-python-headless", "PIL": "pillow", "orbax": "orbax-checkpoint"}
    setup = (ROOT / "setup.py").read_text(encoding="utf-8")
    required = setup[setup.index("install_requires") : setup.index("extras_require")]
    wanted = {canonical(name) for name in re.findall(r'"([\w.-]+)>=', required)}
    for path in (ROOT / "videojam_jax").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            modules = []
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                modules = [node.module]
            for module in {module.split(".")[0] for module in modules}:
                if module not in sys.stdlib_module_names and module != "videojam_jax":
                    assert canonical(names.get(module, module)) in wanted, f"{path}: {module}"


def test_active_environment_is_installed_into_once(copy, tmp_path):
    log = tmp_path / "log"
    active = tmp_path / "my env"
    recording_python(active / "bin" / "python", log)
    environment = {"PATH": os.environ["PATH"], "VIRTUAL_ENV": str(active)}
    for _ in range(2):
        result = run_script("launch/environment.sh", environment, copy)
        assert result.returncode == 0, result.stderr
        assert result.stdout.splitlines()[-1] == str(active / "bin" / "python")
    calls = log.read_text().splitlines()
    pinned = sys.version_info[:2] == (3, 11) and sys.platform == "linux"
    assert len(calls) == (2 if pinned else 1), calls
    assert not (copy / ".venv").exists()
    # A changed list of packages asks for another install.
    with open(copy / "requirements.lock", "a") as file:
        file.write("# changed\n")
    run_script("launch/environment.sh", environment, copy)
    assert len(log.read_text().splitlines()) == 2 * len(calls)


def test_failed_install_is_an_error_and_is_tried_again(copy, tmp_path):
    active = tmp_path / "env"
    executable(
        active / "bin" / "python",
        '#!/bin/bash\nif [[ $* == *" install "* ]]; then exit 1; fi\n'
        f'exec "{sys.executable}" "$@"\n',
    )
    environment = {"PATH": os.environ["PATH"], "CONDA_PREFIX": str(active)}
    result = run_script("launch/environment.sh", environment, copy)
    assert result.returncode == 2
    assert result.stderr.startswith("error: pip could not install")
    log = tmp_path / "log"
    recording_python(active / "bin" / "python", log)
    assert run_script("launch/environment.sh", environment, copy).returncode == 0
    assert log.exists()


def test_environment_with_an_old_python_is_named(copy, tmp_path):
    active = tmp_path / "old"
    executable(active / "bin" / "python", "#!/bin/bash\nexit 1\n")
    environment = {"PATH": os.environ["PATH"], "VIRTUAL_ENV": str(active)}
    result = run_script("launch/environment.sh", environment, copy)
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1
    assert str(active) in result.stderr and "3.11" in result.stderr


def test_machine_without_a_recent_python_gets_one_line(copy, tmp_path):
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("bash", "dirname", "cat"):
        (tools / name).symlink_to(shutil.which(name))
    # A shim that exists and cannot run, as pyenv leaves them.
    executable(tools / "python3.12", "#!/bin/bash\necho 'not installed' >&2\nexit 127\n")
    result = run_script("launch/environment.sh", {"PATH": str(tools)}, copy)
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1, result.stderr
    assert result.stderr.startswith("error: no Python 3.11 or newer")


def test_weights_go_with_the_package(tmp_path, monkeypatch):
    given = {}
    monkeypatch.setattr(setuptools, "setup", lambda **words: given.update(words))
    runpy.run_path(str(ROOT / "setup.py"))
    names = ["README.md", "base/README.md", "base/config.json", "base/weights.safetensors"]
    for name in names:
        (tmp_path / "weights" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "weights" / name).touch()
    patterns = given["package_data"]["videojam_jax"]
    # As setuptools reads them.
    found = {f for one in patterns for f in glob.glob(one, root_dir=tmp_path, recursive=True)}
    assert found == {f"weights/{name}" for name in names}

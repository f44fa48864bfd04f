"""The files for a server: nginx answers one name, values survive a shell, containers lose nothing of a named model."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from linear_neuron.deployments.deploy import PREFECT_FILE
from linear_neuron.tasks.name import FOLDERS, name_folder
from tests.deployments.helpers import Site, eventually, free_port, report_missing

FILES = PREFECT_FILE.parent
NGINX = Path("/usr/sbin/nginx")
WRAPPER = """
daemon off; pid {folder}/pid; error_log {folder}/error.log; events {{}}
http {{ access_log off; client_body_temp_path {folder}/1; proxy_temp_path {folder}/2; fastcgi_temp_path {folder}/3;
uwsgi_temp_path {folder}/4; scgi_temp_path {folder}/5; include {folder}/site.conf; }}
"""


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a real nginx with our settings, in front of a server that answers everything."""
    if not NGINX.exists():
        report_missing(str(NGINX), "nginx-light")
    folder, port, site = tmp_path_factory.mktemp("nginx"), free_port(), Site()
    site.page = "answered"
    key = ["-keyout", f"{folder}/key", "-out", f"{folder}/crt", "-subj", "/CN=neuron.example"]
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", *key], check=True, capture_output=True)
    text = (FILES / "service" / "nginx.conf").read_text()
    text = text.replace("listen 443", f"listen 127.0.0.1:{port}").replace("http://127.0.0.1:4200", site.url.rstrip("/"))
    text = re.sub(r"/etc/ssl/linear-neuron\.(crt|key)", rf"{folder}/\1", text)
    (folder / "site.conf").write_text(text)
    (folder / "nginx.conf").write_text(WRAPPER.format(folder=folder))
    with subprocess.Popen([NGINX, "-c", folder / "nginx.conf", "-p", folder, "-e", folder / "error.log"]) as nginx:
        eventually(lambda: "answered" in ask(port, "neuron.example"), "nginx answers", 30)
        yield port
        nginx.terminate()
    site.close()


def ask(port: int, name: str, *more: str) -> str:
    """What is answered to a request that names a server in TLS, and another in its Host if there is one."""
    url = f"https://{name}:{port}/api/health"
    command = [
        "curl",
        "--silent",
        "--insecure",
        "--max-time",
        "10",
        "--resolve",
        f"{name}:{port}:127.0.0.1",
        *more,
        url,
    ]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def test_nginx_answers_its_own_name(proxy: int) -> None:
    assert ask(proxy, "neuron.example") == "answered"


@pytest.mark.parametrize("name", ["evil.example", "neuron.example.evil.example", "localhost"])
def test_nginx_answers_no_other_name(proxy: int, name: str) -> None:
    assert ask(proxy, name) == ""
    assert "answered" not in ask(proxy, "neuron.example", "--header", f"Host: {name}")


def test_nginx_answers_no_address(proxy: int) -> None:
    url = f"https://127.0.0.1:{proxy}/api/health"
    done = subprocess.run(["curl", "--silent", "--insecure", url], capture_output=True, text=True, check=False)
    assert done.stdout == ""


def test_every_setting_survives_a_shell(tmp_path: Path) -> None:
    lines = (FILES / "service" / "linear-neuron.env").read_text().splitlines()
    settings = [line.lstrip("#") for line in lines if re.match(r"#?[A-Z_]+=", line)]
    file = tmp_path / "env"
    file.write_text("\n".join(settings))
    shell = ["sh", "-e", "-c", f"set -a; . {file}; env -0"]
    done = subprocess.run(shell, env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=True)
    read = dict(line.split("=", 1) for line in done.stdout.split("\0") if line)
    for name, value in (setting.split("=", 1) for setting in settings):
        assert read[name] == value.strip("\"'")
        assert value[0] in "\"'" or not re.search(r"[&;#?*$ ]", value), name
    assert any("&" in value for value in read.values())


def test_a_container_keeps_all_files_of_a_named_model() -> None:
    worker = yaml.safe_load((FILES / "container" / "compose.yaml").read_text())["services"]["worker"]
    mounts = [Path(volume.split(":")[1]) for volume in worker["volumes"]]
    home = Path("/var/lib/linear-neuron")
    files = [home / name_folder(folder, name) for folder in (*FOLDERS, "store") for name in ("", "sales")]
    assert [file for file in files if not any(file.is_relative_to(mount) for mount in mounts)] == []


@pytest.mark.parametrize("name", ["server", "worker"])
def test_a_container_has_a_read_only_root_and_a_check(name: str) -> None:
    service = yaml.safe_load((FILES / "container" / "compose.yaml").read_text())["services"][name]
    assert service["read_only"] is True
    assert (service["tmpfs"], service["cap_drop"]) == (["/tmp"], ["ALL"])  # noqa: S108
    assert any(volume.endswith(":/var/lib/linear-neuron") for volume in service["volumes"])
    assert service["healthcheck"]["test"][0] == "CMD"

"""Traffic-gen where others start it: the container's file, the service of systemd and the job of Kubernetes hold."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import program
from tests.examples.containerfile import steps
from tests.sink.sink_process import SinkProcess
from trafficgen.cli.program import call
from trafficgen.errors import ExitCode

EXAMPLES = Path(__file__).parent.parent.parent / "examples"
PROGRAMS = Path(sys.executable).parent


def test_the_container_runs_what_is_there_as_nobody_special(tmp_path: Path) -> None:
    final = dict(steps(1))
    assert final["USER"].isdigit()
    assert final["USER"] != "0"
    assert f"--uid {final['USER']} " in " ".join(rest for name, rest in steps(1) if name == "RUN")
    command = [*json.loads(final["ENTRYPOINT"]), *json.loads(final["CMD"])]
    environment = {"PATH": f"{PROGRAMS}:/usr/bin:/bin"}
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("Usage: traffic-gen [COMMAND] [OPTIONS]")


def test_nothing_that_builds_is_in_the_container() -> None:
    (installed,) = re.findall(r"apt-get install ([^&]+)&&", " ".join(rest for _, rest in steps(1)))
    assert [word for word in installed.split() if not word.startswith("-")] == ["ca-certificates", "python3"]
    assert [rest for name, rest in steps(1) if name == "COPY"] == ["--from=build /opt/traffic-gen /opt/traffic-gen"]
    (pip,) = [rest for name, rest in steps(0) if "pip install" in rest]
    assert "-c /src/.ci/lock.txt" in pip
    assert steps(0)[-1] == ("RUN", "/opt/traffic-gen/bin/pip uninstall -q -y pip")


def test_every_step_of_the_container_is_a_line_of_shell() -> None:
    lines = [rest for name, rest in steps() if name == "RUN"]
    assert len(lines) == 6
    for line in lines:
        subprocess.run(["/bin/sh", "-n", "-c", line], check=True)


SERVICE = EXAMPLES / "systemd" / "traffic-gen-sink.service"


def test_systemd_has_nothing_to_say_of_the_service(tmp_path: Path) -> None:
    analyze = program("systemd-analyze", "systemd")
    unit = tmp_path / SERVICE.name
    unit.write_text(SERVICE.read_text().replace("/opt/traffic-gen/bin", str(PROGRAMS)))
    verified = subprocess.run([analyze, "verify", "--man=no", str(unit)], capture_output=True, text=True, check=False)
    assert (verified.returncode, verified.stdout, verified.stderr) == (0, "", "")
    # 0 is a locked box, 10 a process without any bound; 20 stands for 2.0.
    safe = [analyze, "security", "--no-pager", "--offline=true", "--threshold=20", str(unit)]
    judged = subprocess.run(safe, capture_output=True, text=True, check=False)
    assert judged.returncode == 0, judged.stdout + judged.stderr


def test_the_service_is_a_sink_that_ends_in_good_order(tmp_path: Path) -> None:
    (line,) = re.findall(r"^ExecStart=/opt/traffic-gen/bin/(.+)$", SERVICE.read_text(), re.MULTILINE)
    words = [re.sub(r"^127\.0\.0\.1:\d+$", "127.0.0.1:0", word) for word in shlex.split(line)]
    words = [word.replace("/var/lib/traffic-gen", str(tmp_path)) for word in words]
    assert words[:3] == ["traffic-gen", "sink", "127.0.0.1:0"]
    sink = SinkProcess(*words[2:])
    sink.process.terminate()
    sink.end()
    sink.lines.close()
    assert (tmp_path / "sink.ledger").exists()


@pytest.fixture(scope="module")
def job() -> dict[str, Any]:
    documents = list(yaml.safe_load_all((EXAMPLES / "kubernetes" / "job.yaml").read_text()))
    assert len(documents) == 1
    assert (documents[0]["apiVersion"], documents[0]["kind"]) == ("batch/v1", "Job")
    spec: dict[str, Any] = documents[0]["spec"]
    return spec


def test_a_shard_is_never_sent_twice(job: dict[str, Any]) -> None:
    assert job["completionMode"] == "Indexed"
    assert job["backoffLimitPerIndex"] == 0
    assert "backoffLimit" not in job  # 0 would end all shards with the first that fails
    assert job["podReplacementPolicy"] == "Failed"
    assert job["template"]["spec"]["restartPolicy"] == "Never"
    assert job["completions"] == job["parallelism"] == 20


def test_pods_are_locked_in(job: dict[str, Any]) -> None:
    pod = job["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert str(pod["securityContext"]["runAsUser"]) == dict(steps(1))["USER"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": True,
    }  # fmt: skip
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    assert mounted == {volume["name"] for volume in pod["volumes"]}
    assert "cpu" not in container["resources"]["limits"]


def test_every_pod_sends_its_shard_of_one_plan(job: dict[str, Any], tmp_path: Path) -> None:
    (container,) = job["template"]["spec"]["containers"]
    assert container["command"] == ["sh", "-c"]
    (script,) = container["args"]
    named = {one["name"] for one in container["env"]} | {"JOB_COMPLETION_INDEX"}  # Kubernetes sets the last
    assert set(re.findall(r"\$\(*([A-Z_]+)", script)) == named
    # What the shell makes of it for one pod, as the program gets it.
    values = {"START_AT": "2099-12-01T10:00:00Z", "RUN_ID": "9f3a6c1e02b4d857", "RESULTS": str(tmp_path)}
    shell = script.replace("exec traffic-gen", r"printf '%s\n'")
    for index in (0, job["completions"] - 1):
        environment = values | {"JOB_COMPLETION_INDEX": str(index), "PATH": os.environ["PATH"]}
        done = subprocess.run(["sh", "-c", shell], env=environment, capture_output=True, text=True, check=True)
        words = done.stdout.splitlines()
        assert words[words.index("--shard") + 1] == f"{index + 1}/{job['completions']}"
        assert call([*words, "--dry-run"]) is ExitCode.DONE

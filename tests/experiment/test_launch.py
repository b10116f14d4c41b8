"""The launch files: what a machine without a cluster can check of them."""

import os
import shlex
import subprocess
from pathlib import Path

import pytest

from attnkit.experiment import cli

yaml = pytest.importorskip("yaml")
ROOT = Path(__file__).parents[2]
LAUNCH = ROOT / "configs" / "launch"
JOBSET = yaml.safe_load((LAUNCH / "jobset.yaml").read_text())
SKYPILOT = yaml.safe_load((LAUNCH / "skypilot.yaml").read_text())
JOB = JOBSET["spec"]["replicatedJobs"][0]
POD = JOB["template"]["spec"]["template"]["spec"]
SBATCH = (LAUNCH / "slurm.sbatch").read_text()


def command_of(text):
    """The words of the line of a script that starts the training, its variables replaced."""
    line = next(line for line in text.splitlines() if "attnkit train" in line)
    words = shlex.split(line.split("||")[0].removeprefix("srun "))
    values = {"$config": "configs/translation/number_words.toml", "$out": "runs/slurm-1"}
    return [values.get(word, "2" if word.startswith("$") else word) for word in words]


@pytest.mark.parametrize(
    "command",
    [command_of(SBATCH), POD["containers"][0]["command"], command_of(SKYPILOT["run"])],
    ids=["slurm", "jobset", "skypilot"],
)
def test_the_command_of_a_launch_file_is_one_and_its_config_uses_all_devices(command, monkeypatch):
    monkeypatch.chdir(ROOT)
    arguments = cli.parse(command[1:])
    assert command[0] == "attnkit" and arguments.command == "train"
    assert arguments.processes == 2 and arguments.wait >= 120 and arguments.resume and arguments.out
    assert cli.main(["validate", str(arguments.config), "--devices", "16"]) == 0


@pytest.mark.parametrize("script", [SBATCH, SKYPILOT["run"]], ids=["slurm", "skypilot"])
def test_scripts_are_bash(script):
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)


def test_a_job_set_gives_every_pod_its_number_and_time_to_save():
    spec, names = JOB["template"]["spec"], JOBSET["metadata"]["name"]
    assert JOBSET["apiVersion"] == "jobset.x-k8s.io/v1alpha2" and JOBSET["kind"] == "JobSet"
    assert spec["completionMode"] == "Indexed" and spec["completions"] == spec["parallelism"] == 2
    fatal = spec["podFailurePolicy"]["rules"][0]["onExitCodes"]
    assert fatal["values"] == [2, 3, 4, 5] and fatal["containerName"] == POD["containers"][0]["name"]
    assert POD["restartPolicy"] == "Never" and POD["terminationGracePeriodSeconds"] >= 60
    variables = {one["name"]: one for one in POD["containers"][0]["env"]}
    # A pod is called <set>-<job>-<number of the job>-<number of the pod>, in a domain of the set.
    assert variables["JAX_COORDINATOR_ADDRESS"]["value"].startswith(f"{names}-{JOB['name']}-0-0.{names}:")
    assert variables["JAX_NUM_PROCESSES"]["value"] == str(spec["completions"])
    field = variables["JAX_PROCESS_ID"]["valueFrom"]["fieldRef"]["fieldPath"]
    assert field == "metadata.annotations['batch.kubernetes.io/job-completion-index']"
    mounts = {one["name"] for one in POD["containers"][0]["volumeMounts"]}
    assert mounts == {one["name"] for one in POD["volumes"]}


@pytest.mark.parametrize("code", [0, 2, 75])
def test_slurm_warns_before_the_time_is_over_and_queues_a_stopped_job_again(code, tmp_path):
    options = [line.split()[1] for line in SBATCH.splitlines() if line.startswith("#SBATCH")]
    assert "--signal=TERM@120" in options and "--requeue" in options
    for name, last in {"srun": f"exit {code}", "scontrol": "exit 0"}.items():
        line = f'#!/bin/bash\necho "{name} $SRUN_CPUS_PER_TASK $@"\n{last}\n'
        (tmp_path / name).write_text(line)
        (tmp_path / name).chmod(0o755)
    own = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "16", "SLURM_CPUS_PER_TASK": "8"}
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", LAUNCH / "slurm.sbatch"], env={"PATH": path, **own}, capture_output=True, text=True
    )
    first, *more = done.stdout.splitlines()
    assert first.startswith("srun 8 attnkit train ") and "--processes 16 " in first
    assert done.returncode == code and more == ["scontrol 8 requeue 7"] * (code == 75)


def test_sky_pilot_starts_one_process_a_node():
    assert SKYPILOT["num_nodes"] == 2 and set(SKYPILOT) <= {
        *("name", "num_nodes", "resources", "workdir", "file_mounts", "setup", "run")
    }
    for word in ("$SKYPILOT_NODE_RANK", "$SKYPILOT_NUM_NODES", "$SKYPILOT_NODE_IPS"):
        assert word in SKYPILOT["run"]
    assert SKYPILOT["resources"]["job_recovery"]["recover_on_exit_codes"] == [75]


def test_validate_checks_a_config_for_other_devices(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    config = "configs/translation/number_words.toml"
    assert cli.main(["validate", config, "training.fsdp=4", "--devices", "8"]) == 0
    assert cli.main(["validate", config, "training.fsdp=4", "--devices", "3"]) == 2
    assert cli.main(["validate", config, "--devices", "0"]) == 2
    assert "fsdp = 4, sequence = 1, tensor = 1: need 4 devices, but there are 3" in capsys.readouterr().err
    assert cli.main(["validate", config, "--devices", "48"]) == 2
    assert "48 do not divide it; 48 or 96 would use all" in capsys.readouterr().err
    assert cli.main(["validate", config, "training.tensor=8", "--devices", "8"]) == 2
    assert "training.tensor = 8: must divide heads = 4 of " in capsys.readouterr().err
    assert cli.main(["validate", config, "training.fsdp=3"]) == 2
    assert "training.fsdp = 3: must divide batch_size = 64" in capsys.readouterr().err

import json
import os
import subprocess
import sys
from pathlib import Path


def test_any_number_of_devices_trains_like_one_dropout_and_uneven_weights_included():
    program = Path(__file__).with_name("many_devices.py")
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8"
    command, environment = [sys.executable, str(program)], os.environ | {"XLA_FLAGS": flags}
    ran = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    assert found["meshes"] == [8, 6, 7]  # eight devices that the user asked for, on any number of cores
    assert found["moved"] > 1e-1 and max(found["worst"]) < 1e-5, found
    assert found["unused"] == [
        "",
        "batch_size = 7: 7 of 8 devices are used, because 8 do not divide it; 8 would use all",
    ]

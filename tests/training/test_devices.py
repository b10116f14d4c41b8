import json
import subprocess
import sys
from pathlib import Path


def test_two_devices_train_like_one_dropout_and_uneven_weights_included():
    program = Path(__file__).with_name("two_devices.py")
    ran = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    assert (found["devices"], found["odd"]) == (2, 1)
    assert found["moved"] > 1e-2 and found["worst"] < 1e-5, found

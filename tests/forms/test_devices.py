"""Blocks of attention inside `shard_map`."""

import json
import subprocess
import sys
from pathlib import Path


def test_blocks_on_two_devices_give_the_gradients_of_one_with_and_without_jax_checking_the_spread():
    program = Path(__file__).with_name("two_devices.py")
    done = subprocess.run([sys.executable, program], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert len(found) == 6 and max(found.values()) < 1e-12

import os
import subprocess
import sys

import pytest

from synergy.threads import available_cores

FORK = """
import os, torch
import synergy.predictor
torch.set_num_threads(2)
numbers = torch.rand(4_000_000)
total = numbers.exp().sum()
if (child := os.fork()) == 0:
    os._exit(0 if torch.allclose(numbers.exp().sum(), total) else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), torch.get_num_threads())
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork processes")
def test_torch_computes_in_a_forked_process_although_its_parent_used_threads():
    result = subprocess.run([sys.executable, "-c", FORK], capture_output=True, text=True, timeout=120, check=False)
    assert (result.stdout, result.returncode) == ("0 2\n", 0), result.stderr


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no processor affinity")
def test_only_cores_that_the_process_may_use_count():
    code = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); from synergy.threads import *; "
    result = subprocess.run([sys.executable, "-c", code + "print(available_cores())"], capture_output=True, text=True)
    assert result.stdout == "1\n"
    assert 1 <= available_cores() <= (os.cpu_count() or 1)

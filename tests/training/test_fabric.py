"""Who starts the processes of a training, as their environment says it; none is started here."""

import pytest

from pathology.core.errors import ConfigError
from pathology.training.fabric import make_fabric
from pipelines.first_process import is_first

TORCHRUN = {
    "TORCHELASTIC_RUN_ID": "1", "WORLD_SIZE": "6", "LOCAL_WORLD_SIZE": "3", "RANK": "4",
    "LOCAL_RANK": "1", "GROUP_RANK": "1",
}  # fmt: skip
SRUN = {
    "SLURM_JOB_ID": "7", "SLURM_NTASKS": "6", "SLURM_NTASKS_PER_NODE": "3", "SLURM_NNODES": "2",
    "SLURM_STEP_NUM_TASKS": "6", "SLURM_STEP_NUM_NODES": "2", "SLURM_PROCID": "4",
    "SLURM_LOCALID": "1", "SLURM_NODEID": "1",
}  # fmt: skip


@pytest.mark.parametrize("said", [TORCHRUN, SRUN], ids=["torchrun", "srun"])
def test_processes_that_were_started_work_together(
    said: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert is_first()
    for name, value in said.items():
        monkeypatch.setenv(name, value)
    for num_devices in (1, 3):
        fabric = make_fabric("cpu", num_devices=num_devices)
        assert (fabric.world_size, fabric.global_rank, fabric.local_rank) == (6, 4, 1)
    assert not is_first()
    with pytest.raises(ConfigError, match=r"--devices 2: 3 processes were started.*leave"):
        make_fabric("cpu", num_devices=2)


def test_one_process_of_a_batch_job_starts_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """A job script that sbatch runs, without srun: SLURM tells of tasks that nobody started."""
    for name, value in {**SRUN, "SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "1"}.items():
        monkeypatch.setenv(name, value)
    assert make_fabric("cpu").world_size == 1
    assert make_fabric("cpu", num_devices=2).world_size == 2
    assert is_first()
    monkeypatch.setenv("LOCAL_RANK", "1")  # as Fabric's launcher tells the second
    assert not is_first()

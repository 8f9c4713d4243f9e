"""Parts of a conversion as tasks of a Slurm array, and `finish` behind them, on a real Slurm of one node: the bytes are
those of one process. The script is that of pipelines/."""

import sys

import pytest

import slurm_node
from conftest import ROOT

sys.path.insert(0, str(ROOT / "Benchmarks"))
import models

pytestmark = pytest.mark.skipif(slurm_node.missing() is not None, reason=slurm_node.missing() or "")
SCRIPT = ROOT / "pipelines/convert.sbatch"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with slurm_node.cluster(tmp_path_factory.mktemp("slurm")) as made:
        yield made


@pytest.fixture
def submit(cluster, programs, tmp_path):
    def submit(*arguments, options=()):
        cluster.environment["LLAMA_CONVERT"] = str(programs.folder / "llama-convert")
        return cluster.run(
            "sbatch", "--parsable", f"--output={tmp_path}/%A_%a.log", "--mem=0", "--cpus-per-task=1", *options, SCRIPT,
            *arguments, cwd=tmp_path)

    return submit


def finish(cluster, programs, tmp_path, output, after):
    return cluster.run(
        "sbatch", "--parsable", f"--output={tmp_path}/finish.log", "--mem=0", f"--dependency=afterok:{after}",
        f"--wrap={programs.folder}/llama-convert finish {output}", cwd=tmp_path)


def files(path):
    return {p.name: p.read_bytes() for p in path.iterdir()}


def logs(tmp_path):
    return "\n".join(f"{p.name}: {p.read_text()}" for p in sorted(tmp_path.glob("*.log")))


@pytest.mark.parametrize(
    "options",
    [["--to", "fp8"], ["--to", "int4"], ["--format", "pth", "--tp", "2"], ["--to", "q4_k_m"], ["--format", "compact"]],
    ids=lambda options: options[-1],
)
def test_array_of_four(options, cluster, submit, programs, tiny, tmp_path):
    parts = submit(*options, tiny, tmp_path / "out")
    last = finish(cluster, programs, tmp_path, tmp_path / "out", parts)
    (state,) = cluster.wait(last)
    assert state["JobState"] == "COMPLETED", logs(tmp_path)
    tasks = cluster.job(parts)
    assert len(tasks) == 4 and all(task["JobState"] == "COMPLETED" for task in tasks), logs(tmp_path)
    (tmp_path / "calm").mkdir()
    programs.convert(tiny, tmp_path / "calm/out", *options)
    assert files(tmp_path / "out") == files(tmp_path / "calm/out")
    assert not list(tmp_path.glob("out.*"))


def test_stopped_task_goes_on(cluster, submit, programs, tiny, tmp_path):
    """A task that gets SIGTERM ends with 75, puts itself into the queue again and does the rest."""
    model = tmp_path / "model"
    models.write_model(model, models.SHAPES["160m"], tiny)
    # Every tile is made safe on the disk at once: slow enough to be met in the middle.
    parts = submit("--checkpoint", "0", "--to", "q4_k_m", model, tmp_path / "out.gguf", options=["--array=0-1"])
    journal = tmp_path / "out.gguf.journal/part-1-of-2.tiles"
    while not (journal.exists() and journal.stat().st_size > 500):
        states = {task["JobState"] for task in cluster.job(parts)}
        assert states <= {"PENDING", "RUNNING", "CONFIGURING"}, logs(tmp_path)
    cluster.run("scancel", "--signal=TERM", f"{parts}_1")
    last = finish(cluster, programs, tmp_path, tmp_path / "out.gguf", parts)
    (state,) = cluster.wait(last, seconds=300)
    assert state["JobState"] == "COMPLETED", logs(tmp_path)
    (stopped,) = [task for task in cluster.job(parts) if task.get("ArrayTaskId") == "1"]
    assert stopped["Restarts"] == "1", logs(tmp_path)
    (tmp_path / "calm").mkdir()
    programs.convert(model, tmp_path / "calm/out.gguf", "--to", "q4_k_m")
    assert (tmp_path / "out.gguf").read_bytes() == (tmp_path / "calm/out.gguf").read_bytes()
    record = "out.gguf.llama-convert.json"
    assert (tmp_path / record).read_text() == (tmp_path / "calm" / record).read_text()

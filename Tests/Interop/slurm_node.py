"""A Slurm cluster of one node on loopback, with Debian's slurm-wlm and munge: everything it has is in one folder."""

import contextlib
import os
import shutil
import socket
import subprocess
import time

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "sinfo")

CONFIGURATION = """\
ClusterName=loopback
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
SlurmctldPort={controller}
SlurmdPort={node}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_res
SelectTypeParameters=CR_CPU
SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=100000
SlurmdParameters=config_overrides
ReturnToService=2
MinJobAge=300
NodeName={host} NodeAddr=127.0.0.1 CPUs=4 RealMemory=1000 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def missing():
    """Why there can be no cluster here; None when there can."""
    if os.geteuid() != 0:
        return "needs root, to run Slurm's daemons"
    absent = [program for program in PROGRAMS if not shutil.which(program, path=search_path())]
    return f"needs {', '.join(absent)} (Debian: apt-get install slurm-wlm munge)" if absent else None


def search_path():
    return os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Cluster:
    def __init__(self, folder):
        self.folder = folder
        self.environment = {**os.environ, "PATH": search_path(), "SLURM_CONF": str(folder / "slurm.conf")}

    def run(self, *command, **options):
        done = subprocess.run(
            list(map(str, command)), env=self.environment, capture_output=True, text=True, check=False, **options)
        assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout.strip()

    def job(self, number):
        """What the controller says of a job's tasks, as dictionaries; also of those that are done."""
        tasks = self.run("scontrol", "-o", "show", "job", number).splitlines()
        return [dict(field.split("=", 1) for field in task.split() if "=" in field) for task in tasks]

    def wait(self, number, seconds=120):
        """Waits until no task of a job is pending or running."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            tasks = self.job(number)
            if all(task["JobState"] not in ("PENDING", "RUNNING", "COMPLETING", "CONFIGURING") for task in tasks):
                return tasks
            time.sleep(0.2)
        logs = "\n".join((self.folder / name).read_text()[-2000:] for name in ("slurmctld.log", "slurmd.log"))
        raise AssertionError(f"job {number} does not end: {self.job(number)}\n{logs}")


@contextlib.contextmanager
def cluster(folder):
    """Starts munge, controller and node; stops them in the end, by their process ids."""
    host = socket.gethostname().split(".")[0]
    for name in ("state", "spool"):
        (folder / name).mkdir()
    folder.chmod(0o755)
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    configuration = CONFIGURATION.format(host=host, folder=folder, controller=free_port(), node=free_port())
    (folder / "slurm.conf").write_text(configuration)
    (folder / "cgroup.conf").write_text("CgroupAutomount=no\n")
    made = Cluster(folder)
    daemons = [
        ["munged", "--foreground", "--force", f"--key-file={key}", f"--socket={folder}/munge.socket",
         f"--pid-file={folder}/munged.pid", f"--log-file={folder}/munged.log", f"--seed-file={folder}/munged.seed"],
        ["slurmctld", "-D", "-c", "-i"],
        ["slurmd", "-D", "-c", "-N", host],
    ]
    processes = []
    try:
        for daemon in daemons:
            log = (folder / f"{daemon[0]}.out").open("w")
            processes.append(
                subprocess.Popen(daemon, env=made.environment, stdout=log, stderr=log, start_new_session=True))
            time.sleep(0.5)
        end = time.monotonic() + 60
        while True:
            state = subprocess.run(
                ["sinfo", "-h", "-o", "%T"], env=made.environment, capture_output=True, text=True, check=False)
            if state.stdout.strip() == "idle":
                break
            for daemon, process in zip(daemons, processes):
                output = (folder / f"{daemon[0]}.out").read_text()[-2000:]
                assert process.poll() is None, f"{daemon[0]} ended with {process.returncode}: {output}"
            assert time.monotonic() < end, f"the node does not become idle: {state.stdout}{state.stderr}"
            time.sleep(0.2)
        yield made
    finally:
        for process in reversed(processes):
            process.terminate()
        for process in reversed(processes):
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()

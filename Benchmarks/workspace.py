"""The folder of a run: the model, the outputs while they are measured, and what is untimed around the timed."""

import contextlib
import os
import shutil
import sys
import tempfile
from pathlib import Path

import models
import processes

# What belongs to a Hugging Face directory; other files may lie beside them.
SUFFIXES = (".safetensors", ".json", ".model")
# Beside the model: another form of it, the copy that makes the pages fresh, and blocks to be compared.
COPIES = 2.6


class Workspace:
    """Removed with everything in it at the end; a model is kept, when asked, in a folder of its own."""

    def __init__(self, options, tokenizer, say):
        home = options.folder or Path(".")
        home.mkdir(parents=True, exist_ok=True)
        self.options, self.tokenizer, self.say = options, tokenizer, say
        self.folder = Path(tempfile.mkdtemp(prefix="bench.", dir=home)).resolve()
        self.out = self.folder / "out"
        self.kept = (options.folder or Path("bench.models")) / f"model-{options.shape}"

    def __enter__(self):
        try:
            self.model = self._linked(self.options.model.resolve()) if self.options.model else self._made()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.folder, ignore_errors=True)

    def _linked(self, original):
        """A folder of links to the files that a conversion reads, so that cp copies no others."""
        files = [path for path in sorted(original.iterdir()) if path.is_file() and path.suffix in SUFFIXES]
        self._room(sum(path.stat().st_size for path in files))
        folder = self.folder / "model"
        folder.mkdir()
        for path in files:
            (folder / path.name).symlink_to(path)
        return folder

    def _made(self):
        if self.kept.is_dir():
            self._room(self.bytes_of(self.kept))
            return self.kept.resolve()
        size = models.SHAPES[self.options.shape].bytes
        self._room(size, copies=1 + COPIES)
        self.say(f"makes a model of shape {self.options.shape}, {size / 1e9:.2f} GB")
        folder = self.folder / "model"
        processes.run(sys.executable, models.__file__, self.options.shape, folder, self.tokenizer)
        if self.options.keep:
            self.kept.parent.mkdir(parents=True, exist_ok=True)
            folder.rename(self.kept)
            folder = self.kept.resolve()
        return folder

    def _room(self, size, copies=COPIES):
        free = shutil.disk_usage(self.folder).free
        if free < copies * size:
            raise SystemExit(f"bench: {copies * size / 1e9:.1f} GB of disk are needed, {free / 1e9:.1f} are free (BENCH_FOLDER)")

    @staticmethod
    def bytes_of(path):
        files = path.iterdir() if path.is_dir() else [path]
        return sum(file.stat().st_size for file in files)

    def warm(self):
        """The inputs into the page cache."""
        for path in self.model.iterdir():
            with open(path, "rb", buffering=0) as file:
                while file.read(1 << 20):
                    pass

    def remove(self, path):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)

    def copy(self):
        """cp, until its bytes are on the disk, as those of a conversion are by its own fsync. Gives its seconds."""
        seconds = processes.run("cp", "-rL", self.model, self.out).seconds
        return seconds + processes.run("sync", "-f", self.out).seconds

    def fresh(self):
        """In a virtual machine, memory that was freed goes back to the host after a moment, and the first to use it again
        pays for it. So every timed command follows an untimed copy whose pages have just been freed."""
        self.remove(self.out)
        self.copy()
        os.sync()
        self.remove(self.out)

    def measure_copy(self):
        self.fresh()
        seconds = self.copy()
        self.remove(self.out)
        return seconds, {}

    def measure(self, *line):
        """A command that writes `out`, which is removed at once: the page cache is for the inputs."""
        self.fresh()
        finished = processes.run(*line)
        self.remove(self.out)
        return finished.seconds, {"peak_rss_bytes": finished.peak_rss_bytes}

    @contextlib.contextmanager
    def converted(self, programs, name, *arguments):
        """The model in another form, for as long as it is needed."""
        path = self.folder / name
        try:
            programs.convert(*arguments, "--no-file-sums", self.model, path)
            yield path
        finally:
            for file in self.folder.glob(name + "*"):
                with contextlib.suppress(OSError):
                    self.remove(file)

    def gguf(self, programs):
        """For llama.cpp, made as its users would make it."""
        return self.converted(programs, "bf16.gguf", "--to", "bf16", "--format", "gguf")

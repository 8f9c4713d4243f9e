"""Times the programs against their peers in one run, in turns, and prints ratios: machines differ.

    python3 Benchmarks/run.py .build/release       `--help` lists options and variables

Tables in Markdown go to standard output, every figure of every round into a JSON document, progress to standard error. What a
peer is not installed for is not measured; the exit code is 1 when something of ours failed."""

import datetime
import importlib
import json
import signal
import sys
from dataclasses import dataclass, field

import machine
import options
import results
from processes import Failed, NotMeasured, Peers, Programs
from workspace import Workspace


def say(text):
    print(f"bench: {text}", file=sys.stderr, flush=True)


@dataclass
class Bench:
    """What the sections share."""

    settings: options.Options
    workspace: Workspace
    programs: Programs
    peers: Peers
    say: callable = field(default=say)

    def __post_init__(self):
        configuration = json.loads((self.workspace.model / "config.json").read_text())
        self.positions = configuration.get("max_position_embeddings", 2048)
        self.vocabulary = configuration["vocab_size"]
        self.context = min(self.settings.context, self.positions)

    @property
    def small(self):
        """Of no meaning but that everything runs."""
        return self.settings.shape == "test" and not self.settings.model

    def rounds(self, what):
        for number in range(self.settings.rounds):
            say(f"{what}, round {number + 1} of {self.settings.rounds}")
            yield number


def main(arguments):
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    settings = options.parse(arguments)
    tiny = options.FIXTURES / "tiny"
    programs = Programs(settings.programs, settings.threads, tiny, options.TEXT)
    peers = Peers(settings.python)
    about = machine.describe(options.ROOT, programs, peers.versions)
    document = {
        "schema": results.SCHEMA,
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "machine": about,
        "model": settings.model.resolve().name if settings.model else settings.shape,
        "rounds": settings.rounds,
        "threads": settings.threads,
        "failures": {},
        "tables": [],
    }
    with Workspace(settings, tiny, say) as workspace:
        document["model_bytes"] = workspace.bytes_of(workspace.model)
        print(machine.sentence(about))
        print(f"model {document['model']}, {results.size(document['model_bytes'])}, {settings.threads} threads, ", end="")
        print(f"medians of {settings.rounds} interleaved rounds\n", flush=True)
        bench = Bench(settings, workspace, programs, peers)
        document["context"] = bench.context
        for section in settings.sections:
            try:
                tables = importlib.import_module(f"sections.{section}").run(bench)
            except (Failed, NotMeasured, AssertionError) as failure:
                document["failures"][section] = str(failure)
                say(f"{section} failed: {failure}")
                tables = []
            document["tables"] += [table.document() for table in tables]
            for table in tables:
                print(table.markdown(), flush=True)
            results.write(settings.json, document)
    say(f"the figures are in {settings.json}")
    return 1 if document["failures"] else 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)

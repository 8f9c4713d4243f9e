import Foundation
import Support
import Testing

/// Conversions of a model that is large enough to be stopped in the middle.
@Suite("Interruption", .serialized)
struct InterruptionTests {
  let model: ModelFolder
  let out: String

  init() throws {
    var synthetic = SyntheticModel()
    (synthetic.hidden, synthetic.layers, synthetic.heads, synthetic.keyValueHeads) = (1024, 6, 16, 4)
    (synthetic.headDimension, synthetic.feedForward, synthetic.vocabulary) = (64, 4096, 8192)
    precondition(synthetic.byteCount > 200_000_000)
    model = try ModelFolder(synthetic)
    out = model.beside("out")
  }

  private var names: [String] {
    get throws { try FileManager.default.contentsOfDirectory(atPath: model.parent).sorted() }
  }

  /// Starts a conversion and gives it back once it has begun to write.
  private func conversion(_ options: String...) throws -> Started {
    let started = try Started(Program.convert.url, options + ["--threads", "1", "--to", "fp8", model.path, out])
    let weights = out + ".partial/model.safetensors"
    while started.isRunning && !FileManager.default.fileExists(atPath: weights) { usleep(500) }
    return started
  }

  /// Starts a conversion and gives it back once it has remembered some of its work.
  private func begun(_ options: String...) throws -> Started {
    let started = try Started(
      Program.convert.url, options + ["--threads", "1", "--checkpoint", "0.01", "--to", "fp8", model.path, out])
    let journal = out + ".journal/tiles"
    while started.isRunning && ((try? Data(contentsOf: URL(filePath: journal)).count) ?? 0) < 100 { usleep(500) }
    return started
  }

  @Test(
    "75: SIGINT and SIGTERM stop a conversion in order; the same command goes on, to the bytes of an undisturbed run")
  func signals() throws {
    for signal in [SIGINT, SIGTERM] {
      let started = try begun()
      started.send(signal)
      let outcome = try started.outcome()
      #expect(outcome.status == 75 && outcome.stdout == "")
      #expect(outcome.messages.last?.contains("interrupted") == true && outcome.stderr.contains(out + ".partial"))
      #expect(try names == ["model", "out.journal", "out.partial"])
    }
    let again = try run(.convert, "--to", "fp8", "--resume", model.path, out)
    #expect(again.status == 0 && again.stderr.contains("going on with unfinished work"), "\(again.stderr)")
    #expect(try names == ["model", "out"])
    #expect(try run(.convert, "--to", "fp8", model.path, model.beside("undisturbed")).status == 0)
    #expect(try contents(ofDirectory: out) == contents(ofDirectory: model.beside("undisturbed")))
  }

  @Test("75: a signal during --force leaves the old output as it was; --no-resume starts over")
  func signalWhileReplacing() throws {
    try FileManager.default.copyItem(at: Fixtures.golden("model/bf16"), to: URL(filePath: out))
    let started = try begun("--force")
    started.send(SIGTERM)
    #expect(try started.outcome().status == 75)
    #expect(try contents(ofDirectory: out) == contents(ofDirectory: Fixtures.golden("model/bf16").path))
    #expect(try names == ["model", "out", "out.journal", "out.partial"])
    let again = try run(.convert, "--to", "fp8", "--force", "--no-resume", model.path, out)
    #expect(again.status == 0 && again.stderr == "", "\(again.stderr)")
    #expect(try names == ["model", "out"])
  }

  @Test("73: a second process on the same output harms nothing, and the first goes on")
  func twoProcesses() throws {
    let first = try conversion()
    let second = try run(.convert, "--to", "fp8", model.path, out)
    #expect(first.isRunning, "the first was too fast for this test")
    #expect(second.status == 73 && second.stdout == "" && second.messages.count == 1, "\(second.stderr)")
    #expect(second.stderr.contains("another process is writing this output (process "))
    #expect(try first.outcome().status == 0)
    #expect(try run(.convert, "--to", "fp8", model.path, model.beside("undisturbed")).status == 0)
    #expect(try contents(ofDirectory: out) == contents(ofDirectory: model.beside("undisturbed")))
  }

  @Test("kill -9 publishes nothing, and running again succeeds with the same bytes as an undisturbed run")
  func kill() throws {
    let started = try conversion()
    started.send(SIGKILL)
    #expect(try started.outcome().status == 128 + SIGKILL)
    #expect(try names == ["model", "out.journal", "out.partial"])
    let again = try run(.convert, "--to", "fp8", model.path, out)
    #expect(again.status == 0, "\(again.stderr)")
    #expect(try names == ["model", "out"])
    #expect(try run(.convert, "--to", "fp8", model.path, model.beside("undisturbed")).status == 0)
    #expect(try contents(ofDirectory: out) == contents(ofDirectory: model.beside("undisturbed")))
  }

  @Test(
    "74: a disk that fills up in the middle: nothing has the name, and with room the same command goes on",
    .enabled(if: TinyDisk.isPossible, "needs the right to mount"))
  func diskFillsUp() throws {
    let plan = try run(.convert, "--dry-run", "--json", "--to", "fp8", model.path, out)
    let needed = try #require(plan.json?["disk_bytes"] as? Int)
    let disk = try TinyDisk(mebibytes: needed >> 20 + 4)
    let filled = disk.path + "/out"
    let options = ["--threads", "1", "--checkpoint", "0.01", "--to", "fp8", model.path, filled]
    let first = try Started(Program.convert.url, options)
    let journal = URL(filePath: filled + ".journal/tiles")
    while first.isRunning && ((try? Data(contentsOf: journal).count) ?? 0) < 100 { usleep(500) }
    // Somebody else takes all that is left.
    let filler = disk.url.appending(path: "filler")
    let descriptor = open(filler.path, O_WRONLY | O_CREAT, 0o644)
    let piece = [UInt8](repeating: 1, count: 1 << 12)
    while write(descriptor, piece, piece.count) == piece.count {}
    close(descriptor)
    #expect(first.isRunning, "the conversion was too fast for this test")
    let full = try first.outcome()
    #expect(full.status == 74 && full.stdout == "", "\(full.stderr)")
    let message = try #require(full.messages.last)
    #expect(message.contains("llama-convert: \(disk.path)/out.") && message.contains("No space left"), "\(message)")
    #expect(message.contains(" bytes") && message.contains("the same command goes on"), "\(message)")
    let names = try FileManager.default.contentsOfDirectory(atPath: disk.path).sorted()
    #expect(names == ["filler", "out.journal", "out.partial"])
    try FileManager.default.removeItem(at: filler)
    let again = try run(.convert, options)
    #expect(again.status == 0 && again.stderr.contains("going on"), "\(again.stderr)")
    #expect(try run(.convert, "--to", "fp8", model.path, out).status == 0)
    #expect(try contents(ofDirectory: filled) == contents(ofDirectory: out))
  }

  @Test(
    "75: llama-verify stops on SIGINT and leaves no report",
    .enabled(if: FileManager.default.fileExists(atPath: "/proc/self/status"), "needs /proc"))
  func verify() throws {
    let started = try Started(
      Program.verify.url,
      [Fixtures.bundled("tiny").path, "--text", evaluationText, "--report", model.beside("report")])
    started.waitUntilListening()
    started.send(SIGINT)
    let outcome = try started.outcome()
    #expect(outcome.status == 75 && outcome.stdout == "" && outcome.messages.count == 1, "\(outcome.stderr)")
    #expect(try names == ["model"])
  }
}

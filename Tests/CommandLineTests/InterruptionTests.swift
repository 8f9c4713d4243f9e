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

  @Test("75: SIGINT and SIGTERM stop a conversion in order: nothing is published, nothing left behind")
  func signals() throws {
    for signal in [SIGINT, SIGTERM] {
      let started = try conversion()
      started.send(signal)
      let outcome = try started.outcome()
      #expect(outcome.status == 75 && outcome.stdout == "")
      #expect(outcome.messages.count == 1 && outcome.stderr.contains("interrupted"))
      #expect(try names == ["model"])
    }
  }

  @Test("75: a signal during --force leaves the old output as it was")
  func signalWhileReplacing() throws {
    try FileManager.default.copyItem(at: Fixtures.golden("model/bf16"), to: URL(filePath: out))
    let started = try conversion("--force")
    started.send(SIGTERM)
    #expect(try started.outcome().status == 75)
    #expect(try contents(ofDirectory: out) == contents(ofDirectory: Fixtures.golden("model/bf16").path))
    #expect(try names == ["model", "out"])
  }

  @Test("kill -9 publishes nothing, and running again succeeds with the same bytes as an undisturbed run")
  func kill() throws {
    let started = try conversion()
    started.send(SIGKILL)
    #expect(try started.outcome().status == 128 + SIGKILL)
    #expect(try names == ["model", "out.partial"])
    let again = try run(.convert, "--to", "fp8", model.path, out)
    #expect(again.status == 0, "\(again.stderr)")
    #expect(try names == ["model", "out"])
    #expect(try run(.convert, "--to", "fp8", model.path, model.beside("undisturbed")).status == 0)
    #expect(try contents(ofDirectory: out) == contents(ofDirectory: model.beside("undisturbed")))
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

import Foundation
import Support
import Testing

/// `inspect --serve` and the checks of what comes in, as programs.
@Suite("Serving and intake")
struct ServeTests {
  private let tiny = Fixtures.bundled("tiny").path

  @Test("inspect --serve answers yes with 0 and no with 1, as one JSON document")
  func serve() throws {
    let outcome = try run(.convert, "inspect", "--serve", "--json", "--gpu-memory", "1GB", tiny)
    #expect(outcome.status == 0 && outcome.stderr == "")
    let document = try #require(outcome.json)
    #expect(document["schema"] as? String == "llama-serve/1" && document["fits"] as? Bool == true)
    let sizes = try #require(document["sizes"] as? [[String: Any]])
    #expect(sizes.map { $0["tensor_parallel"] as? Int } == [1, 2, 4, 8])
    // 2,885,888 weights of 2 bytes: the vocabulary of 2048 is whole multiples of 64.
    #expect(sizes[0]["weight_bytes"] as? Int == 5_771_776)
    let no = try run(.convert, "inspect", "--serve", "--gpu-memory", "6MB", "--tp", "1", tiny)
    #expect(no.status == 1 && no.stdout.contains("\nno: ") && no.stderr == "")
    let short = try run(
      .convert, "inspect", "--serve", "--gpu-memory", "1GB", "--context", "64", "--kv-precision", "fp8", tiny)
    #expect(short.status == 0 && short.stdout.contains("yes: 1 GPU holds"))
    #expect(try run(.convert, "inspect", "--serve", tiny).status == 0)
  }

  @Test(
    "options without --serve, and values that are none, are misuse",
    arguments: [
      ["--gpu-memory", "1GB"], ["--serve", "--tp", "0"], ["--serve", "--context", "0"],
      ["--serve", "--gpu-memory-utilization", "1.5"], ["--serve", "--kv-precision", "int4"],
    ])
  func misuse(_ options: [String]) throws {
    #expect(try run(.convert, ["inspect"] + options + [tiny]).status == 64)
  }

  @Test("a wrong sum is 65 with file, found and expected; --no-check-sums goes on")
  func sums() throws {
    let model = try ModelFolder(copying: "golden/model/bf16")
    let wrong = String(repeating: "0", count: 64)
    try Data("\(wrong)  config.json\n".utf8).write(to: model.file("SHA256SUMS"))
    let refused = try run(.convert, model.path, model.beside("out"))
    #expect(refused.status == 65 && refused.stderr.contains("config.json") && refused.stderr.contains(wrong))
    #expect(!FileManager.default.fileExists(atPath: model.beside("out")))
    #expect(try run(.convert, "lint", model.path).status == 65)
    #expect(try run(.convert, "lint", "--no-check-sums", model.path).status == 0)
    #expect(try run(.convert, "--no-check-sums", model.path, model.beside("out")).status == 0)
  }

  @Test("an input that is written to during a conversion is 65, and nothing is published")
  func changed() throws {
    // A hundred megabytes: long enough to be written to meanwhile.
    var synthetic = SyntheticModel()
    (synthetic.hidden, synthetic.layers, synthetic.feedForward, synthetic.vocabulary) = (1024, 4, 3072, 8192)
    let model = try ModelFolder(synthetic)
    let started = try Started(Program.convert.url, ["--to", "fp8", "--threads", "1", model.path, model.beside("out")])
    let staged = model.beside("out") + ".partial/model.safetensors"
    while started.isRunning && !FileManager.default.fileExists(atPath: staged) { usleep(500) }
    let weights = model.file("model.safetensors")
    let handle = try FileHandle(forWritingTo: weights)
    try handle.seekToEnd()
    try handle.write(contentsOf: Data([0]))
    try handle.close()
    let outcome = try started.outcome()
    #expect(outcome.status == 65 && outcome.stderr.contains("changed while it was read"), "\(outcome.stderr)")
    #expect(try FileManager.default.contentsOfDirectory(atPath: model.parent) == ["model"])
  }
}

import Foundation
import Kernels
import Support
import Testing

private let levels = InstructionSet.available.map(\.description)

@Suite("Instruction sets")
struct InstructionSetTests {
  let model: ModelFolder
  init() throws { model = try ModelFolder() }

  @Test("A conversion gives the same directory on every instruction set that the machine has, on 1 and 2 threads")
  func conversions() throws {
    for target in ["fp8", "fp8-compat", "f16"] {
      var outputs: [[String: [UInt8]]] = []
      for level in levels {
        for threads in ["1", "2"] {
          let output = model.beside("\(level)-\(threads)-\(target)")
          let outcome = try run(
            .convert, "--to", target, "--instruction-set", level, "--threads", threads, model.path, output)
          try #require(outcome.status == 0, "\(outcome.stderr)")
          outputs.append(try contents(ofDirectory: output))
        }
      }
      for output in outputs { #expect(output == outputs[0], "\(target)") }
    }
  }

  @Test("A verification gives the same report on every instruction set and number of threads, its run aside")
  func verifications() throws {
    let candidate = model.beside("candidate")
    try #require(try run(.convert, "--to", "fp8", model.path, candidate).status == 0)
    let text = Fixtures.root.appending(path: "formats/quantization.md").path
    var reports: [NSDictionary] = []
    for (level, threads) in levels.map({ ($0, "1") }) + [(levels[levels.count - 1], "2")] {
      let outcome = try run(
        .verify, "--instruction-set", level, "--threads", threads, "--tokens", "250", "--context", "64", "--emulate",
        "activations=fp8",
        "--json", model.path, candidate, "--text", text)
      var report = try #require(outcome.json)
      let facts = try #require(report.removeValue(forKey: "run") as? [String: Any])
      #expect(facts["instruction_set"] as? String == level)
      reports.append(report as NSDictionary)
    }
    for report in reports { #expect(report == reports[0]) }
  }

  @Test("An instruction set that the machine does not have, or that nobody knows, is wrong usage")
  func unknown() throws {
    for level in ["mmx"] + InstructionSet.allCases.filter({ !InstructionSet.available.contains($0) }).map(\.description)
    {
      let outcome = try run(.convert, "--instruction-set", level, model.path, model.beside("out"))
      #expect(outcome.status == 64 && outcome.stderr.contains(level))
    }
  }
}

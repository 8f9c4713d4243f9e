import ByteIO
import Checkpoints
import Conversion
import Foundation
import Llama
import Quantization
import Support
import Synchronization
import Tensors
import Testing

/// A conversion to interrupt and to divide, in every layout and with every kind of operation.
struct Work: Sendable, CustomTestStringConvertible {
  let testDescription: String
  let options: ConversionOptions
  var output = "out"

  init(_ name: String, _ options: ConversionOptions, output: String = "out") {
    testDescription = name
    self.options = options
    self.output = output
  }

  /// Rounded without a search: it is the writing that is looked at.
  private static func integers(_ options: IntegerOptions) -> ConversionOptions {
    var options = options
    options.method = .rtn
    return ConversionOptions(target: .integers(bits: 4), integers: options, threads: 2)
  }

  static let divisible = [
    Work("the same, in shards", ConversionOptions(maximumShardSize: 1_000_000, threads: 2)),
    Work("fp8", ConversionOptions(target: .fp8(.fp8), maximumShardSize: 1_000_000, threads: 2)),
    Work("f32", ConversionOptions(target: .element(.f32), threads: 2)),
    Work("int4 in groups", integers(IntegerOptions(groupSize: .elements(32), isAsymmetric: true))),
    Work("int4 as GPTQ", integers(IntegerOptions(layout: .gptq))),
    Work("int4 as AWQ", integers(IntegerOptions(layout: .awq))),
    Work("two Meta shards", ConversionOptions(layout: .meta, tensorParallel: 2, threads: 2)),
    Work(
      "Meta's FP8", ConversionOptions(target: .fp8(.fp8Meta), layout: .meta, tensorParallel: 2, threads: 2)),
    Work("Meta's int4", ConversionOptions(target: .int4Meta, layout: .meta, tensorParallel: 1, threads: 2)),
    Work("q4_k_m", ConversionOptions(target: .ggml(.q4_k_m), threads: 2), output: "out.gguf"),
    Work(
      "GGUF in pieces", ConversionOptions(layout: .gguf, maximumShardSize: 2_000_000, threads: 2)),
    Work("compact", ConversionOptions(target: .fp8(.fp8), layout: .compact, threads: 2), output: "out.gguf"),
    Work(
      "compact int4",
      {
        var options = integers(IntegerOptions())
        options.layout = .compact
        return options
      }(), output: "out.gguf"),
  ]

  static let compressed = Work(
    "compressed", ConversionOptions(layout: .compact, compresses: true, threads: 2), output: "out.gguf")
}

@Suite("Work that is cut off")
struct JournalTests {
  let model: ModelFolder
  init() throws { model = try ModelFolder() }

  private var names: [String] {
    get throws { try FileManager.default.contentsOfDirectory(atPath: model.parent).sorted() }
  }

  /// The bytes of a conversion that nobody disturbs, under the same name.
  private func undisturbed(_ work: Work) throws -> [String: [UInt8]] {
    try FileManager.default.createDirectory(atPath: model.beside("calm"), withIntermediateDirectories: false)
    try convert(model.path, to: model.beside("calm/" + work.output), work.options)
    defer { try? FileManager.default.removeItem(atPath: model.beside("calm")) }
    return try published(model.beside("calm/" + work.output))
  }

  private func settings(_ remarks: Remarks = Remarks()) -> JournalSettings {
    JournalSettings(interval: 0, remark: { remarks.add($0) })
  }

  final class Remarks: Sendable {
    private let lines = Mutex<[String]>([])
    func add(_ line: String) { lines.withLock { $0.append(line) } }
    var text: String { lines.withLock { $0.joined(separator: "\n") } }
  }

  /// As another process opens and plans it.
  private func opened(_ options: ConversionOptions, _ output: String) throws -> ConversionPlan {
    try plan(model.path, options, output: model.beside(output))
  }

  /// Stops when about `share` of the input is done.
  private func interrupt(_ plan: ConversionPlan, at share: Double, _ settings: JournalSettings) throws {
    let interruption = Interruption()
    let failure = #expect(throws: Interrupted.self) {
      _ = try ConversionRun(plan, journal: settings, interruption: interruption) { done, total in
        if Double(done) >= share * Double(total) { interruption.request() }
      }
    }
    #expect(failure?.description.contains(plan.outputPath + ".partial") == true)
  }

  private func finish(_ run: ConversionRun) throws {
    try ConversionRecord(run, try SelfCheck(run), verification: nil).publish(replacing: false)
  }

  @Test("It goes on, twice, and everything is as if nothing had happened", arguments: Work.divisible)
  func resumed(_ work: Work) throws {
    let expected = try undisturbed(work)
    let plan = try plan(model.path, work.options, output: model.beside(work.output))
    try interrupt(plan, at: 0.2, settings())
    #expect(try names == ["model", work.output + ".journal", work.output + ".partial"])
    // Other threads and other processes' plan: nothing of the first is in memory.
    var options = work.options
    options.threads = 1
    let again = try opened(options, work.output)
    try interrupt(again, at: 0.7, settings())
    let remarks = Remarks()
    let first = Mutex<UInt64?>(nil)
    let run = try ConversionRun(again, journal: settings(remarks)) { done, _ in
      first.withLock { $0 = $0 ?? done }
    }
    #expect(remarks.text.contains("going on"))
    #expect(Double(first.withLock { $0 } ?? 0) >= 0.6 * Double(again.inputByteCount), "work was done twice")
    try finish(run)
    #expect(try published(model.beside(work.output)) == expected)
    #expect(try !names.contains { $0.hasSuffix(".journal") || $0.hasSuffix(".partial") })
  }

  @Test("All tiles done and then cut off: only the proof is done again")
  func cutOffInSelfCheck() throws {
    let work = Work.divisible[9]
    let expected = try undisturbed(work)
    let plan = try plan(model.path, work.options, output: model.beside(work.output))
    let interruption = Interruption()
    do {
      let run = try ConversionRun(plan, journal: settings(), interruption: interruption)
      interruption.request()
      let error = #expect(throws: Interrupted.self) { try SelfCheck(run, interruption: interruption) }
      #expect("\(run.end(after: try #require(error)))".contains("same command"))
    }
    let tiles = Mutex(0)
    let run = try ConversionRun(plan, journal: settings()) { _, _ in tiles.withLock { $0 += 1 } }
    #expect(tiles.withLock { $0 } <= 1, "no tile is done again")
    try finish(run)
    #expect(try published(model.beside(work.output)) == expected)
  }

  @Test("A compressed file is begun anew")
  func compressed() throws {
    let work = Work.compressed
    let expected = try undisturbed(work)
    let plan = try plan(model.path, work.options, output: model.beside(work.output))
    let interruption = Interruption()
    #expect(throws: Interrupted.self) {
      _ = try ConversionRun(plan, journal: settings(), interruption: interruption) { done, total in
        if done >= total / 2 { interruption.request() }
      }
    }
    #expect(try names == ["model"], "nothing is kept of what cannot be gone on with")
    try finish(try ConversionRun(plan, journal: settings()))
    #expect(try published(model.beside(work.output)) == expected)
  }

  @Test("Another conversion's unfinished work is removed, unless --resume forbids it")
  func otherWork() throws {
    let out = model.beside("out")
    try interrupt(try plan(model.path, .fp8(.fp8), output: out), at: 0.5, settings())
    let other = try plan(model.path, .fp8(.fp8Compat), output: out)
    var strict = settings()
    strict.resumption = .required
    let failure = #expect(throws: ConversionFailure.self) { try ConversionRun(other, journal: strict) }
    #expect(failure?.kind == .otherWork && failure?.message.contains("out.journal") == true)
    #expect(try names == ["model", "out.journal", "out.partial"])
    let remarks = Remarks()
    try finish(try ConversionRun(other, journal: settings(remarks)))
    #expect(remarks.text.contains("removing"))
    try convert(model.path, to: model.beside("calm"), .fp8(.fp8Compat))
    #expect(try contents(ofDirectory: out) == contents(ofDirectory: model.beside("calm")))
  }

  @Test("Work on an input that has changed begins anew", arguments: ["touched", "changed"])
  func changedInput(_ change: String) throws {
    let out = model.beside("out")
    let options = ConversionOptions.fp8(.fp8)
    try interrupt(try plan(model.path, options, output: out), at: 0.5, settings())
    if change == "touched" {
      try FileManager.default.setAttributes(
        [.modificationDate: Date(timeIntervalSince1970: 1_700_000_000)],
        ofItemAtPath: model.file("model.safetensors").path
      )
    } else {
      try model.edit("model.layers.0.mlp.up_proj.weight") { $0.setHalf(0x3F80, at: 5) }
    }
    let remarks = Remarks()
    try finish(try ConversionRun(try plan(model.path, options, output: out), journal: settings(remarks)))
    #expect(remarks.text.contains("removing") && !remarks.text.contains("going on"))
    try convert(model.path, to: model.beside("calm"), options)
    #expect(try contents(ofDirectory: out) == contents(ofDirectory: model.beside("calm")))
  }

  @Test(
    "A staged file that is gone, or a journal that is damaged: begun anew", arguments: ["file", "journal", "never"])
  func lostWork(_ loss: String) throws {
    let out = model.beside("out")
    let plan = try plan(model.path, .fp8(.fp8), output: out)
    try interrupt(plan, at: 0.5, settings())
    switch loss {
    case "file": try FileManager.default.removeItem(atPath: out + ".partial/model.safetensors")
    case "journal": try Data([1, 2, 3]).write(to: URL(filePath: out + ".journal/tiles"))
    default: break
    }
    var again = settings()
    if loss == "never" { again.resumption = .never }
    let remarks = Remarks()
    again.remark = { remarks.add($0) }
    try finish(try ConversionRun(plan, journal: again))
    #expect(!remarks.text.contains("going on"))
    try convert(model.path, to: model.beside("calm"), .fp8(.fp8))
    #expect(try contents(ofDirectory: out) == contents(ofDirectory: model.beside("calm")))
  }

  @Test("Directories of others that have the names are left alone", arguments: ["out.partial", "out.journal"])
  func foreignDirectories(_ name: String) throws {
    try FileManager.default.createDirectory(atPath: model.beside(name), withIntermediateDirectories: false)
    try Data("a download".utf8).write(to: URL(filePath: model.beside(name + "/weights")))
    let plan = try plan(model.path, .fp8(.fp8), output: model.beside("out"))
    #expect(#expect(throws: FileFailure.self) { try ConversionRun(plan) }?.kind == .exists)
    #expect(try contents(ofDirectory: model.beside(name)) == ["weights": Array("a download".utf8)])
  }
}

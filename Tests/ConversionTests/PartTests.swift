import ByteIO
import Checkpoints
import Conversion
import Foundation
import Quantization
import Support
import Synchronization
import Testing

@Suite("Work done in parts")
struct PartTests {
  let model: ModelFolder
  init() throws { model = try ModelFolder() }

  private var names: [String] {
    get throws { try FileManager.default.contentsOfDirectory(atPath: model.parent).sorted() }
  }

  /// As a process of its own opens and plans it.
  private func opened(_ options: ConversionOptions, _ out: String) throws -> ConversionPlan {
    try plan(model.path, options, output: out)
  }

  private func parts(_ count: Int) -> [WorkPart] { (0..<count).compactMap { WorkPart($0, of: count) } }

  private func finish(_ plan: ConversionPlan, _ count: Int) throws {
    let run = try ConversionRun(finishing: plan, parts: count, journal: JournalSettings())
    try ConversionRecord(run, try SelfCheck(run), verification: nil).publish(replacing: false)
  }

  @Test(
    "In any order, at the same time and twice: bytes and evidence are those of one process", arguments: Work.divisible)
  func anyOrder(_ work: Work) throws {
    let seed = SeededRandom.freshSeed()
    var random = SeededRandom(seed: seed)
    try FileManager.default.createDirectory(atPath: model.beside("calm"), withIntermediateDirectories: false)
    try convert(model.path, to: model.beside("calm/" + work.output), work.options)
    let count = Int.random(in: 2...7, using: &random)
    // Each part opens and plans for itself, as a process does.
    let order = (parts(count) + [parts(count)[0]]).shuffled(using: &random)
    let (input, out) = (model.path, model.beside(work.output))
    let failures = Mutex<[String]>([])
    DispatchQueue.concurrentPerform(iterations: 2) { worker in
      for (index, part) in order.enumerated() where index % 2 == worker {
        do {
          _ = try PartRun(try plan(input, work.options, output: out), part: part)
        } catch let error as FileFailure where error.kind == .exists {
          // The same part at the same time.
        } catch {
          failures.withLock { $0.append("\(part): \(error)") }
        }
      }
    }
    #expect(failures.withLock { $0 } == [], "seed \(seed)")
    try finish(try plan(input, work.options, output: out), count)
    #expect(
      try published(model.beside(work.output)) == published(model.beside("calm/" + work.output)),
      "seed \(seed), \(count) parts")
    #expect(try !names.contains { $0.hasSuffix(".journal") || $0.hasSuffix(".partial") })
  }

  @Test("More parts than tiles leave some with nothing to do")
  func emptyParts() throws {
    let small = try ModelFolder(copying: "golden/model/bf16")
    let options = ConversionOptions(layout: .meta, tensorParallel: 1)
    let plan = try plan(small.path, options, output: small.beside("out"))
    for part in parts(60) { _ = try PartRun(plan, part: part) }
    try finish(plan, 60)
    try convert(small.path, to: small.beside("calm"), options)
    #expect(try contents(ofDirectory: small.beside("out")) == contents(ofDirectory: small.beside("calm")))
  }

  @Test("A part that was cut off goes on; parts that are missing are named, and nothing is published")
  func missingParts() throws {
    let options = ConversionOptions.fp8(.fp8)
    let plan = try plan(model.path, options, output: model.beside("out"))
    for part in [0, 3] { _ = try PartRun(plan, part: try #require(WorkPart(part, of: 4))) }
    let interruption = Interruption()
    let second = try #require(WorkPart(2, of: 4))
    let interrupted = #expect(throws: Interrupted.self) {
      _ = try PartRun(plan, part: second, journal: JournalSettings(interval: 0), interruption: interruption) {
        done, total in
        if done > total - plan.inputByteCount / 8 { interruption.request() }
      }
    }
    #expect(interrupted?.description.contains("same command") == true)
    let failure = #expect(throws: ConversionFailure.self) { try finish(plan, 4) }
    #expect(failure?.kind == .unfinished)
    #expect(failure?.message.contains("1, 2 (begun: ") == true, "\(failure?.message ?? "")")
    #expect(try names == ["model", "out.journal", "out.partial"])
    let rest = try PartRun(plan, part: second)
    #expect(rest.resumedCount > 0 && rest.resumedCount < rest.tileCount)
    #expect(#expect(throws: ConversionFailure.self) { try finish(plan, 4) }?.message.contains("not done: 1;") == true)
    _ = try PartRun(plan, part: try #require(WorkPart(1, of: 4)))
    try finish(plan, 4)
    try convert(model.path, to: model.beside("calm"), options)
    #expect(try contents(ofDirectory: model.beside("out")) == contents(ofDirectory: model.beside("calm")))
  }

  @Test("Parts of another count, plan or input, and work of one process, are told apart")
  func otherWork() throws {
    let out = model.beside("out")
    let plan = try plan(model.path, .fp8(.fp8), output: out)
    _ = try PartRun(plan, part: try #require(WorkPart(0, of: 2)))
    func kind(_ body: () throws -> Void) -> ConversionFailure.Kind? {
      #expect(throws: ConversionFailure.self) { try body() }?.kind
    }
    #expect(kind { _ = try PartRun(plan, part: try #require(WorkPart(0, of: 3))) } == .otherWork)
    let other = try opened(.fp8(.fp8Compat), out)
    #expect(kind { _ = try PartRun(other, part: try #require(WorkPart(1, of: 2))) } == .otherWork)
    #expect(kind { _ = try ConversionRun(plan) } == .otherWork)
    try FileManager.default.setAttributes(
      [.modificationDate: Date(timeIntervalSince1970: 1_700_000_000)],
      ofItemAtPath: model.file("model.safetensors").path)
    let touched = try opened(.fp8(.fp8), out)
    #expect(kind { _ = try PartRun(touched, part: try #require(WorkPart(1, of: 2))) } == .otherWork)
    #expect(kind { try finish(touched, 2) } == .otherWork)
    #expect(try names == ["model", "out.journal", "out.partial"])
  }

  @Test("What cannot be divided is refused before anything is written")
  func indivisible() throws {
    for options in [
      Work.compressed.options,
      ConversionOptions(target: .integers(bits: 4), integers: IntegerOptions(method: .gptq, isCalibrated: true)),
    ] {
      let plan = try plan(model.path, options, output: model.beside("out.gguf"))
      let failure = #expect(throws: ConversionFailure.self) {
        _ = try PartRun(plan, part: try #require(WorkPart(0, of: 2)))
      }
      #expect(failure?.kind == .usage)
    }
    #expect(try names == ["model"])
  }

  @Test("A byte that is damaged between parts and finish is found, and nothing is published")
  func damage() throws {
    let plan = try plan(model.path, .fp8(.fp8), output: model.beside("out"))
    for part in parts(2) { _ = try PartRun(plan, part: part) }
    let file = URL(filePath: model.beside("out.partial/model.safetensors"))
    var bytes = try Fixtures.bytes(file)
    bytes[bytes.count / 2] ^= 0x10
    try Data(bytes).write(to: file)
    #expect(#expect(throws: ConversionFailure.self) { try finish(plan, 2) }?.kind == .selfCheck)
    #expect(try !names.contains("out"))
  }
}

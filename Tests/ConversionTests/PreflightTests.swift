import ByteIO
import Checkpoints
import Conversion
import Foundation
import Quantization
import Support
import Testing

@Suite("Preflight")
struct PreflightTests {
  let model: ModelFolder
  init() throws { model = try ModelFolder(copying: "golden/model/bf16") }

  private func preflight(
    _ output: String, input: String? = nil, _ change: (inout ConversionOptions) -> Void = { _ in }
  ) throws {
    var options = ConversionOptions.fp8(.fp8)
    change(&options)
    try plan(input ?? model.path, options, output: output).preflight()
  }

  private func createDirectory(_ path: String) throws {
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
  }

  @Test("A free name beside the input is accepted, with or without a final slash")
  func accepted() throws {
    try preflight(model.beside("out"))
    try preflight(model.beside("out/"))
    // A common beginning of two names is no containment.
    try preflight(model.path + "-fp8")
    #expect(try FileManager.default.contentsOfDirectory(atPath: model.parent) == ["model"])
  }

  @Test("An existing output is refused, whatever it is, unless it may be replaced")
  func existing() throws {
    try createDirectory(model.beside("directory"))
    #expect(FileManager.default.createFile(atPath: model.beside("file"), contents: Data([1])))
    try FileManager.default.createSymbolicLink(atPath: model.beside("dangling"), withDestinationPath: "nowhere")
    try FileManager.default.createSymbolicLink(atPath: model.beside("link"), withDestinationPath: "directory")
    for name in ["directory", "directory/", "file", "dangling", "link"] {
      let failure = #expect(throws: ConversionFailure.self) { try preflight(model.beside(name)) }
      #expect(failure?.kind == .outputExists, "\(name)")
      #expect(failure?.message.hasPrefix(model.beside(name)) == true)
      try preflight(model.beside(name)) { $0.force = true }
    }
  }

  @Test("The input itself is never the output", arguments: ["model", "model/", "model/../model", "./model"])
  func sameDirectory(_ name: String) throws {
    let failure = #expect(throws: ConversionFailure.self) { try preflight(model.beside(name)) { $0.force = true } }
    #expect(failure?.kind == .outputPlace)
  }

  @Test("A link to the input, and a name reached through a link to its parent, are the input")
  func linkedInput() throws {
    try FileManager.default.createSymbolicLink(atPath: model.beside("alias"), withDestinationPath: "model")
    try createDirectory(model.beside("elsewhere"))
    try FileManager.default.createSymbolicLink(atPath: model.beside("elsewhere/up"), withDestinationPath: model.parent)
    for name in ["alias", "elsewhere/up/model", "alias/out", "elsewhere/up/model/out"] {
      let failure = #expect(throws: ConversionFailure.self) { try preflight(model.beside(name)) { $0.force = true } }
      #expect(failure?.kind == .outputPlace, "\(name)")
    }
    let failure = #expect(throws: ConversionFailure.self) {
      try preflight(model.beside("model"), input: model.beside("alias")) { $0.force = true }
    }
    #expect(failure?.kind == .outputPlace)
  }

  @Test("Output inside input and input inside output are refused")
  func nested() throws {
    for output in [model.path + "/out", model.parent] {
      let failure = #expect(throws: ConversionFailure.self) { try preflight(output) { $0.force = true } }
      #expect(failure?.kind == .outputPlace, "\(output)")
    }
  }

  @Test("A missing parent directory cannot be created in")
  func missingParent() throws {
    let failure = #expect(throws: FileFailure.self) { try preflight(model.beside("no/out")) }
    #expect(failure?.kind == .cannotCreate)
    #expect(failure?.path == model.beside("no"))
  }

  @Test("A memory budget below the plan's need is refused, one that holds it is not")
  func memory() throws {
    let needed = try plan(model.path, .fp8(.fp8)).peakMemory
    try preflight(model.beside("out")) { $0.maximumMemory = needed }
    let failure = #expect(throws: ConversionFailure.self) {
      try preflight(model.beside("out")) { $0.maximumMemory = needed - 1 }
    }
    #expect(failure?.kind == .memory)
    #expect(try plan(model.path, .fp8(.fp8, threads: 8)).peakMemory > needed)
  }

  @Test("A read-only place is refused", .enabled(if: TinyDisk.isPossible, "needs the right to mount"))
  func readOnly() throws {
    let disk = try TinyDisk(mebibytes: 64)
    try preflight(disk.path + "/out")
    try disk.makeReadOnly()
    #expect(#expect(throws: FileFailure.self) { try preflight(disk.path + "/out") }?.kind == .permission)
  }

  @Test("A disk that cannot hold the output is refused", .enabled(if: TinyDisk.isPossible, "needs the right to mount"))
  func fullDisk() throws {
    let disk = try TinyDisk(mebibytes: 4)
    let failure = #expect(throws: ConversionFailure.self) { try preflight(disk.path + "/out") }
    #expect(failure?.kind == .noSpace)
    #expect(try FileManager.default.contentsOfDirectory(atPath: disk.path) == [])
  }

  @Test(
    "A disk that fills up during the run is an error that leaves nothing",
    .enabled(if: TinyDisk.isPossible, "needs the right to mount"))
  func diskFillsUp() throws {
    let tiny = try ModelFolder()
    let disk = try TinyDisk(mebibytes: 2)
    let plan = try plan(tiny.path, .fp8(.fp8), output: disk.path + "/out")
    #expect(#expect(throws: FileFailure.self) { try ConversionRun(plan) }?.kind == .noSpace)
    #expect(try FileManager.default.contentsOfDirectory(atPath: disk.path) == [])
  }

  @Test("An interrupted run leaves nothing")
  func interrupted() throws {
    let interruption = Interruption()
    interruption.request()
    let plan = try plan(model.path, .fp8(.fp8), output: model.beside("out"))
    #expect(throws: Interrupted.self) { try ConversionRun(plan, interruption: interruption) }
    #expect(try FileManager.default.contentsOfDirectory(atPath: model.parent) == ["model"])
  }

  @Test("Two runs do not write the same output at the same time")
  func concurrentRuns() throws {
    let plan = try plan(model.path, .fp8(.fp8), output: model.beside("out"))
    let first = try ConversionRun(plan)
    #expect(#expect(throws: FileFailure.self) { try ConversionRun(plan) }?.kind == .exists)
    try ConversionRecord(first, try SelfCheck(first), verification: nil).publish(replacing: false)
  }
}

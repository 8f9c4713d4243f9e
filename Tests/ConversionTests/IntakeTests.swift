import ByteIO
import Checkpoints
import Conversion
import Foundation
import Support
import Testing

/// What comes in is held against the sums that came with it. Sums are made by the system's own tools' rules: Foundation and
/// swift-crypto through `Support`, and constants from `sha256sum`, `md5sum` and `git hash-object`.
@Suite("Intake")
struct IntakeTests {
  let model: ModelFolder
  init() throws { model = try ModelFolder(copying: "golden/model/bf16") }

  private func write(_ text: String, _ name: String) throws { try Data(text.utf8).write(to: model.file(name)) }

  private func convertModel(_ options: ConversionOptions = ConversionOptions()) throws {
    try convert(model.path, to: model.beside("out"), options)
  }

  private func refusal(_ options: ConversionOptions = ConversionOptions()) throws -> String {
    let failure = #expect(throws: ParseFailure.self) { try convertModel(options) }
    #expect(!FileManager.default.fileExists(atPath: model.beside("out")))
    return failure?.description ?? ""
  }

  private func lint() throws -> [LintCode] {
    try LintReport(ofCheckpointAt: model.path, readsValues: true, threads: 2).findings.filter { $0.severity != .note }
      .map(\.code)
  }

  /// `sha256sum model.safetensors config.json` of the bundled model, `md5sum` and `git hash-object` of config.json.
  private static let sums = (
    weights: "c328e32042c7b7ba4ca0701213e9d2c334f480e8f47984e52d42410f23ec04b6",
    configuration: "be52cbe25973b10a537eda514e48b058266c37dea4ea46f1a3e716815cd86c56",
    md5: "70d36a15e761fc7028d18d39ddef5779", gitBlob: "dffa06ba07458b21210d6bd77986d32a905ec6a0"
  )

  @Test("right sums are counted in the record, wrong ones refused with file, found and expected")
  func sha256() throws {
    try write("\(Self.sums.weights)  model.safetensors\n\(Self.sums.configuration) *./config.json\n", "SHA256SUMS")
    try convertModel()
    let record = try foundationJSON(model.beside("out") + "/llama-convert.json")
    let input = try #require(record["input"] as? [String: Any])
    let verified = try #require(input["verified_by"] as? [[String: Any]])
    #expect(
      verified.count == 1 && verified[0]["source"] as? String == "SHA256SUMS" && verified[0]["files"] as? Int == 2)
    #expect((record["options"] as? [String: Any])?["check_sums"] as? Bool == true)
    #expect(try lint() == [])
    try FileManager.default.removeItem(atPath: model.beside("out"))

    try model.edit("model.norm.weight") { $0.bytes[0] ^= 1 }
    let text = try refusal()
    #expect(text.contains("model.safetensors") && text.contains(Self.sums.weights) && text.contains("SHA256SUMS"))
    #expect(try lint() == [.wrongChecksum])
    // Without sums of its own the input's are compared all the same; unless that is not wanted.
    _ = try refusal(ConversionOptions(threads: 2, sumsFiles: false))
    try convertModel(ConversionOptions(checksSums: false))
    let skipped = try foundationJSON(model.beside("out") + "/llama-convert.json")
    #expect((skipped["options"] as? [String: Any])?["check_sums"] as? Bool == false)
  }

  @Test("a list that names what is not there, or is none, or leads out of its directory")
  func lists() throws {
    try write("\(Self.sums.weights)  model-00002.safetensors\n", "SHA256SUMS")
    #expect(try refusal().contains("model-00002.safetensors"))
    #expect(try lint() == [.missingListedFile])
    for line in [
      "\(Self.sums.weights) ", "x  config.json", "\(Self.sums.weights)  ../config.json",
      "\(Self.sums.weights)  /etc/passwd",
    ] {
      try write(line + "\n", "SHA256SUMS")
      #expect(try refusal().contains("line 1"), "\(line)")
      #expect(try lint() == [.unreadableChecksums])
    }
  }

  @Test("names that no file can have, and lists that may not be read, are findings")
  func oddLists() throws {
    try write("\(Self.sums.weights)  \(String(repeating: "x", count: 300))\n", "SHA256SUMS")
    #expect(try refusal().contains("no file can have") && lint() == [.unreadableChecksums])
    try FileManager.default.removeItem(at: model.file("SHA256SUMS"))
    #expect(try lint() == [])
  }

  /// Pieces of a set, whichever of them is named, a file beside `SHA256SUMS`, and a directory whose file has a list of its own.
  @Test("sums of a set of GGUF files are found by any way to name it")
  func sets() throws {
    let set = model.beside("set")
    try convert(model.path, to: set, ConversionOptions(layout: .gguf, maximumShardTensors: 8))
    let pieces = try FileManager.default.contentsOfDirectory(atPath: set).filter { $0.hasSuffix(".gguf") }.sorted()
    try #require(pieces.count > 1)
    let (first, last) = (set + "/" + pieces[0], URL(filePath: set + "/" + pieces[pieces.count - 1]))
    func codes(_ path: String) throws -> [LintCode] {
      try LintReport(ofCheckpointAt: path, readsValues: true, threads: 2).findings.map(\.code)
    }
    #expect(try !codes(first).contains(.wrongChecksum))
    var bytes = try Fixtures.bytes(last)
    bytes[bytes.count - 40] ^= 1
    try Data(bytes).write(to: last)
    for path in [set, first] {
      #expect(try codes(path).contains(.wrongChecksum), "\(path)")
      let failure = #expect(throws: ParseFailure.self) {
        try convert(path, to: model.beside("again"), ConversionOptions(layout: .huggingFace))
      }
      #expect(failure?.description.contains("SHA256SUMS") == true, "\(path): \(failure?.description ?? "")")
    }
    let single = model.beside("one.gguf")
    try convert(model.path, to: single, ConversionOptions(layout: .gguf))
    let folder = model.beside("folder")
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: false)
    for name in ["one.gguf", "one.gguf.sha256"] {
      try FileManager.default.moveItem(atPath: model.beside(name), toPath: folder + "/" + name)
    }
    bytes = try Fixtures.bytes(URL(filePath: folder + "/one.gguf"))
    bytes[bytes.count - 40] ^= 1
    try Data(bytes).write(to: URL(filePath: folder + "/one.gguf"))
    for path in [folder, folder + "/one.gguf"] { #expect(try codes(path).contains(.wrongChecksum), "\(path)") }
  }

  @Test("MD5 of checklist.chk, beside a Hugging Face directory too")
  func md5() throws {
    try write("\(Self.sums.md5)  config.json\n", "checklist.chk")
    try convertModel()
    try FileManager.default.removeItem(atPath: model.beside("out"))
    try write(Self.sums.md5.replacing("a", with: "b") + "  config.json\n", "checklist.chk")
    #expect(try refusal().contains("MD5"))
    #expect(try lint() == [.wrongChecksum])
  }

  @Test("links into a download cache are what their names say")
  func cache() throws {
    let manager = FileManager.default
    let blobs = model.beside("blobs")
    try manager.createDirectory(atPath: blobs, withIntermediateDirectories: true)
    for (name, blob) in [("config.json", Self.sums.gitBlob), ("model.safetensors", Self.sums.weights)] {
      try manager.moveItem(atPath: model.file(name).path, toPath: blobs + "/" + blob)
      try manager.createSymbolicLink(atPath: model.file(name).path, withDestinationPath: "../blobs/" + blob)
    }
    try convertModel()
    let record = try foundationJSON(model.beside("out") + "/llama-convert.json")
    let verified = (record["input"] as? [String: Any])?["verified_by"] as? [[String: Any]]
    #expect(verified?.first?["files"] as? Int == 2)
    #expect(try lint() == [])
    try manager.removeItem(atPath: model.beside("out"))
    let file = URL(filePath: blobs + "/" + Self.sums.gitBlob)
    try (Data(contentsOf: file) + Data(" ".utf8)).write(to: file)
    #expect(try refusal().contains("git object id"))
    #expect(try lint() == [.wrongChecksum])
  }

  @Test("the index's total")
  func total() throws {
    try convert(model.path, to: model.beside("cut"), ConversionOptions(maximumShardSize: 50_000))
    let index = URL(filePath: model.beside("cut") + "/model.safetensors.index.json")
    let text = try String(contentsOf: index, encoding: .utf8)
    try Data(text.replacing(/"total_size": (\d)/, with: { "\"total_size\": 9\($0.1)" }).utf8).write(to: index)
    try FileManager.default.removeItem(atPath: model.beside("cut") + "/SHA256SUMS")
    let failure = #expect(throws: ParseFailure.self) {
      try convert(model.beside("cut"), to: model.beside("out"), ConversionOptions())
    }
    #expect(failure?.description.contains("total_size of 9") == true)
    try convert(model.beside("cut"), to: model.beside("out"), ConversionOptions(checksSums: false))
  }

  @Test("a single file has its sum beside it")
  func singleFile() throws {
    let tiny = Fixtures.bundled("tiny").path
    try convert(tiny, to: model.beside("x.gguf"), ConversionOptions(layout: .gguf))
    try convert(model.beside("x.gguf"), to: model.beside("y.gguf"), ConversionOptions())
    let sum = URL(filePath: model.beside("x.gguf.sha256"))
    let text = try String(contentsOf: sum, encoding: .utf8)
    try Data((String(text.prefix(63).reversed()) + String(text.dropFirst(63))).utf8).write(to: sum)
    #expect(throws: ParseFailure.self) {
      try convert(model.beside("x.gguf"), to: model.beside("z.gguf"), ConversionOptions())
    }
  }

  @Test("an input that changes before publication", arguments: ["longer", "touched", "replaced", "gone"])
  func changed(_ how: String) throws {
    let plan = try ConversionPlan(try Checkpoint(path: model.path), output: model.beside("out"), options: .init())
    let run = try ConversionRun(plan)
    let check = try SelfCheck(run)
    let record = try ConversionRecord(run, check, verification: nil)
    let file = model.file("model.safetensors")
    let bytes = try Data(contentsOf: file)
    switch how {
    case "longer":
      let handle = try FileHandle(forWritingTo: file)
      try handle.seekToEnd()
      try handle.write(contentsOf: Data([0]))
    case "touched":
      try FileManager.default.setAttributes(
        [.modificationDate: Date(timeIntervalSince1970: 1)], ofItemAtPath: file.path)
    case "replaced":
      try bytes.write(to: model.file("new"))
      try FileManager.default.removeItem(at: file)
      try FileManager.default.moveItem(at: model.file("new"), to: file)
    default: try FileManager.default.removeItem(at: file)
    }
    let failure = #expect(throws: ParseFailure.self) { try record.publish(replacing: false) }
    #expect(failure?.message.contains("changed while it was read") == true && failure?.file == file.path)
    #expect(!FileManager.default.fileExists(atPath: model.beside("out")))
    try run.discard()
  }
}

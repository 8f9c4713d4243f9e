import ByteIO
import Checkpoints
import Foundation
import Support
import Testing

/// Faults of the files themselves: shards, their index, and what lies beside them.
@Suite struct LintFileTests {
  /// What is done to a folder of three shards.
  struct Damage: Sendable, CustomTestStringConvertible {
    let testDescription: String
    let codes: [LintCode]
    let change: @Sendable (URL) throws -> Void

    init(_ name: String, _ codes: LintCode..., change: @escaping @Sendable (URL) throws -> Void) {
      testDescription = name
      self.codes = codes
      self.change = change
    }
  }

  private static let index = "model.safetensors.index.json"
  private static func shard(_ number: Int, of count: Int = 3) -> String {
    "model-0000\(number)-of-0000\(count).safetensors"
  }

  private static func edit(_ folder: URL, _ name: String, _ body: (inout String) -> Void) throws {
    let file = folder.appending(path: name)
    var text = try String(contentsOf: file, encoding: .isoLatin1)
    let old = text
    body(&text)
    if text == old { throw CocoaError(.keyValueValidation) }
    try text.data(using: .isoLatin1)?.write(to: file)
  }

  static let damages: [Damage] = [
    Damage("nothing", change: { _ in }),
    Damage("another total", .indexTotal) {
      try edit($0, index) { $0 = $0.replacing(/"total_size": (\d)/, with: { "\"total_size\": 9\($0.1)" }) }
    },
    Damage("no metadata", .indexMetadata) { try edit($0, index) { $0 = $0.replacing("metadata", with: "metadate") } },
    Damage("a tensor said to be elsewhere", .indexWrongShard) {
      let wanted = "\"model.norm.weight\": \"" + shard(3)
      try edit($0, index) { $0 = $0.replacing(wanted, with: "\"model.norm.weight\": \"" + shard(1)) }
    },
    Damage("a tensor that is not indexed", .indexTotal, .unindexedTensor, .missingTensor) {
      try edit($0, index) { $0 = $0.replacing(/\"model\.norm\.weight\": \"[^\"]*\",?/, with: "") }
    },
    Damage("a shard that is not there", .missingFile) {
      try FileManager.default.removeItem(at: $0.appending(path: shard(2)))
    },
    Damage("a shard cut short", .truncatedFile) { try edit($0, shard(2)) { $0.removeLast(7) } },
    Damage("a shard with more behind it", .trailingBytes) { try edit($0, shard(2)) { $0 += "more" } },
    Damage("a pointer instead of a shard", .unreadableFile) {
      try Data("version https://git-lfs.github.com/spec/v1\n".utf8).write(to: $0.appending(path: shard(2)))
    },
    Damage("headers of another framework", .formatMetadata) {
      try edit($0, shard(3)) { $0 = $0.replacing("\"format\":\"pt\"", with: "\"format\":\"np\"") }
    },
    Damage("no index", .missingIndex) { try FileManager.default.removeItem(at: $0.appending(path: index)) },
    Damage("a shard of another upload", .strayWeights) {
      try FileManager.default.copyItem(at: $0.appending(path: shard(1)), to: $0.appending(path: shard(1, of: 2)))
    },
    Damage("names of four shards", .shardCount) { folder in
      for number in 1...3 {
        try FileManager.default.moveItem(
          at: folder.appending(path: shard(number)), to: folder.appending(path: shard(number, of: 4)))
      }
      try edit(folder, index) { $0 = $0.replacing("-of-00003", with: "-of-00004") }
    },
    Damage("a link to nothing", .strayFile) {
      try FileManager.default.createSymbolicLink(
        at: $0.appending(path: "LICENSE"), withDestinationURL: $0.appending(path: "blobs/none"))
    },
    Damage("no configuration", .missingFile) {
      try FileManager.default.removeItem(at: $0.appending(path: "config.json"))
    },
    Damage("a configuration that is no JSON", .configurationUnreadable) {
      try Data("{".utf8).write(to: $0.appending(path: "config.json"))
    },
  ]

  @Test("shards, index and what is beside them", arguments: damages)
  func damage(_ damage: Damage) throws {
    let folder = try TinyCheckpoint().written(shards: 3)
    try damage.change(folder.url)
    let report = try LintReport(ofCheckpointAt: folder.url.path, readsValues: true, threads: 2)
    #expect(report.distinctCodes == damage.codes, "\(report.summary)")
    // What can be read is read.
    #expect(report.tensorsRead >= 10)
  }

  @Test("a tensor in two shards")
  func duplicate() throws {
    let model = TinyCheckpoint()
    let folder = try model.written(shards: 3)
    let last = model.tensors.suffix(7) + model.tensors.prefix(1)
    try Data(TinyCheckpoint.safetensors(Array(last))).write(to: folder.file(Self.shard(3)))
    let report = try LintReport(ofCheckpointAt: folder.url.path, readsValues: true, threads: 2)
    #expect(report.codes == [.duplicatedTensor], "\(report.summary)")
    #expect(report.findings[0].tensor == "model.embed_tokens.weight")
  }

  @Test("how many bytes are missing or too many is said")
  func sizes() throws {
    let folder = try TinyCheckpoint().written()
    let file = folder.file("model.safetensors")
    let bytes = try Fixtures.bytes(file)
    for (content, code, text) in [
      (bytes.dropLast(10)[...], LintCode.truncatedFile, "10 bytes less"),
      ((bytes + [1, 2, 3])[...], .trailingBytes, "3 bytes behind"),
    ] {
      try Data(content).write(to: file)
      let report = try LintReport(ofCheckpointAt: folder.url.path, readsValues: true, threads: 1)
      #expect(report.codes == [code] && report.findings[0].message.contains(text), "\(report.summary)")
      #expect(report.findings[0].offset == UInt64(min(content.count, bytes.count)))
    }
  }

  @Test("a directory of nothing, a file of nothing, a lone file of weights")
  func unrecognised() throws {
    let folder = try TemporaryFolder()
    func codes(_ path: String) throws -> [LintCode] {
      try LintReport(ofCheckpointAt: path, readsValues: true, threads: 1).codes
    }
    #expect(try codes(folder.url.path) == [.unrecognisedLayout])
    try Data([1, 2, 3]).write(to: folder.file("x.bin"))
    #expect(try codes(folder.file("x.bin").path) == [.unrecognisedLayout, .unreadableFile])
    try Data("GGUF".utf8).write(to: folder.file("x.gguf"))
    #expect(try codes(folder.file("x.gguf").path) == [.unreadableFile])
  }

  @Test("the page and the program list the same codes with the same severities")
  func page() throws {
    let text = try String(contentsOf: Fixtures.root.appending(path: "formats/lint.md"), encoding: .utf8)
    var listed: [String: String] = [:]
    for line in text.split(separator: "\n") {
      let cells = line.split(separator: "|").map { $0.trimmingCharacters(in: .whitespaces) }
      guard cells.count >= 2, cells[0].hasPrefix("`"), LintCode.Severity(rawValue: cells[1]) != nil else { continue }
      let code = cells[0].trimmingCharacters(in: ["`"])
      #expect(listed.updateValue(cells[1], forKey: code) == nil, "\(code) is listed twice")
    }
    let known = LintCode.allCases.map { ($0.rawValue, $0.severity.rawValue) }
    #expect(listed == Dictionary(uniqueKeysWithValues: known))
  }
}

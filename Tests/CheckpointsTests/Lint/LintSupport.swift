import ByteIO
import Checkpoints
import Foundation
import Support
import Testing

extension LintReport {
  /// Codes of the findings but the note that there is no tokenizer.
  var codes: [LintCode] { findings.map(\.code).filter { $0 != .noTokenizer } }

  /// Each code once, in the order of `LintCode`.
  var distinctCodes: [LintCode] {
    let all = Set(codes)
    return LintCode.allCases.filter { all.contains($0) }
  }
}

/// A fault planted into a checkpoint, and all that lint may say of it.
struct PlantedFault: Sendable, CustomTestStringConvertible {
  let name: String
  /// In the order of `LintCode`.
  let codes: [LintCode]
  let change: @Sendable (inout TinyCheckpoint) throws -> Void

  init(_ name: String, _ codes: LintCode..., change: @escaping @Sendable (inout TinyCheckpoint) throws -> Void) {
    self.name = name
    self.codes = codes
    self.change = change
  }

  var testDescription: String { name }
}

extension TinyCheckpoint {
  func linted(readsValues: Bool = true, shards: Int = 1) throws -> LintReport {
    let folder = try written(shards: shards)
    defer { withExtendedLifetime(folder) {} }
    return try LintReport(ofCheckpointAt: folder.url.path, readsValues: readsValues, threads: 2)
  }

  /// Changes the values of a tensor.
  mutating func edit(_ name: String, _ body: (inout [Float]) -> Void) {
    change(name) { tensor in
      var values = tensor.elementType.values(of: tensor.bytes)
      body(&values)
      tensor.bytes = tensor.elementType.bytes(of: values)
    }
  }

  /// Adds a file of JSON.
  mutating func add(_ name: String, _ document: JSONValue) {
    files.append((name, Array(document.serialized().utf8)))
  }
}

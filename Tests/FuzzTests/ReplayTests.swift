import Foundation
import FuzzTargets
import Support
import Testing

/// Inputs that the fuzzers found: those that led to new places, and those that broke a promise once. `Tests/Fuzz/README.md`
/// says what those were.
@Suite("Fuzzing corpus")
struct ReplayTests {
  private static let folder = Fixtures.root.appending(path: "Tests/Fuzz/Corpus")

  /// Name and content of each file of a folder, by name.
  private static func inputs(_ name: String) throws -> [(name: String, bytes: [UInt8])] {
    let files = try FileManager.default.contentsOfDirectory(
      at: folder.appending(path: name), includingPropertiesForKeys: nil)
    return try files.sorted { $0.path < $1.path }.map { ($0.lastPathComponent, [UInt8](try Data(contentsOf: $0))) }
  }

  @Test(
    "Every input ends with a value or a ParseFailure, and what was read is written and read again",
    arguments: FuzzTarget.allCases)
  func replay(_ target: FuzzTarget) throws {
    let inputs = try Self.inputs(target.rawValue)
    #expect(!inputs.isEmpty)
    for input in inputs {
      do { try target.run(input.bytes) } catch { Issue.record("\(target.rawValue)/\(input.name): \(error)") }
    }
  }

  @Test("Every input cut short at any place, and with any one byte set, ends so too", arguments: FuzzTarget.allCases)
  func damaged(_ target: FuzzTarget) throws {
    var random = SeededRandom(seed: 8)
    let inputs = try Self.inputs(target.rawValue).filter { $0.bytes.count <= 4096 }.prefix(20)
    for input in inputs {
      for _ in 0..<20 {
        var bytes = input.bytes
        guard let place = bytes.indices.randomElement(using: &random) else { continue }
        if Bool.random(using: &random) {
          bytes = Array(bytes[..<place])
        } else {
          bytes[place] = UInt8.random(in: 0...255, using: &random)
        }
        do { try target.run(bytes) } catch {
          Issue.record("\(target.rawValue)/\(input.name), seed 8, \(Data(bytes).base64EncodedString()): \(error)")
        }
      }
    }
  }
}
